//! `cargo xtask features`: the page that says which features there are and what proves each.
//!
//! It is written from markers before the tests and in the headers of the vectors, so that nothing stands in it that nobody
//! tests. `--check` fails if the page is not what would be written.

mod known_failures;
mod marker;
mod page;
mod rust_file;
mod vector_file;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use known_failures::{PREFIX, ROWS};
use marker::Marker;
use page::{Proofs, Proved};
use rust_file::{Flaw, Test};

/// Writes the page, or with `check` compares it with what is there.
pub(crate) fn run(check: bool) -> Result<(), String> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let mut survey = Survey::default();
    for file in files(&root, "crates", "rs")? {
        survey.take_rust_file(&file, &read(&root, &file)?, |path| root.join(path).exists());
    }
    for file in files(&root, "corpus/vectors", "rec")? {
        survey.take_vector(&file, &read(&root, &file)?);
    }
    let page = survey.finish()?.page();
    let place = root.join("docs/features.md");
    if !check {
        return fs::write(&place, page).map_err(|error| format!("docs/features.md: {error}"));
    }
    let there = read(&root, "docs/features.md")?;
    let differs = there.lines().zip(page.lines()).position(|(there, written)| there != written);
    if there == page {
        return Ok(());
    }
    let line = differs.unwrap_or_else(|| there.lines().count().min(page.lines().count())) + 1;
    Err(format!("docs/features.md:{line} is not what the markers say: run `cargo xtask features`"))
}

fn read(root: &Path, file: &str) -> Result<String, String> {
    fs::read_to_string(root.join(file)).map_err(|error| format!("{file}: {error}"))
}

/// The files with this extension under a folder, in the order of their paths, with `/` between their parts.
fn files(root: &Path, folder: &str, extension: &str) -> Result<Vec<String>, String> {
    let mut found = Vec::new();
    let mut folders = vec![PathBuf::from(folder)];
    while let Some(folder) = folders.pop() {
        let failed = |error| format!("{}: {error}", folder.display());
        for entry in root.join(&folder).read_dir().map_err(failed)? {
            let entry = entry.map_err(failed)?;
            let path = folder.join(entry.file_name());
            if entry.file_type().map_err(failed)?.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|of| of == extension) {
                let parts: Vec<_> = path.iter().map(|part| part.to_string_lossy()).collect();
                found.push(parts.join("/"));
            }
        }
    }
    found.sort();
    Ok(found)
}

/// What has been seen of the tests and vectors.
#[derive(Default)]
struct Survey {
    proved: Proved,
    flaws: Vec<String>,
    /// The first name of each spelling.
    spellings: BTreeMap<(u8, String), String>,
}

/// Where the tests of a file are found.
struct Place {
    /// What `cargo test` is told to build.
    binary: String,
    /// The module of the file.
    module: Vec<String>,
}

impl Place {
    /// The place of `crates/NAME/…`; `None` for a file that is no part of the library and no test binary.
    fn of(file: &str, exists: impl Fn(&str) -> bool) -> Option<Self> {
        let mut parts = file.strip_suffix(".rs")?.split('/');
        let (Some("crates"), Some(name), Some(kind)) = (parts.next(), parts.next(), parts.next())
        else {
            return None;
        };
        let mut module: Vec<_> = parts.map(str::to_owned).collect();
        let binary = match (kind, &module[..]) {
            ("src", _) if exists(&format!("crates/{name}/src/lib.rs")) => "--lib".to_owned(),
            ("src", _) => "--bins".to_owned(),
            ("tests", [test]) => format!("--test {test}"),
            ("tests", [test, ..]) if exists(&format!("crates/{name}/tests/{test}/main.rs")) => {
                format!("--test {test}")
            }
            _ => return None,
        };
        if kind == "tests" {
            module.remove(0);
        }
        if module.last().is_some_and(|last| ["main", "lib", "mod"].contains(&last.as_str())) {
            module.pop();
        }
        Some(Self { binary: format!("-p {name} {binary}"), module })
    }

    fn enter(&self, test: &Test, proofs: &mut Proofs) {
        let path = self.module.iter().map(String::as_str).chain([test.path.as_str()]);
        let path = path.collect::<Vec<_>>().join("::");
        proofs.tests.entry(self.binary.clone()).or_default().insert(path);
    }
}

impl Survey {
    fn take_rust_file(&mut self, file: &str, text: &str, exists: impl Fn(&str) -> bool) {
        let (tests, flaws) = rust_file::tests(text);
        self.report(file, flaws);
        let Some(place) = Place::of(file, exists) else {
            if tests.iter().any(|test| !test.markers.is_empty()) {
                self.flaws
                    .push(format!("{file}: markers outside of a library and its test binaries"));
            }
            return;
        };
        for test in &tests {
            for marker in &test.markers {
                place.enter(test, self.feature(file, marker));
            }
            let name = test.path.rsplit("::").next().unwrap_or(&test.path);
            match name.strip_prefix(PREFIX).map(row) {
                Some(Some(row)) => {
                    place.enter(test, self.proved.known_failures.entry(row).or_default());
                }
                Some(None) => self.flaws.push(format!("{file}: `{name}` names no row")),
                None => {}
            }
        }
    }

    fn take_vector(&mut self, file: &str, text: &str) {
        let (markers, flaws) = vector_file::markers(text);
        self.report(file, flaws);
        let name = file.trim_start_matches("corpus/vectors/").trim_end_matches(".rec");
        for marker in &markers {
            self.feature(file, marker).vectors.insert(name.to_owned());
        }
    }

    fn report(&mut self, file: &str, flaws: Vec<Flaw>) {
        let flaws = flaws.into_iter().map(|flaw| format!("{file}:{}: {}", flaw.line, flaw.what));
        self.flaws.extend(flaws);
    }

    fn feature(&mut self, file: &str, marker: &Marker) -> &mut Proofs {
        let first = self.spellings.entry(marker.spelling()).or_insert(marker.name.clone());
        if *first != marker.name {
            self.flaws.push(format!("{file}: {:?} is {first:?} elsewhere", marker.name));
        }
        self.proved.features.entry(marker.clone()).or_default()
    }

    fn finish(mut self) -> Result<Proved, String> {
        for row in 1..=ROWS.len() {
            if !self.proved.known_failures.contains_key(&row) {
                self.flaws.push(format!("row {row} of the known failures has no test"));
            }
        }
        if self.flaws.is_empty() {
            return Ok(self.proved);
        }
        Err(format!("the markers are not right:\n  {}", self.flaws.join("\n  ")))
    }
}

/// The row that the test of a known failure names: two digits and `_` behind the prefix.
fn row(rest: &str) -> Option<usize> {
    let (digits, _) = rest.split_once('_').filter(|(digits, _)| digits.len() == 2)?;
    digits.parse().ok().filter(|row| (1..=ROWS.len()).contains(row))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_of_files() {
        let there = ["crates/a/src/lib.rs", "crates/a/tests/walk/main.rs"];
        for (file, expected) in [
            ("crates/a/src/lib.rs", Some("-p a --lib ")),
            ("crates/a/src/one/two.rs", Some("-p a --lib one::two")),
            ("crates/a/src/one/mod.rs", Some("-p a --lib one")),
            ("crates/b/src/main.rs", Some("-p b --bins ")),
            ("crates/a/tests/dma.rs", Some("-p a --test dma ")),
            ("crates/a/tests/walk/main.rs", Some("-p a --test walk ")),
            ("crates/a/tests/walk/one.rs", Some("-p a --test walk one")),
            ("crates/a/tests/walk/one/two.rs", Some("-p a --test walk one::two")),
            ("crates/a/tests/guest/mod.rs", None),
            ("crates/a/build.rs", None),
            ("crates/a/benches/b.rs", None),
        ] {
            let place = Place::of(file, |path| there.contains(&path));
            let place = place.map(|place| format!("{} {}", place.binary, place.module.join("::")));
            assert_eq!(place.as_deref(), expected, "{file}");
        }
    }

    fn survey(files: &[(&str, &str)]) -> Result<Proved, String> {
        let mut survey = Survey::default();
        let rows =
            (1..=ROWS.len()).map(|row| format!("#[test]\nfn known_failure_{row:02}_a() {{}}\n"));
        survey.take_rust_file("crates/a/tests/rows.rs", &rows.collect::<String>(), |_| true);
        for (file, text) in files {
            match file.strip_suffix(".rec") {
                Some(_) => survey.take_vector(file, text),
                None => survey.take_rust_file(file, text, |path| !path.ends_with("main.rs")),
            }
        }
        survey.finish()
    }

    #[test]
    fn tests_and_vectors_of_a_feature() {
        let proved = survey(&[
            ("crates/a/tests/dma.rs", "// feature: 3.a b\n#[test]\nfn one() {}\n"),
            (
                "crates/a/src/x.rs",
                "mod tests {\n    // feature: 3.a b\n    #[test]\n    fn two() {}\n}\n",
            ),
            ("corpus/vectors/unit/v.rec", "# feature: 3.a b\n"),
        ])
        .unwrap();
        let [(marker, proofs)] = &proved.features.iter().collect::<Vec<_>>()[..] else {
            panic!("{proved:?}")
        };
        assert_eq!((marker.section, marker.name.as_str()), (3, "a b"));
        let expected =
            r#"{"-p a --lib": {"x::tests::two"}, "-p a --test dma": {"one"}} {"unit/v"}"#;
        assert_eq!(format!("{:?} {:?}", proofs.tests, proofs.vectors), expected);
    }

    #[test]
    fn what_is_not_right() {
        for (file, text, expected) in [
            ("crates/a/tests/a.rs", "#[test]\nfn known_failure_30_a() {}\n", "names no row"),
            ("crates/a/tests/a.rs", "#[test]\nfn known_failure_7_a() {}\n", "names no row"),
            ("crates/a/tests/a.rs", "#[test]\nfn known_failure_00_a() {}\n", "names no row"),
            ("crates/a/tests/g/mod.rs", "// feature: 1.a\n#[test]\nfn a() {}\n", "outside of"),
            ("crates/a/tests/a.rs", "// feature: 1.a\nfn a() {}\n", "a.rs:2: no test follows"),
            ("corpus/vectors/a.rec", "# feature: 1.\n", "a.rec:1: no name"),
        ] {
            let error = survey(&[(file, text)]).unwrap_err();
            assert!(error.contains(expected), "{text}: {error}");
        }
        let first = ("corpus/vectors/a.rec", "# feature: 1.first-stage\n");
        let error = survey(&[first, ("corpus/vectors/b.rec", "# feature: 1.First stage\n")]);
        assert!(error.unwrap_err().contains(r#"b.rec: "First stage" is "first-stage" elsewhere"#));
        assert!(survey(&[first, ("corpus/vectors/b.rec", "# feature: 2.First stage\n")]).is_ok());
    }

    #[test]
    fn a_row_without_a_test() {
        let error = Survey::default().finish().unwrap_err();
        assert_eq!(error.lines().count(), 30);
        assert!(error.contains("row 29 of the known failures has no test"));
    }
}
