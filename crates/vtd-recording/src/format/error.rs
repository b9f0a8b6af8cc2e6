//! What can be wrong with a recording.

use std::io;

use super::EventKind;

/// Why a recording could not be read or written: always with the line, counted from 1.
///
/// The name of the file is not known here; the caller puts it in front.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FormatError {
    /// The input failed.
    #[error("line {line}: the recording cannot be read")]
    Read {
        /// The line that was being read.
        line: u64,
        /// What the input said.
        source: io::Error,
    },
    /// The output failed.
    #[error("line {line}: the recording cannot be written")]
    Write {
        /// The line that was being written.
        line: u64,
        /// What the output said.
        source: io::Error,
    },
    /// A line is longer than [`LONGEST_LINE`](super::LONGEST_LINE).
    #[error("line {line}: longer than {limit} bytes")]
    LineTooLong {
        /// The line.
        line: u64,
        /// How many bytes a line may have, without its end.
        limit: usize,
    },
    /// A line is not text.
    #[error("line {line}: byte {byte} is not UTF-8")]
    NotUtf8 {
        /// The line.
        line: u64,
        /// The first byte that does not fit, counted from 1.
        byte: usize,
    },
    /// The first line is not that of a recording.
    #[error("line 1: {found:?} is not the first line of a recording, `# vtd-recording 1` or `2`")]
    NotARecording {
        /// The first line, shortened.
        found: String,
    },
    /// The recording has another version of the format.
    #[error("line 1: version {found:?} of the recording format is not supported, only 1 and 2 are")]
    UnsupportedVersion {
        /// The version as the file has it, shortened.
        found: String,
    },
    /// A recording of version 1 has a line of a kind that only later versions have.
    #[error(
        "line {line}: \"{kind}\" needs version 2 of the recording format, and this is version 1"
    )]
    KindNeedsVersion2 {
        /// The line.
        line: u64,
        /// Its kind.
        kind: EventKind,
    },
    /// A recording of version 1 has a word that only later versions have.
    #[error(
        "line {line}: field {field}: {found:?} needs version 2 of the recording format, and this is version 1"
    )]
    WordNeedsVersion2 {
        /// The line.
        line: u64,
        /// The field, named as in the description of the format.
        field: &'static str,
        /// What it holds.
        found: String,
    },
    /// A header line that every recording needs is not there.
    #[error(
        "line {line}: the header has no line `# {name} …`, which must come before the first event"
    )]
    MissingHeader {
        /// The first event, or the last line where there is no event.
        line: u64,
        /// The name of the header line.
        name: &'static str,
    },
    /// A header line stands in the file twice.
    #[error("line {line}: the header already has a line `# {name} …`")]
    RepeatedHeader {
        /// The second of the two lines.
        line: u64,
        /// The name of the header line.
        name: &'static str,
    },
    /// No event is written like this.
    #[error("line {line}: {found:?} is not a kind of event")]
    UnknownKind {
        /// The line.
        line: u64,
        /// Its first word, shortened.
        found: String,
    },
    /// The line ends too early.
    #[error("line {line}: field {field} is missing: expected {expected}")]
    MissingField {
        /// The line.
        line: u64,
        /// The field, named as in the description of the format.
        field: &'static str,
        /// What it should be.
        expected: &'static str,
    },
    /// The line goes on after its last field.
    #[error("line {line}: {found:?} after the last field")]
    ExtraField {
        /// The line.
        line: u64,
        /// The first word too many, shortened.
        found: String,
    },
    /// A field holds something that does not belong there.
    #[error("line {line}: field {field}: {found:?} is not {expected}")]
    Field {
        /// The line.
        line: u64,
        /// The field, named as in the description of the format.
        field: &'static str,
        /// What it holds, shortened.
        found: String,
        /// What it should be.
        expected: &'static str,
    },
    /// A field of bytes has a length that it cannot have.
    #[error("line {line}: field {field}: {found} bytes are not {expected}")]
    Length {
        /// The line.
        line: u64,
        /// The field, named as in the description of the format.
        field: &'static str,
        /// How many bytes it has.
        found: usize,
        /// How many it should have.
        expected: &'static str,
    },
}

impl FormatError {
    /// The line that is wrong, counted from 1.
    #[must_use]
    pub const fn line(&self) -> u64 {
        match self {
            Self::NotARecording { .. } | Self::UnsupportedVersion { .. } => 1,
            Self::Read { line, .. }
            | Self::Write { line, .. }
            | Self::LineTooLong { line, .. }
            | Self::NotUtf8 { line, .. }
            | Self::KindNeedsVersion2 { line, .. }
            | Self::WordNeedsVersion2 { line, .. }
            | Self::MissingHeader { line, .. }
            | Self::RepeatedHeader { line, .. }
            | Self::UnknownKind { line, .. }
            | Self::MissingField { line, .. }
            | Self::ExtraField { line, .. }
            | Self::Field { line, .. }
            | Self::Length { line, .. } => *line,
        }
    }
}

/// The start of a text: a message stays readable whatever the file holds.
pub(super) fn shortened(text: &str) -> String {
    const LONGEST: usize = 40;
    let mut characters = text.chars();
    let mut start: String = characters.by_ref().take(LONGEST).collect();
    if characters.next().is_some() {
        start.push('…');
    }
    start
}
