//! Text from a recording on its way to a terminal.

use std::fmt::{self, Write as _};

/// A text as a terminal can take it: of bounded width, and without control characters. A recording may hold anything.
pub(crate) struct Printable<'t> {
    text: &'t str,
    width: usize,
}

impl<'t> Printable<'t> {
    /// At most so many characters of a text.
    pub(crate) fn new(text: &'t str, width: usize) -> Self {
        Self { text, width }
    }
}

impl fmt::Display for Printable<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut characters = self.text.chars();
        for character in characters.by_ref().take(self.width) {
            f.write_char(if character.is_control() { '\u{fffd}' } else { character })?;
        }
        if characters.next().is_some() { f.write_char('…') } else { Ok(()) }
    }
}
