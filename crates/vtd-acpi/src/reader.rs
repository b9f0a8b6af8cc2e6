//! Bytes that are taken field by field.

use crate::{DecodeError, DecodeErrorKind};

/// What is left of a table or of a part of it.
#[derive(Clone, Copy)]
pub(crate) struct Reader<'b> {
    left: &'b [u8],
    /// Where it begins in the whole.
    offset: usize,
}

impl<'b> Reader<'b> {
    pub(crate) const fn new(bytes: &'b [u8]) -> Self {
        Self { left: bytes, offset: 0 }
    }

    pub(crate) const fn is_empty(&self) -> bool {
        self.left.is_empty()
    }

    pub(crate) const fn left(&self) -> &'b [u8] {
        self.left
    }

    /// The error of the field that begins here.
    pub(crate) const fn invalid(
        &self,
        field: &'static str,
        found: u64,
        expected: &'static str,
    ) -> DecodeError {
        let kind = DecodeErrorKind::Invalid { found, expected };
        DecodeError { offset: self.offset, field, kind }
    }

    /// Takes the next bytes as a part of their own.
    pub(crate) fn part(&mut self, field: &'static str, length: usize) -> Result<Self, DecodeError> {
        let Some((part, rest)) = self.left.split_at_checked(length) else {
            let kind = DecodeErrorKind::Cut { needed: length, left: self.left.len() };
            return Err(DecodeError { offset: self.offset, field, kind });
        };
        let taken = Self { left: part, offset: self.offset };
        *self = Self { left: rest, offset: self.offset.saturating_add(length) };
        Ok(taken)
    }

    pub(crate) fn bytes<const N: usize>(
        &mut self,
        field: &'static str,
    ) -> Result<[u8; N], DecodeError> {
        let taken = self.part(field, N)?;
        // As long as it says, so the rest of the error is never seen.
        taken.left.try_into().map_err(|_| taken.invalid(field, 0, "as long as it says"))
    }

    pub(crate) fn u8(&mut self, field: &'static str) -> Result<u8, DecodeError> {
        self.bytes(field).map(u8::from_le_bytes)
    }

    pub(crate) fn u16(&mut self, field: &'static str) -> Result<u16, DecodeError> {
        self.bytes(field).map(u16::from_le_bytes)
    }

    pub(crate) fn u32(&mut self, field: &'static str) -> Result<u32, DecodeError> {
        self.bytes(field).map(u32::from_le_bytes)
    }

    pub(crate) fn u64(&mut self, field: &'static str) -> Result<u64, DecodeError> {
        self.bytes(field).map(u64::from_le_bytes)
    }
}
