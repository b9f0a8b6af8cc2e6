//! The fuzz targets, and their programs.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use super::FuzzError;
use super::arguments::Arguments;
use crate::folders::{root, target};

/// The names of all targets, which are those of their files.
pub(crate) fn names() -> Result<Vec<String>, FuzzError> {
    let folder = root().join("fuzz/fuzz_targets");
    let entries =
        fs::read_dir(&folder).map_err(|error| FuzzError::failed(folder.display(), error))?;
    let stem = |path: PathBuf| Some(path.file_stem()?.to_str()?.to_string());
    let mut names: Vec<_> = entries.flatten().filter_map(|entry| stem(entry.path())).collect();
    names.sort();
    Ok(names)
}

/// The targets that are asked for.
pub(crate) fn wanted(arguments: &Arguments) -> Result<Vec<String>, FuzzError> {
    let all = names()?;
    if arguments.targets.is_empty() {
        return Ok(all);
    }
    match arguments.targets.iter().find(|target| !all.contains(target)) {
        None => Ok(arguments.targets.clone()),
        Some(unknown) => Err(FuzzError::WrongArguments(format!(
            "there is no fuzz target \"{unknown}\". There are: {}",
            all.join(", ")
        ))),
    }
}

/// Builds the programs of these targets; the folder they are in. Cargo shows how far it is.
pub(crate) fn build(arguments: &Arguments, targets: &[String]) -> Result<PathBuf, FuzzError> {
    // A planted build is one for itself, so that nobody takes it for another.
    let name = if arguments.fault.is_some() { "planted-fuzz" } else { "fuzz" };
    let folder = target().join(name);
    let mut command = Command::new("cargo");
    if arguments.address {
        command.arg("+nightly");
    }
    let sanitizer = if arguments.address { "address" } else { "none" };
    let triple = host()?;
    command.current_dir(root()).args(["fuzz", "build", "--sanitizer", sanitizer]);
    command.args(["--target", &triple, "--target-dir"]).arg(&folder);
    if arguments.fault.is_some() {
        command.args(["--features", "planted"]);
    }
    if let [one] = targets {
        command.arg(one);
    }
    let status = command.status().map_err(|error| FuzzError::failed("cargo", error))?;
    if !status.success() {
        return Err(FuzzError::Failed("the targets could not be built: cargo says why".into()));
    }
    let programs = folder.join(triple).join("release");
    match targets.iter().find(|target| !programs.join(target).is_file()) {
        None => Ok(programs),
        Some(target) => Err(FuzzError::Failed(format!(
            "cargo fuzz has left no {target} in {}",
            programs.display()
        ))),
    }
}

/// The machine that the compiler runs on, as it names it.
fn host() -> Result<String, FuzzError> {
    let output = Command::new("rustc").arg("-vV").output();
    let output = output.map_err(|error| FuzzError::failed("rustc", error))?;
    let text = String::from_utf8_lossy(&output.stdout);
    let host = text.lines().find_map(|line| line.strip_prefix("host: "));
    host.map(String::from).ok_or_else(|| FuzzError::Failed("rustc does not name its host".into()))
}
