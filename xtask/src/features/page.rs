//! The page: what is proved, and by what.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;

use super::known_failures::ROWS;
use super::marker::Marker;

/// The sections of the page, number 1 first.
const SECTIONS: [&str; 10] = [
    "Translation",
    "Faults",
    "Invalidation",
    "Page requests",
    "Virtual commands",
    "Interrupt remapping",
    "Assigned devices",
    "Protected memory and the rest",
    "Save and restore",
    "Capabilities",
];

const HEAD: &str = "\
# Features and what proves them

Written by `cargo xtask features` from the markers in the tests and vectors, and checked by `.ci/run`: do not edit it. A feature stands
here if a test or a vector is marked with it, `// feature: N.name` before the test or `# feature: N.name` in the vector's header.

A test is named as one runs it: `cargo test` and what stands here. Vectors lie under `corpus/vectors/`, and `vtd replay FILE` runs one;
`cargo test -p vtd-recording --test vectors` runs them all, as they are, saved and restored after every input, and without caches.
";

const OUT_OF_SCOPE: &str = "
## Out of scope

Not emulated and shown as absent: the capability bit is 0, and the registers behind it read 0 and ignore writes.

| feature | capability |
| --- | --- |
| advanced fault log | CAP.AFL, bit 3 |
| posted interrupts | CAP.PI, bit 59 |
| enhanced commands (ECMD) | CAP.ECMDS, bit 61 |
| memory types (MTRRs) | ECAP.MTS, bit 25 |
| performance counters | ECAP.PMS, bit 51 |
";

/// What proves a feature.
#[derive(Debug, Default)]
pub(super) struct Proofs {
    /// Paths of tests, by what `cargo test` is told to build: `-p vtd --test dma`.
    pub(super) tests: BTreeMap<String, BTreeSet<String>>,
    /// Paths under `corpus/vectors`, without `.rec`.
    pub(super) vectors: BTreeSet<String>,
}

impl Proofs {
    /// Each test, with what it is built in.
    fn names(&self) -> impl Iterator<Item = (&String, &String)> {
        self.tests.iter().flat_map(|(binary, paths)| paths.iter().map(move |path| (binary, path)))
    }
}

/// Everything that is proved.
#[derive(Debug, Default)]
pub(super) struct Proved {
    pub(super) features: BTreeMap<Marker, Proofs>,
    /// By row.
    pub(super) known_failures: BTreeMap<usize, Proofs>,
}

impl Proved {
    /// The page, in Markdown.
    pub(super) fn page(&self) -> String {
        let mut page = HEAD.to_owned();
        self.contents(&mut page);
        for (title, section) in SECTIONS.iter().zip(1_u8..) {
            let mut features: Vec<_> =
                self.features.iter().filter(|(marker, _)| marker.section == section).collect();
            features.sort_by_key(|(marker, _)| marker.name.to_lowercase());
            line(&mut page, &format!("\n## {section}. {title}\n"));
            if features.is_empty() {
                line(&mut page, "Nothing is marked yet.");
                continue;
            }
            line(&mut page, "| feature | tests | vectors |\n| --- | --- | --- |");
            for (marker, proofs) in features {
                let (tests, vectors) = (tests(proofs), vectors(proofs));
                line(&mut page, &format!("| {} | {tests} | {vectors} |", marker.name));
            }
        }
        line(&mut page, "\n## Known failures of other emulations\n");
        line(
            &mut page,
            "`cargo xtask planted` plants these faults and shows that a test of the row finds each.\n",
        );
        line(&mut page, "| row | what is right | tests |\n| --- | --- | --- |");
        for (right, row) in ROWS.iter().zip(1..) {
            let proofs = self.known_failures.get(&row).map(tests).unwrap_or_default();
            line(&mut page, &format!("| {row} | {right} | {proofs} |"));
        }
        page.push_str(OUT_OF_SCOPE);
        page
    }

    /// What the page has, section by section.
    fn contents(&self, page: &mut String) {
        line(page, "\n| section | features | tests | vectors |\n| --- | --- | --- | --- |");
        for (title, section) in SECTIONS.iter().zip(1_u8..) {
            let features = self.features.iter().filter(|(marker, _)| marker.section == section);
            let features: Vec<_> = features.map(|(_, proofs)| proofs).collect();
            let tests: BTreeSet<_> = features.iter().flat_map(|proofs| proofs.names()).collect();
            let vectors: BTreeSet<_> = features.iter().flat_map(|proofs| &proofs.vectors).collect();
            let counts = format!("{} | {} | {}", features.len(), tests.len(), vectors.len());
            let link = format!("[{section}. {title}]({})", anchor(section, title));
            line(page, &format!("| {link} | {counts} |"));
        }
    }
}

fn line(page: &mut String, text: &str) {
    // Writing to a string cannot fail.
    let _done = writeln!(page, "{text}");
}

fn tests(proofs: &Proofs) -> String {
    let binaries = proofs.tests.iter().map(|(binary, paths)| {
        let paths: Vec<_> = paths.iter().map(|path| format!("`{path}`")).collect();
        format!("`{binary}` {}", paths.join(", "))
    });
    binaries.collect::<Vec<_>>().join("<br>")
}

/// The vectors of each folder in a line of its own, which names the folder once.
fn vectors(proofs: &Proofs) -> String {
    let mut folders: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    for vector in &proofs.vectors {
        let (folder, name) = vector.rsplit_once('/').unwrap_or((".", vector));
        let link = format!("[{name}](../corpus/vectors/{vector}.rec)");
        folders.entry(folder).or_default().push(link);
    }
    let lines = folders.iter().map(|(folder, links)| format!("`{folder}/` {}", links.join(", ")));
    lines.collect::<Vec<_>>().join("<br>")
}

/// Where a heading is found, as pages of Markdown are shown.
fn anchor(section: u8, title: &str) -> String {
    format!("#{section}-{}", title.to_lowercase().replace(' ', "-"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page() {
        let mut proved = Proved::default();
        let marker = |section, name: &str| Marker { section, name: name.into() };
        let feature = proved.features.entry(marker(2, "overflow")).or_default();
        let paths = BTreeSet::from(["b::two".to_owned(), "a".to_owned()]);
        feature.tests.insert("-p vtd --test dma".into(), paths.clone());
        feature.tests.insert("-p vtd --lib".into(), BTreeSet::from(["c".to_owned()]));
        feature.vectors.extend(["unit/b", "unit/a", "bindings/c"].map(str::to_owned));
        proved.features.entry(marker(10, "raw values")).or_default();
        proved
            .known_failures
            .entry(29)
            .or_default()
            .tests
            .insert("-p vtd --test dma".into(), paths);
        let page = proved.page();
        for expected in [
            "\n## 1. Translation\n\nNothing is marked yet.\n\n## 2. Faults\n",
            "\n| overflow | `-p vtd --lib` `c`<br>`-p vtd --test dma` `a`, `b::two` | \
             `bindings/` [c](../corpus/vectors/bindings/c.rec)<br>`unit/` [a](../corpus/vectors/unit/a.rec), \
             [b](../corpus/vectors/unit/b.rec) |\n",
            "\n| [1. Translation](#1-translation) | 0 | 0 | 0 |\n| [2. Faults](#2-faults) | 1 | 3 | 3 |\n",
            "\n## 10. Capabilities\n\n| feature | tests | vectors |\n| --- | --- | --- |\n| raw values |  |  |\n",
            "\n| 29 | a wait completes when every effect of what stands before it has come about \
             | `-p vtd --test dma` `a`, `b::two` |\n\n## Out of scope\n",
        ] {
            assert!(page.contains(expected), "{expected}\nis not in\n{page}");
        }
    }
}
