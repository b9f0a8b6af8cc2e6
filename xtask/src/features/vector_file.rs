//! The markers of a vector: they stand in its header.

use super::marker::{Comment, Marker};
use super::rust_file::Flaw;

/// The markers of a vector, and what is wrong with them.
pub(super) fn markers(text: &str) -> (Vec<Marker>, Vec<Flaw>) {
    let (mut markers, mut flaws) = (Vec::new(), Vec::new());
    let mut header = true;
    for (line, number) in text.lines().zip(1..) {
        header &= line.starts_with('#') || line.trim().is_empty();
        let mut flaw = |what: &str| flaws.push(Flaw { line: number, what: what.into() });
        match Marker::on_line(line, Comment::Vector) {
            Some(Ok(_)) if !header => flaw("the marker stands behind the header"),
            Some(Ok(marker)) if markers.contains(&marker) => flaw("the marker stands here twice"),
            Some(Ok(marker)) => markers.push(marker),
            Some(Err(what)) => flaw(&what),
            None => {}
        }
    }
    (markers, flaws)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn markers_of_a_header() {
        let (found, flaws) =
            markers("# vtd-recording 1\n# feature: 1.a\n# feature: 2.b\nzero 1000\n");
        let names: Vec<_> =
            found.iter().map(|found| (found.section, found.name.as_str())).collect();
        assert_eq!(names, [(1, "a"), (2, "b")]);
        assert_eq!(flaws, []);
    }

    #[test]
    fn markers_elsewhere() {
        for (text, line) in [
            ("# vtd-recording 1\nzero 1000\n# feature: 1.a\n", 3),
            ("# vtd-recording 1\n# feature: 1.a\n# feature: 1.a\n", 3),
            ("# vtd-recording 1\n# feature: 1\n", 2),
        ] {
            let (_, flaws) = markers(text);
            assert_eq!(flaws.iter().map(|flaw| flaw.line).collect::<Vec<_>>(), [line], "{text}");
        }
    }
}
