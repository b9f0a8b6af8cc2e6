//! The fields of one line, taken one after the other.

use std::str::SplitAsciiWhitespace;

use vtd_spec::{DomainId, Gpa, Iova, Pasid, Slot, SourceId};

use super::error::shortened;
use super::{Direction, FormatError, Permissions, hexadecimal};

/// What is left of a line.
///
/// Each method takes the next word as one kind of field. It judges the word alone; the rules between fields stand apart.
pub(super) struct Fields<'a> {
    line: u64,
    words: SplitAsciiWhitespace<'a>,
}

impl<'a> Fields<'a> {
    pub(super) fn new(line: u64, text: &'a str) -> Self {
        Self { line, words: text.split_ascii_whitespace() }
    }

    /// The next word, if there is one.
    pub(super) fn next(&mut self) -> Option<&'a str> {
        self.words.next()
    }

    /// The error of a word that is not what its field expects.
    pub(super) fn error(
        &self,
        field: &'static str,
        found: &str,
        expected: &'static str,
    ) -> FormatError {
        FormatError::Field { line: self.line, field, found: shortened(found), expected }
    }

    /// Takes a word as whatever `take` makes of it.
    pub(super) fn word<T>(
        &mut self,
        field: &'static str,
        expected: &'static str,
        take: impl FnOnce(&'a str) -> Option<T>,
    ) -> Result<T, FormatError> {
        let Some(word) = self.words.next() else {
            return Err(FormatError::MissingField { line: self.line, field, expected });
        };
        take(word).ok_or_else(|| self.error(field, word, expected))
    }

    pub(super) fn u64(&mut self, field: &'static str) -> Result<u64, FormatError> {
        self.word(field, "a hexadecimal number of at most 64 bits", hexadecimal::number)
    }

    pub(super) fn u32(&mut self, field: &'static str) -> Result<u32, FormatError> {
        self.word(field, "a hexadecimal number of at most 32 bits", |word| {
            hexadecimal::number(word)?.try_into().ok()
        })
    }

    pub(super) fn u8(&mut self, field: &'static str) -> Result<u8, FormatError> {
        self.word(field, "a hexadecimal number of at most 8 bits", |word| {
            hexadecimal::number(word)?.try_into().ok()
        })
    }

    pub(super) fn gpa(&mut self, field: &'static str) -> Result<Gpa, FormatError> {
        self.u64(field).map(Gpa)
    }

    pub(super) fn iova(&mut self, field: &'static str) -> Result<Iova, FormatError> {
        self.u64(field).map(Iova)
    }

    pub(super) fn bytes(&mut self, field: &'static str) -> Result<Vec<u8>, FormatError> {
        self.word(field, "bytes of two hexadecimal digits each", hexadecimal::bytes)
    }

    /// The size of a register access, the one decimal number of the format.
    pub(super) fn size(&mut self) -> Result<u8, FormatError> {
        self.word("SIZE", "1 to 8", |word| match word.as_bytes() {
            [digit @ b'1'..=b'8'] => Some(digit - b'0'),
            _ => None,
        })
    }

    pub(super) fn source_id(&mut self) -> Result<SourceId, FormatError> {
        self.word("BDF", "a device such as 00:03.0", |word| word.parse().ok())
    }

    pub(super) fn pasid(&mut self) -> Result<Option<Pasid>, FormatError> {
        self.word("PASID", "a hexadecimal number of at most 20 bits, or `-`", |word| {
            if word == "-" {
                return Some(None);
            }
            let number = hexadecimal::number(word)?.try_into().ok()?;
            Pasid::new(number).map(Some)
        })
    }

    pub(super) fn slot(&mut self) -> Result<Slot, FormatError> {
        Ok(self.pasid()?.map_or(Slot::Rid, Slot::Pasid))
    }

    pub(super) fn domain(&mut self) -> Result<DomainId, FormatError> {
        self.word("DID", "a hexadecimal number of at most 16 bits", |word| {
            hexadecimal::number(word)?.try_into().ok().map(DomainId)
        })
    }

    pub(super) fn direction(&mut self) -> Result<Direction, FormatError> {
        self.word("rw", "`r` or `w`", |word| match word {
            "r" => Some(Direction::Read),
            "w" => Some(Direction::Write),
            _ => None,
        })
    }

    pub(super) fn permissions(&mut self) -> Result<Permissions, FormatError> {
        self.word("PERM", "`r`, `w` or `rw`", |word| match word {
            "r" => Some(Permissions::Read),
            "w" => Some(Permissions::Write),
            "rw" => Some(Permissions::ReadWrite),
            _ => None,
        })
    }

    /// Checks that nothing is left.
    pub(super) fn end(mut self) -> Result<(), FormatError> {
        match self.words.next() {
            Some(word) => Err(FormatError::ExtraField { line: self.line, found: shortened(word) }),
            None => Ok(()),
        }
    }
}
