//! Writing a recording.

use std::fmt::{Display, Write as _};
use std::io::Write;

use super::lines::LONGEST_LINE;
use super::{Event, FormatError, FormatVersion, Header, rules};

/// Writes a recording event by event, so that [`Reader`](super::Reader) gives back the same.
///
/// Each line goes out in one call. Give it a buffered output, and call [`flush`](Self::flush) or
/// [`finish`](Self::finish) where the file must be complete. After an error the last line may stand there in part.
#[derive(Debug)]
pub struct Writer<W> {
    output: W,
    version: FormatVersion,
    line: u64,
    buffer: String,
}

impl<W: Write> Writer<W> {
    /// Starts a recording: writes the header.
    ///
    /// # Errors
    /// [`FormatError`] where the header has something that no line can hold, or `output` fails.
    pub fn new(output: W, header: &Header) -> Result<Self, FormatError> {
        rules::check_header(header)?;
        let version = header.format_version;
        let mut writer = Self { output, version, line: 1, buffer: String::new() };
        let text = header.to_string();
        for line in text.lines() {
            writer.buffer.push_str(line);
            writer.end_line()?;
        }
        Ok(writer)
    }

    /// Writes one event.
    ///
    /// # Errors
    /// [`FormatError`] where the event breaks a rule of its fields or needs a later version of the format than the header says
    /// (nothing is written then), or the output fails.
    pub fn write(&mut self, event: &Event) -> Result<(), FormatError> {
        rules::check_event(self.line, self.version, event)?;
        // A `String` takes everything.
        let _ = write!(self.buffer, "{event}");
        self.end_line()
    }

    /// Writes a comment for people, `# note: …`; a reader skips it, among the header lines too.
    pub(crate) fn note(&mut self, text: &impl Display) -> Result<(), FormatError> {
        // A `String` takes everything.
        let _ = write!(self.buffer, "# note: {text}");
        self.end_line()
    }

    /// Has the output write what it still holds back.
    ///
    /// # Errors
    /// [`FormatError::Write`] where the output fails.
    pub fn flush(&mut self) -> Result<(), FormatError> {
        let line = self.line;
        self.output.flush().map_err(|source| FormatError::Write { line, source })
    }

    /// Flushes, and gives back the output.
    ///
    /// # Errors
    /// [`FormatError::Write`] where the output fails.
    pub fn finish(mut self) -> Result<W, FormatError> {
        self.flush()?;
        Ok(self.output)
    }

    fn end_line(&mut self) -> Result<(), FormatError> {
        let line = self.line;
        let written = if self.buffer.len() > LONGEST_LINE {
            Err(FormatError::LineTooLong { line, limit: LONGEST_LINE })
        } else {
            self.buffer.push('\n');
            self.output
                .write_all(self.buffer.as_bytes())
                .map_err(|source| FormatError::Write { line, source })
        };
        self.buffer.clear();
        written?;
        self.line += 1;
        Ok(())
    }
}
