//! Every recording and every vector, held against the model alone.

#![cfg(test)]

use std::path::{Path, PathBuf};

use vtd_fuzzing::recording_oracle::{Report, check};

fn files(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rec") {
            found.push(path);
        }
    }
    found.sort();
}

fn check_all(folder: &str) -> Report {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../corpus").join(folder);
    let mut found = Vec::new();
    files(&folder, &mut found);
    let mut total = Report::default();
    let mut different = Vec::new();
    for file in found {
        let report = check(&std::fs::read(&file).unwrap()).unwrap();
        let name = file.strip_prefix(&folder).unwrap().display();
        different
            .extend(report.differences.iter().map(|(line, what)| format!("{name}:{line}: {what}")));
        total.add(&report);
    }
    println!("{:#?}", total.checked);
    assert!(different.is_empty(), "{} differences\n{}", different.len(), different.join("\n"));
    total
}

#[test]
fn recordings() {
    check_all("recordings");
}

#[test]
fn vectors() {
    check_all("vectors");
}
