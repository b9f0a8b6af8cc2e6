//! Markers: `// feature: 5.virtual commands` before a test, `# feature: 5.virtual commands` in a vector.

/// What a marker says: a feature, and the section of the page that it stands in.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Marker {
    /// 1 to 10.
    pub(super) section: u8,
    pub(super) name: String,
}

/// What comments begin with where the marker stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Comment {
    /// `//`, in a Rust file.
    Rust,
    /// `#`, in a vector.
    Vector,
}

impl Comment {
    fn sign(self) -> &'static str {
        match self {
            Self::Rust => "//",
            Self::Vector => "#",
        }
    }
}

impl Marker {
    /// The marker on a line; `None` where the line is none and does not look like one.
    pub(super) fn on_line(line: &str, comment: Comment) -> Option<Result<Self, String>> {
        let line = line.trim();
        let after = line.strip_prefix(comment.sign())?;
        // Spelled otherwise it would be a comment, and the proof would be missing without a word.
        let bare = after.trim_start_matches(['/', '!', '#', ' ', '\t']).to_lowercase();
        if !bare.starts_with("feature:") && !bare.starts_with("features:") {
            return None;
        }
        let Some(text) = after.strip_prefix(" feature: ") else {
            return Some(Err(format!("not spelled `{} feature: N.name`", comment.sign())));
        };
        Some(Self::parse(text))
    }

    fn parse(text: &str) -> Result<Self, String> {
        let (section, name) = text.split_once('.').ok_or("no `.` between section and name")?;
        let section = match section.parse() {
            Ok(number @ 1..=10) if !section.starts_with(['0', '+']) => number,
            _ => return Err(format!("no section {section:?}: they are 1 to 10")),
        };
        if name.is_empty() {
            return Err("no name".into());
        }
        let is_plain = |letter: char| letter.is_ascii_graphic() && !matches!(letter, '|' | '`');
        if !name.split(' ').all(|word| !word.is_empty() && word.chars().all(is_plain)) {
            return Err(format!("{name:?} is not words with a space between them"));
        }
        Ok(Self { section, name: name.into() })
    }

    /// What two spellings of one name have in common.
    pub(super) fn spelling(&self) -> (u8, String) {
        let letters = self.name.chars().filter(char::is_ascii_alphanumeric);
        (self.section, letters.map(|letter| letter.to_ascii_lowercase()).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines() {
        let marker = |section, name: &str| Some(Ok(Marker { section, name: name.into() }));
        for (line, comment, expected) in [
            (
                "// feature: 1.first-stage, 4 levels",
                Comment::Rust,
                marker(1, "first-stage, 4 levels"),
            ),
            ("    // feature: 10.raw values", Comment::Rust, marker(10, "raw values")),
            ("# feature: 4.overflow (PRO)", Comment::Vector, marker(4, "overflow (PRO)")),
            ("// A feature: 1.in a sentence", Comment::Rust, None),
            ("let feature = 1;", Comment::Rust, None),
            ("// features of a unit", Comment::Rust, None),
            ("# note: 1.a", Comment::Vector, None),
        ] {
            assert_eq!(Marker::on_line(line, comment), expected, "{line}");
        }
    }

    #[test]
    fn malformed_lines() {
        for (line, comment, why) in [
            ("/// feature: 1.a", Comment::Rust, "not spelled"),
            ("//feature: 1.a", Comment::Rust, "not spelled"),
            ("// Feature: 1.a", Comment::Rust, "not spelled"),
            ("// feature:1.a", Comment::Rust, "not spelled"),
            ("// features: 1.a", Comment::Rust, "not spelled"),
            ("#feature: 1.a", Comment::Vector, "not spelled"),
            ("// feature: 1 a", Comment::Rust, "no `.`"),
            ("// feature: a.b", Comment::Rust, "no section"),
            ("// feature: .b", Comment::Rust, "no section"),
            ("// feature: 0.b", Comment::Rust, "no section"),
            ("// feature: 11.b", Comment::Rust, "no section"),
            ("// feature: 01.b", Comment::Rust, "no section"),
            ("// feature: +1.b", Comment::Rust, "no section"),
            ("// feature: 1.", Comment::Rust, "no name"),
            ("// feature: 1. a", Comment::Rust, "is not words"),
            ("// feature: 1.a  b", Comment::Rust, "is not words"),
            ("// feature: 1.a|b", Comment::Rust, "is not words"),
        ] {
            let Some(Err(error)) = Marker::on_line(line, comment) else { panic!("{line}") };
            assert!(error.contains(why), "{line}: {error}");
        }
    }

    #[test]
    fn spellings_of_one_name() {
        let spelling = |name: &str| Marker { section: 1, name: name.into() }.spelling();
        assert_eq!(spelling("first-stage"), spelling("First stage"));
        assert_ne!(spelling("first-stage"), spelling("second-stage"));
    }
}
