//! Every conformance vector replays without a difference, however it is replayed.
#![cfg(test)]

use std::fs::File;
use std::io::BufReader;
use std::path::{Path, PathBuf};

use vtd_recording::replay::{Assign, Kind, Options, replay};

/// The vectors of a folder of `corpus/vectors`, in the order of their names.
fn vectors(folder: &str) -> Vec<PathBuf> {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../corpus/vectors").join(folder);
    let mut files: Vec<_> = corpus.read_dir().unwrap().map(|entry| entry.unwrap().path()).collect();
    files.retain(|file| file.extension().is_some_and(|extension| extension == "rec"));
    files.sort();
    files
}

fn every_vector_agrees(options: &Options) {
    for (folder, at_least) in [
        ("", 10),
        ("unit", 175),
        ("bindings", 177),
        ("requests", 91),
        ("devices", 130),
        ("shadowing", 2),
        ("interrupts", 48),
        ("commands", 11),
        ("registers", 23),
        ("random", 36),
    ] {
        let files = vectors(folder);
        assert!(files.len() >= at_least, "{} vectors in {folder:?}", files.len());
        for file in files {
            let input = BufReader::new(File::open(&file).unwrap());
            let report = replay(input, options, None).unwrap();
            assert!(report.strict, "{}", file.display());
            let total = report.total();
            assert!(total.agree > 0, "{} compares nothing", file.display());
            assert_eq!(total.differ, 0, "{}: {:#?}", file.display(), report.differences);
            assert_eq!(total.explained, 0, "{}: nothing is explained away", file.display());
            assert_eq!(report.violations(), 0, "{}: {:#?}", file.display(), report.audit);
        }
    }
}

#[test]
fn as_they_are() {
    every_vector_agrees(&Options::default());
}

// feature: 9.after any step and any input
#[test]
fn saved_and_restored_after_every_input() {
    let mut options = Options::default();
    options.save_restore_every = Some(1);
    every_vector_agrees(&options);
}

/// The same vectors for a device that is host-backed: its tables are shadowed, and what is mapped is compared after each wait and
/// each register-based invalidation.
// feature: 7.shadows: recordings and vectors with every device assigned
#[test]
fn shadowed() {
    for every in [None, Some(1)] {
        for file in vectors("shadowing") {
            let mut options = Options::default();
            options.assign = Assign::All;
            options.save_restore_every = every;
            let input = BufReader::new(File::open(&file).unwrap());
            let report = replay(input, &options, None).unwrap();
            assert_eq!(report.total().differ, 0, "{}: {:#?}", file.display(), report.differences);
            assert!(report.tally(Kind::HostState).agree >= 4, "{}", file.display());
            let calls = report.host_calls;
            assert!(calls.map >= 5 && calls.unmap >= 3 && calls.failed == 0, "{calls:?}");
        }
    }
}

#[test]
fn without_caches() {
    let mut options = Options::default();
    options.without_caches = true;
    every_vector_agrees(&options);
}
