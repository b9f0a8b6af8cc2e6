//! The lines of a text, one at a time.

use std::io::{BufRead, Read};

use super::FormatError;

/// How many bytes a line may have, without its end: 1 MiB. A `mem` line of 512 KiB less 64 bytes fits.
///
/// A file that is no recording may well be one line of gigabytes.
pub const LONGEST_LINE: usize = 1 << 20;

/// Reads lines into one buffer, which grows to the longest line and no further than [`LONGEST_LINE`].
#[derive(Debug)]
pub(super) struct Lines<R> {
    input: R,
    number: u64,
    buffer: Vec<u8>,
    again: bool,
}

impl<R: BufRead> Lines<R> {
    pub(super) fn new(input: R) -> Self {
        Self { input, number: 0, buffer: Vec::new(), again: false }
    }

    /// How many lines were read: the number of the last one.
    pub(super) fn number(&self) -> u64 {
        self.number
    }

    /// Gives the last line once more when the next one is asked for.
    pub(super) fn put_back(&mut self) {
        self.again = true;
    }

    /// The next line with its number, or `None` at the end.
    pub(super) fn next(&mut self) -> Result<Option<(u64, &str)>, FormatError> {
        if !std::mem::take(&mut self.again) && !self.read()? {
            return Ok(None);
        }
        let line = self.number;
        match std::str::from_utf8(&self.buffer) {
            Ok(text) => Ok(Some((line, text))),
            Err(error) => Err(FormatError::NotUtf8 { line, byte: error.valid_up_to() + 1 }),
        }
    }

    fn read(&mut self) -> Result<bool, FormatError> {
        self.buffer.clear();
        let line = self.number + 1;
        // One more than a line may have is its end, or shows that it is too long.
        let mut limited = self.input.by_ref().take(LONGEST_LINE as u64 + 1);
        let length = limited
            .read_until(b'\n', &mut self.buffer)
            .map_err(|source| FormatError::Read { line, source })?;
        if length == 0 {
            return Ok(false);
        }
        if self.buffer.last() == Some(&b'\n') {
            self.buffer.pop();
        }
        if self.buffer.len() > LONGEST_LINE {
            return Err(FormatError::LineTooLong { line, limit: LONGEST_LINE });
        }
        self.number = line;
        Ok(true)
    }
}
