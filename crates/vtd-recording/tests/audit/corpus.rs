//! The shipped recordings and vectors, as they are and with answers that came too late.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use crate::story::audit;

/// Every recording or vector below a folder of the corpus, in the order of their names.
fn files(folder: &str) -> Vec<(String, String)> {
    let mut folders: Vec<PathBuf> =
        vec![Path::new(env!("CARGO_MANIFEST_DIR")).join("../../corpus").join(folder)];
    let mut files = Vec::new();
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rec") {
                files.push((path.display().to_string(), fs::read_to_string(path).unwrap()));
            }
        }
    }
    files.sort();
    files
}

#[test]
fn nothing_shipped_uses_what_is_invalid() {
    let mut judged = 0;
    for (name, text) in files("recordings").into_iter().chain(files("vectors")) {
        let report = audit(&text);
        assert_eq!(report.violations, 0, "{name}: {:#?}", report.uses);
        judged += report.requests;
    }
    assert!(judged > 10_000, "{judged}");
}

/// A request gets the answer that an earlier one for the same address got, where it has led elsewhere since or nowhere. These
/// guests had been told of every such change.
#[test]
fn answers_that_come_too_late() {
    let mut total = 0;
    for (name, text) in files("recordings") {
        let mut served: BTreeMap<_, (String, String)> = BTreeMap::new();
        let mut planted = Vec::new();
        let mut blocked = 0;
        let mut edited = String::new();
        for (line, number) in text.lines().zip(1_u64..) {
            let mut line = line.to_string();
            if let ["dma", device, pasid, access, iova, answer, ref rest @ ..] =
                line.split(' ').collect::<Vec<_>>()[..]
            {
                // One that lacks the permission is refused, and uses nothing.
                let is_refused = rest.last().is_some_and(|granted| !granted.contains(access));
                let key = [device, pasid, access, iova].map(str::to_string);
                let answer = answer.to_string();
                match served.get(&key) {
                    Some((_, earlier)) if answer == *earlier => {}
                    Some((earlier, _)) => {
                        planted.push(number);
                        blocked += u64::from(answer == "fault" || is_refused);
                        line.clone_from(earlier);
                    }
                    None if answer == "fault" || is_refused => {}
                    None => drop(served.insert(key, (line.clone(), answer))),
                }
            }
            edited.push_str(&line);
            edited.push('\n');
        }
        let (before, after) = (audit(&text), audit(&edited));
        total += planted.len();
        assert_eq!(after.requests, before.requests + blocked, "{name}");
        let count = planted.len() as u64;
        assert_eq!((after.violations, after.stale), (count, 0), "{name}: {:#?}", after.uses);
        for found in &after.uses {
            assert!(planted.contains(&found.line), "{name}: {found:#?}");
            let (valid, asked, done) = (found.valid_until, found.asked, found.done);
            assert!(valid < asked && asked < done && done < Some(found.line), "{name}: {found:#?}");
        }
    }
    assert!(total > 2_000, "{total}");
}
