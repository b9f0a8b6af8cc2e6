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

fn count(report: &Report, what: &str) -> u64 {
    report.checked.get(what).copied().unwrap_or(0)
}

#[test]
fn recordings() {
    let report = check_all("recordings");
    // A test that compares nothing would pass as well.
    assert!(count(&report, "dma") > 10_000 && count(&report, "wait status") > 6_000);
    assert_eq!(count(&report, "fault missing by silent-refusal"), 46);
}

#[test]
fn vectors() {
    let report = check_all("vectors");
    for (what, least) in [
        ("accessed and dirty bits", 240),
        ("device-tlb", 500),
        ("dma", 3_900),
        ("dma from a cache", 5),
        ("fault", 2_300),
        ("interrupt", 490),
        ("page-request", 440),
        ("page-response", 120),
        ("read of IQEI", 1_000),
        ("slot of the host", 9_000),
        ("translate", 800),
        ("translated", 140),
        ("wait status", 3_900),
    ] {
        assert!(count(&report, what) >= least, "{what}: {}", count(&report, what));
    }
}

/// Every answer of a vector, made wrong, is found.
#[test]
fn wrong_answers() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../corpus/vectors");
    let mut changed = 0;
    for file in
        ["unit/nested-ssade-4.rec", "unit/legacy-second-stage.rec", "requests/ats-second-ad.rec"]
    {
        let text = std::fs::read_to_string(folder.join(file)).unwrap();
        let lines: Vec<&str> = text.lines().collect();
        for (at, line) in lines.iter().enumerate() {
            let words: Vec<&str> = line.split(' ').collect();
            let wrong = match words.as_slice() {
                ["dma", a, b, c, d, "fault"] => format!("dma {a} {b} {c} {d} 0 fff rw"),
                [kind @ ("dma" | "translate"), a, b, c, d, gpa, rest @ ..] if !rest.is_empty() => {
                    let gpa = u64::from_str_radix(gpa, 16).unwrap() ^ 0x4000_0000;
                    format!("{kind} {a} {b} {c} {d} {gpa:x} {}", rest.join(" "))
                }
                ["fault", rest @ .., code] if rest.len() == 5 => {
                    let code = u8::from_str_radix(code, 16).unwrap() ^ 1;
                    format!("fault {} {code:x}", rest.join(" "))
                }
                ["iommu-write", gpa, bytes] => {
                    let flip = if bytes.starts_with('0') { '1' } else { '0' };
                    format!("iommu-write {gpa} {flip}{}", bytes.get(1..).unwrap())
                }
                _ => continue,
            };
            let mut wrongs = lines.clone();
            wrongs[at] = &wrong;
            let report = check(wrongs.join("\n").as_bytes()).unwrap();
            assert!(!report.differences.is_empty(), "{file}:{}: {wrong}", at + 1);
            changed += 1;
        }
    }
    assert!(changed > 60, "{changed} answers");
}
