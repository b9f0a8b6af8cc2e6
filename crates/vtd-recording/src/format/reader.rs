//! Reading a recording.

use std::io::BufRead;
use std::iter::FusedIterator;

use super::header::HeaderLines;
use super::lines::Lines;
use super::{Event, FormatError, Header};

/// Reads a recording as it comes: an iterator of events, each with its line number, counted from 1.
///
/// No more than one line is held. After an error the iterator ends, since what follows a gap has no meaning.
#[derive(Debug)]
pub struct Reader<R> {
    lines: Lines<R>,
    header: Header,
    capabilities_line: u64,
    finished: bool,
}

impl<R: BufRead> Reader<R> {
    /// Reads the header, that is everything before the first event.
    ///
    /// # Errors
    /// [`FormatError`] where `input` is no recording, or one of another version, or its header is incomplete or wrong.
    pub fn new(input: R) -> Result<Self, FormatError> {
        let mut lines = Lines::new(input);
        let first = lines.next()?.map_or("", |(_, text)| text);
        let mut header = HeaderLines::start(first)?;
        while let Some((line, text)) = lines.next()? {
            match text.trim_ascii_start().strip_prefix('#') {
                Some(text) => header.take(line, text)?,
                None if text.trim_ascii().is_empty() => {}
                None => {
                    lines.put_back();
                    break;
                }
            }
        }
        let capabilities_line = header.capabilities_line();
        let header = header.finish(lines.number())?;
        Ok(Self { lines, header, capabilities_line, finished: false })
    }

    /// The line, counted from 1, at which what the unit can do was complete: the last of `# cap`, `# ecap` and `# haw`.
    pub fn capabilities_line(&self) -> u64 {
        self.capabilities_line
    }

    /// What the recording says about itself.
    pub fn header(&self) -> &Header {
        &self.header
    }

    fn next_event(&mut self) -> Result<Option<(u64, Event)>, FormatError> {
        while let Some((line, text)) = self.lines.next()? {
            let text = text.trim_ascii_start();
            if !text.is_empty() && !text.starts_with('#') {
                let version = self.header.format_version;
                return Event::parse(line, version, text).map(|event| Some((line, event)));
            }
        }
        Ok(None)
    }
}

impl<R: BufRead> Iterator for Reader<R> {
    type Item = Result<(u64, Event), FormatError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.finished {
            return None;
        }
        let next = self.next_event().transpose();
        self.finished = !matches!(next, Some(Ok(_)));
        next
    }
}

impl<R: BufRead> FusedIterator for Reader<R> {}
