//! From an input that an oracle objects to, to a regression that is kept and a program that a person can read.

use std::fs;
use std::path::Path;

use super::progress::name;
use super::search_program::SearchProgram;
use super::{FuzzError, root};

/// Minimises an input, keeps it in the corpus of regressions and says what it does.
pub(crate) fn keep(
    program: &SearchProgram,
    target: &str,
    file: &Path,
) -> Result<String, FuzzError> {
    let small = file.with_extension("small");
    let status = program.command().args(["minimise", target]).arg(file).arg(&small).status();
    status.map_err(|error| FuzzError::failed("vtd-search", error))?;
    let small = if small.is_file() { small } else { file.to_path_buf() };
    let said = program.output(&["replay", target], Some(&small))?;
    let message = said.split_once(": ").map_or(said.trim(), |(_, message)| message.trim());
    if message.is_empty() {
        // Something that libFuzzer sees and an oracle does not: too slow, too much memory, or the sanitizer.
        return Ok(format!(
            "{target}: {} (no oracle objects outside of libFuzzer)",
            file.display()
        ));
    }
    let bytes = fs::read(&small).map_err(|error| FuzzError::failed("reading the input", error))?;
    let folder = root().join("corpus/fuzz").join(target).join("regressions");
    let kept = folder.join(name(message, &bytes));
    fs::create_dir_all(&folder)
        .and_then(|()| fs::write(&kept, &bytes))
        .map_err(|error| FuzzError::failed("keeping the input", error))?;
    let mut text = format!("{target}: {message}\n  kept as {}", kept.display());
    if target == "whole_unit" {
        text += "\n";
        text += &program.output(&["list"], Some(&small))?;
    }
    Ok(text)
}
