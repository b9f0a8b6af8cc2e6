//! From an input that something is wrong with, to a regression that is kept and a program that a person can read.

use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};

use super::FuzzError;
use super::campaign::{Campaign, at};
use super::search_program::{Ended, SearchProgram};
use crate::folders::{root, short};
use crate::interruption::Interruption;

/// Something that was found.
#[derive(Clone, Debug)]
pub(crate) struct Finding {
    target: String,
    message: String,
    input: PathBuf,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // What it is in full has been shown.
        let cut = self.message.char_indices().nth(60).map(|(end, _)| end);
        let message = cut.and_then(|end| self.message.get(..end)).unwrap_or(&self.message);
        let more = if cut.is_some() { "…" } else { "" };
        write!(f, "{}: {message}{more}, in {}", self.target, short(&self.input))
    }
}

/// Looks at what was found. Only then is the program needed that does so.
pub(crate) struct Finder {
    program: Option<SearchProgram>,
    fault: Option<u16>,
    found: Vec<Finding>,
}

impl Finder {
    pub(crate) const fn new(fault: Option<u16>) -> Self {
        Self { program: None, fault, found: Vec::new() }
    }

    /// One that has the program already.
    pub(crate) const fn with(program: SearchProgram, fault: Option<u16>) -> Self {
        Self { program: Some(program), fault, found: Vec::new() }
    }

    /// An error that names all that was found, if anything was.
    pub(crate) fn into_result(self) -> Result<(), FuzzError> {
        if self.found.is_empty() {
            return Ok(());
        }
        let names: Vec<_> = self.found.iter().map(Finding::to_string).collect();
        Err(FuzzError::Found(names.join("\n       ")))
    }

    /// Makes an input smaller, keeps it as a regression, and says what it does and how to look at it.
    pub(crate) fn look_at(
        &mut self,
        campaign: &Campaign,
        file: &Path,
        interruption: &Interruption,
    ) -> Result<String, FuzzError> {
        println!("{:18} found {}, making it smaller", campaign.target, short(file));
        let program = match self.program.take() {
            Some(program) => program,
            None if self.fault.is_some() => SearchProgram::build_planted(self.fault)?,
            None => SearchProgram::build()?,
        };
        let look = Look { program: &program, campaign, interruption };
        let looked = look.look_at(file, self.fault);
        self.program = Some(program);
        let (finding, text) = looked?;
        self.found.push(finding);
        Ok(text)
    }
}

struct Look<'l> {
    program: &'l SearchProgram,
    campaign: &'l Campaign,
    interruption: &'l Interruption,
}

impl Look<'_> {
    fn look_at(&self, file: &Path, fault: Option<u16>) -> Result<(Finding, String), FuzzError> {
        let target = &self.campaign.target;
        let (message, small) = match self.objection(file)? {
            Some(message) => (message, self.minimised(file)?),
            // Something that libFuzzer sees and an oracle does not: too slow, too much memory, or the sanitizer.
            None => (self.seen_by_libfuzzer(file), self.minimised_by_libfuzzer(file)?),
        };
        let message = self.objection(&small)?.unwrap_or(message);
        let bytes = fs::read(&small).map_err(at(&small))?;
        let name = name(&message, &bytes);
        let folder = match fault {
            None => self.campaign.kept.join("regressions"),
            Some(_) => self.campaign.artifacts.clone(),
        };
        let input = folder.join(&name);
        fs::create_dir_all(&folder).map_err(at(&folder))?;
        fs::write(&input, &bytes).map_err(at(&input))?;
        let mut text =
            format!("{target}: {message}\n  input: {} bytes in {}", bytes.len(), short(&input));
        if let Ended::Said(program, true) = self.search(&["list", target], &[&input])? {
            text += "\n";
            text += program.trim_end();
        }
        let recording = self.campaign.artifacts.join(format!("{name}.rec"));
        if let Ended::Said(_, true) = self.search(&["record", target], &[&input, &recording])? {
            let recording = short(&recording);
            text += &format!(
                "\n  to look at it: cargo run --release -p vtd-cli -- replay --step {recording}"
            );
        }
        let (planted, features) = match fault {
            None => (String::new(), ""),
            Some(fault) => (format!("VTD_PLANTED={fault} "), "--features planted "),
        };
        text += &format!(
            "\n  to run it: {planted}cargo run --release -p vtd-fuzzing {features}--bin vtd-search -- replay {target} {}",
            short(&input)
        );
        Ok((Finding { target: target.clone(), message, input }, text))
    }

    fn search(&self, arguments: &[&str], files: &[&Path]) -> Result<Ended, FuzzError> {
        self.program.run(arguments, files, self.interruption)
    }

    /// What an oracle says of it outside of libFuzzer.
    fn objection(&self, file: &Path) -> Result<Option<String>, FuzzError> {
        let target = &self.campaign.target;
        Ok(match self.search(&["replay", target], &[file])? {
            Ended::Said(_, true) => None,
            Ended::Said(text, false) => {
                let message =
                    text.split_once(": ").map_or(text.trim(), |(_, message)| message.trim());
                let unsaid = "the process ends";
                Some(
                    if message.is_empty() { unsaid } else { message }
                        .replace(&format!("{}/", root().display()), ""),
                )
            }
            Ended::OutOfTime => Some("it does not end".into()),
        })
    }

    fn minimised(&self, file: &Path) -> Result<PathBuf, FuzzError> {
        let small = file.with_extension("small");
        self.search(&["minimise", &self.campaign.target], &[file, &small])?;
        Ok(if small.is_file() { small } else { file.to_path_buf() })
    }

    fn minimised_by_libfuzzer(&self, file: &Path) -> Result<PathBuf, FuzzError> {
        let small = file.with_extension("small");
        let mut command = self.campaign.command();
        command.args(["-minimize_crash=1", "-max_total_time=30"]);
        command.arg(format!("-exact_artifact_path={}", small.display())).arg(file);
        self.campaign.wait_for(command, self.interruption)?;
        Ok(if small.is_file() { small } else { file.to_path_buf() })
    }

    /// From the first word of what libFuzzer has called the file.
    fn seen_by_libfuzzer(&self, file: &Path) -> String {
        let name = file.file_name().map(|name| name.to_string_lossy().into_owned());
        let name = name.unwrap_or_default();
        let kind = name.split('-').next().unwrap_or_default();
        match kind {
            "timeout" => "timeout: 10 s are not enough for it".into(),
            "oom" => "memory: 2 GiB are not enough for it".into(),
            "leak" => "leak: seen by the sanitizer alone".into(),
            _ => "crash: seen by libFuzzer alone".into(),
        }
    }
}

/// A name for a regression, from what the oracle said.
fn name(message: &str, input: &[u8]) -> String {
    let end = message.find([';', '{', '[', '(', '"', '`']).unwrap_or(message.len());
    let first = message.get(..end).unwrap_or(message);
    let mut words: Vec<String> = Vec::new();
    for word in first.split(|letter: char| !letter.is_ascii_alphanumeric()) {
        // Numbers are of this input, and it has a number of its own.
        if !word.is_empty() && !word.contains(|letter: char| letter.is_ascii_digit()) {
            words.push(word.to_ascii_lowercase());
        }
    }
    words.truncate(6);
    words.push(format!("{:08x}", fingerprint(input) >> 32));
    words.join("-")
}

/// FNV-1a: the same for the same bytes, on every machine and in every version.
pub(crate) fn fingerprint(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn regressions_are_named_after_the_oracle() {
        for (message, expected) in [
            ("waits: \"3 completes\" (x.rs:1)", "waits-af63dc4c"),
            ("answers: it could have been Fault(…)", "answers-it-could-have-been-fault-af63dc4c"),
            ("index out of bounds: the len is 8 but", "index-out-of-bounds-the-len-af63dc4c"),
            ("…", "af63dc4c"),
        ] {
            assert_eq!(name(message, b"a"), expected, "{message}");
        }
        assert_ne!(name("x", b"a"), name("x", b"b"));
    }
}
