//! Running targets with libFuzzer.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use super::arguments::Arguments;
use super::finding::Finder;
use super::lack::{Lack, survey};
use super::watch::Watch;
use super::{FuzzError, kept, target_programs};
use crate::folders::root;
use crate::interruption::Interruption;
use crate::process::Process;

/// A setup and 24 operations, of 16 bytes each.
const LONGEST: &str = "-max_len=400";
/// Recordings and states are text.
const LONGEST_TEXT: &str = "-max_len=4096";

/// Builds the targets and runs each for its time.
pub(crate) fn run(arguments: &Arguments, interruption: &Interruption) -> Result<(), FuzzError> {
    let targets = target_programs::wanted(arguments)?;
    let mut needed = vec![Lack::CargoFuzz, Lack::CppCompiler];
    if arguments.address {
        needed.push(Lack::Nightly);
    }
    let lacks = survey(&needed);
    if !lacks.is_empty() {
        return Err(FuzzError::Lacks(lacks));
    }
    let programs = target_programs::build(arguments, &targets)?;
    let mut finder = Finder::new(arguments.fault);
    for target in &targets {
        interruption.check()?;
        let campaign = Campaign::new(&programs, target, arguments)?;
        for input in campaign.run(arguments, interruption)? {
            println!("{}", finder.look_at(&campaign, &input, interruption)?);
        }
        campaign.minimise(interruption)?;
        if arguments.keep {
            println!("{target:18} {}", kept::keep(&campaign, interruption)?);
        }
    }
    finder.into_result()
}

/// A target that is run.
pub(crate) struct Campaign {
    pub(crate) target: String,
    program: PathBuf,
    /// What libFuzzer finds, which is nobody's to keep.
    pub(crate) corpus: PathBuf,
    /// What the project keeps.
    pub(crate) kept: PathBuf,
    pub(crate) artifacts: PathBuf,
    fault: Option<u16>,
    options: Vec<String>,
}

impl Campaign {
    pub(crate) fn new(
        programs: &Path,
        target: &str,
        arguments: &Arguments,
    ) -> Result<Self, FuzzError> {
        // What leads to a planted fault is no start for anything else.
        let (corpus, artifacts) = match arguments.fault {
            None => ("fuzz/corpus".to_string(), "fuzz/artifacts".to_string()),
            Some(fault) => {
                let planted = format!("fuzz/artifacts/planted-{fault}");
                (format!("{planted}/corpus"), planted)
            }
        };
        let campaign = Self {
            target: target.into(),
            program: programs.join(target),
            corpus: root().join(corpus).join(target),
            kept: root().join("corpus/fuzz").join(target),
            artifacts: root().join(artifacts).join(target),
            fault: arguments.fault,
            options: arguments.options.clone(),
        };
        let before = campaign.corpus.with_extension("before");
        if before.is_dir() && !campaign.corpus.exists() {
            fs::rename(&before, &campaign.corpus).map_err(at(&before))?;
        }
        for folder in [&campaign.corpus, &campaign.kept, &campaign.artifacts] {
            fs::create_dir_all(folder).map_err(at(folder))?;
        }
        Ok(campaign)
    }

    /// Its program, on inputs of the target.
    pub(crate) fn command(&self) -> Command {
        let mut command = Command::new(&self.program);
        let longest = match self.target.as_str() {
            "recording_parser" | "state_restore" => LONGEST_TEXT,
            _ => LONGEST,
        };
        command.args([longest, "-timeout=10", "-rss_limit_mb=2048"]);
        // Leaks are those of a process that is ended in the middle, or of what is meant to stay.
        command.arg("-detect_leaks=0").env_remove("VTD_PLANTED");
        command.envs(self.fault.map(|fault| ("VTD_PLANTED", fault.to_string())));
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        command
    }

    /// Runs it; the inputs that something was wrong with.
    fn run(
        &self,
        arguments: &Arguments,
        interruption: &Interruption,
    ) -> Result<Vec<PathBuf>, FuzzError> {
        let dictionary = root().join("fuzz/dictionaries").join(&self.target).with_extension("dict");
        let worker = || {
            let mut command = self.command();
            command.arg(format!("-max_total_time={}", arguments.time));
            command.args(["-reload=1", "-print_final_stats=1"]);
            command.arg(format!("-artifact_prefix={}/", self.artifacts.display()));
            if dictionary.is_file() {
                command.arg(format!("-dict={}", dictionary.display()));
            }
            command.args(&self.options).args([&self.corpus, &self.kept]);
            command
        };
        let commands = (0..arguments.workers).map(|_| worker());
        Watch::start(&self.target, commands)?.run(&self.target, arguments.time, interruption)
    }

    /// Runs its program until it has ended, however it does.
    pub(crate) fn wait_for(
        &self,
        mut command: Command,
        interruption: &Interruption,
    ) -> Result<(), FuzzError> {
        let mut process =
            Process::start(&mut command).map_err(|error| FuzzError::failed(&self.target, error))?;
        while process.wait(Duration::from_millis(200)).is_none() {
            interruption.check()?;
        }
        Ok(())
    }

    /// Leaves of what libFuzzer has found those inputs that reach something.
    fn minimise(&self, interruption: &Interruption) -> Result<(), FuzzError> {
        let [fresh, before] = ["fresh", "before"].map(|name| self.corpus.with_extension(name));
        for folder in [&fresh, &before] {
            if folder.exists() {
                fs::remove_dir_all(folder).map_err(at(folder))?;
            }
        }
        fs::create_dir_all(&fresh).map_err(at(&fresh))?;
        let mut command = self.command();
        command.arg("-merge=1").args([&fresh, &self.corpus]);
        let merged = self.wait_for(command, interruption);
        if merged.is_err() {
            fs::remove_dir_all(&fresh).map_err(at(&fresh))?;
            return merged;
        }
        // Whatever happens in between, one of the two is there.
        fs::rename(&self.corpus, &before).map_err(at(&self.corpus))?;
        fs::rename(&fresh, &self.corpus).map_err(at(&fresh))?;
        fs::remove_dir_all(&before).map_err(at(&before))
    }
}

/// For `map_err`: at which file or folder it was.
pub(crate) fn at(path: &Path) -> impl FnOnce(io::Error) -> FuzzError {
    let path = path.display().to_string();
    move |error| FuzzError::failed(path, error)
}
