//! The tests of a Rust file and the markers before them.
//!
//! A scanner of lines, since a parser of Rust drops the comments. It takes files as rustfmt leaves them: an attribute, a comment
//! or the head of a function begins a line, and a module ends with `}` as far to the right as it began.

use super::marker::{Comment, Marker};

/// A test function of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Test {
    /// Modules within the file, then the function: `tests::it_works`.
    pub(super) path: String,
    pub(super) markers: Vec<Marker>,
}

/// Something wrong at a line, counted from 1.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Flaw {
    pub(super) line: usize,
    pub(super) what: String,
}

/// What stands between a marker and its function.
#[derive(Default)]
struct Head {
    markers: Vec<Marker>,
    is_test: bool,
    is_ignored: bool,
    /// Brackets of an attribute that are still open.
    open: usize,
}

/// The tests of a file, and what is wrong with its markers.
pub(super) fn tests(text: &str) -> (Vec<Test>, Vec<Flaw>) {
    let (mut tests, mut flaws) = (Vec::new(), Vec::new());
    let mut modules: Vec<(usize, &str)> = Vec::new();
    let mut head = Head::default();
    for (line, number) in text.lines().zip(1..) {
        let mut flaw = |what: &str| flaws.push(Flaw { line: number, what: what.into() });
        let code = line.trim();
        let indent = line.len() - line.trim_start().len();
        if head.open > 0 {
            head.open = open_brackets(head.open, code);
            continue;
        }
        match Marker::on_line(line, Comment::Rust) {
            Some(Ok(marker)) if head.markers.contains(&marker) => {
                flaw("the marker stands here twice");
            }
            Some(Ok(marker)) => head.markers.push(marker),
            Some(Err(what)) => flaw(&what),
            None if code.starts_with("//") => {}
            None if code.starts_with("#[") => {
                head.is_test |= code == "#[test]";
                head.is_ignored |= code.starts_with("#[ignore");
                head.open = open_brackets(0, code);
            }
            None => {
                let head = std::mem::take(&mut head);
                match function(code) {
                    Some(name) if head.is_test => {
                        if head.is_ignored && !head.markers.is_empty() {
                            flaw("the marker stands before a test that is ignored");
                        }
                        let modules = modules.iter().map(|(_, module)| *module);
                        let path: Vec<_> = modules.chain([name]).collect();
                        tests.push(Test { path: path.join("::"), markers: head.markers });
                    }
                    _ if !head.markers.is_empty() => flaw("no test follows the marker"),
                    _ => {}
                }
                if let Some(module) = module(code) {
                    modules.push((indent, module));
                } else if code == "}" && modules.last().is_some_and(|(at, _)| *at == indent) {
                    modules.pop();
                }
            }
        }
    }
    if !head.markers.is_empty() {
        flaws.push(Flaw { line: text.lines().count(), what: "no test follows the marker".into() });
    }
    (tests, flaws)
}

fn open_brackets(open: usize, code: &str) -> usize {
    code.chars().fold(open, |open, letter| match letter {
        '[' => open + 1,
        ']' => open.saturating_sub(1),
        _ => open,
    })
}

/// The name of the function that begins on this line.
fn function(code: &str) -> Option<&str> {
    let (before, after) = code.split_once("fn ")?;
    let qualifiers = ["pub", "pub(crate)", "pub(super)", "async", "const", "unsafe"];
    if !before.split_whitespace().all(|word| qualifiers.contains(&word)) {
        return None;
    }
    let name = after.split(['(', '<']).next()?;
    Some(name.trim()).filter(|name| !name.is_empty())
}

/// The name of the module whose body begins on this line.
fn module(code: &str) -> Option<&str> {
    let (before, after) = code.split_once("mod ")?;
    let name = after.strip_suffix('{')?.trim();
    matches!(before.trim(), "" | "pub" | "pub(crate)" | "pub(super)").then_some(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn marker(section: u8, name: &str) -> Marker {
        Marker { section, name: name.into() }
    }

    fn test(path: &str, markers: &[Marker]) -> Test {
        Test { path: path.into(), markers: markers.to_vec() }
    }

    #[test]
    fn functions_and_their_markers() {
        let text = "\
// feature: 1.a
#[test]
fn one() {
}

// feature: 1.a
// feature: 2.b
/// What it proves.
#[allow(
    clippy::panic,
    reason = \"[a reason]\"
)]
// A comment.
#[test]
#[should_panic(expected = \"it\")]
pub(crate) fn two() -> Result<(), Box<dyn Error>> {}

#[test]
/// feature by feature
// feature: 3.c
fn three() {}

fn helper() {}

#[test]
fn without_a_marker() {}

const FN: &str = \"fn none()\";
";
        let expected = [
            test("one", &[marker(1, "a")]),
            test("two", &[marker(1, "a"), marker(2, "b")]),
            test("three", &[marker(3, "c")]),
            test("without_a_marker", &[]),
        ];
        assert_eq!(tests(text), (expected.to_vec(), vec![]));
    }

    #[test]
    fn modules_of_a_file() {
        let text = "\
mod elsewhere;

#[cfg(test)]
mod tests {
    #[test]
    fn one() {
        if true {
        }
    }

    mod inner {
        #[test]
        fn two() {}
    }

    #[test]
    fn three() {}
}

#[test]
fn four() {}
";
        let expected =
            ["tests::one", "tests::inner::two", "tests::three", "four"].map(|path| test(path, &[]));
        assert_eq!(tests(text), (expected.to_vec(), vec![]));
    }

    #[test]
    fn markers_without_a_test() {
        for (text, line, what) in [
            ("// feature: 1.a\nfn helper() {}", 2, "no test follows"),
            ("// feature: 1.a\n\n#[test]\nfn test() {}", 2, "no test follows"),
            ("#[test]\nfn test() {\n    // feature: 1.a\n    let a = 1;\n}", 4, "no test follows"),
            ("// feature: 1.a\nstruct Guest;", 2, "no test follows"),
            ("#[test]\nfn test() {}\n// feature: 1.a", 3, "no test follows"),
            ("// feature: 1.a\n// feature: 1.a\n#[test]\nfn test() {}", 2, "twice"),
            ("// feature: 1.a\n#[test]\n#[ignore = \"slow\"]\nfn test() {}", 4, "ignored"),
            ("// feature: 99.a\n#[test]\nfn test() {}", 1, "no section"),
        ] {
            let (_, flaws) = tests(text);
            let [flaw] = &flaws[..] else { panic!("{text}: {flaws:?}") };
            assert_eq!(flaw.line, line, "{text}: {flaw:?}");
            assert!(flaw.what.contains(what), "{text}: {flaw:?}");
        }
    }
}
