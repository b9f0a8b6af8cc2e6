//! Every input that is kept, on stable: seeds, inputs that reach something, and what was once found to be wrong.

use std::fs;
use std::path::{Path, PathBuf};

use vtd_fuzzing::targets::TARGETS;

fn files(folder: &Path) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(folder) else { return Vec::new() };
    let mut found: Vec<_> = entries.flatten().map(|entry| entry.path()).collect();
    found.sort();
    found
}

fn corpus() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../corpus/fuzz")
}

#[test]
fn every_kept_input_is_replayed() {
    for target in TARGETS {
        let folder = corpus().join(target.name);
        let inputs: Vec<_> = files(&folder).into_iter().filter(|path| path.is_file()).collect();
        assert!(!inputs.is_empty(), "{} has no kept inputs", target.name);
        for path in inputs.into_iter().chain(files(&folder.join("regressions"))) {
            let bytes =
                fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
            // So that a failure names its file.
            println!("{}", path.display());
            (target.run)(&bytes);
        }
    }
}

/// A folder that no target replays would be forgotten.
#[test]
fn every_folder_is_that_of_a_target() {
    for path in files(&corpus()) {
        let name = path.file_name().map(|name| name.to_string_lossy().into_owned());
        let is_target = TARGETS.iter().any(|target| Some(target.name) == name.as_deref());
        assert!(is_target || path.extension().is_some(), "{}", path.display());
    }
}
