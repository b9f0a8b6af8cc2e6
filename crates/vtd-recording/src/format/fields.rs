//! The fields of one line, taken one after the other.

use std::str::SplitAsciiWhitespace;

use vtd_spec::{DomainId, Gpa, Iova, Pasid, Slot, SourceId};

use super::error::shortened;
use super::{FormatError, PasidScope, Permissions, RequestAccess, hexadecimal};

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

    pub(super) fn u16(&mut self, field: &'static str) -> Result<u16, FormatError> {
        self.word(field, "a hexadecimal number of at most 16 bits", |word| {
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
        self.device("BDF")
    }

    pub(super) fn device(&mut self, field: &'static str) -> Result<SourceId, FormatError> {
        self.word(field, "a device such as 00:03.0", |word| word.parse().ok())
    }

    pub(super) fn pasid(&mut self) -> Result<Option<Pasid>, FormatError> {
        self.word("PASID", "a hexadecimal number of at most 20 bits, or `-`", |word| {
            if word == "-" { Some(None) } else { pasid(word).map(Some) }
        })
    }

    pub(super) fn pasid_scope(&mut self) -> Result<PasidScope, FormatError> {
        let expected = "a hexadecimal number of at most 20 bits, `-` or `*`";
        self.word("PASID", expected, |word| match word {
            "-" => Some(PasidScope::WithoutPasid),
            "*" => Some(PasidScope::EveryPasid),
            digits => pasid(digits).map(PasidScope::Pasid),
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

    /// ACCESS of a request that may be of zero length.
    pub(super) fn access(&mut self) -> Result<RequestAccess, FormatError> {
        let expected = "`r` or `w`, then any of `x`, `p` and `z` in this order";
        self.word("ACCESS", expected, RequestAccess::from_letters)
    }

    /// ACCESS of a request or a fault that never says so.
    pub(super) fn access_of_some_length(&mut self) -> Result<RequestAccess, FormatError> {
        let expected = "`r` or `w`, then any of `x` and `p` in this order";
        self.word("ACCESS", expected, |word| {
            RequestAccess::from_letters(word).filter(|access| !access.zero_length)
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

    /// Takes the last field: this word, or nothing.
    pub(super) fn optional(
        &mut self,
        field: &'static str,
        expected: &'static str,
    ) -> Result<bool, FormatError> {
        match self.next() {
            None => Ok(false),
            Some(word) if word == field => Ok(true),
            Some(word) => Err(self.error(field, word, expected)),
        }
    }

    /// Checks that nothing is left.
    pub(super) fn end(mut self) -> Result<(), FormatError> {
        match self.words.next() {
            Some(word) => Err(FormatError::ExtraField { line: self.line, found: shortened(word) }),
            None => Ok(()),
        }
    }
}

fn pasid(digits: &str) -> Option<Pasid> {
    Pasid::new(hexadecimal::number(digits)?.try_into().ok()?)
}
