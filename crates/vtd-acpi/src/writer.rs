//! Bytes that are put field by field.

use alloc::vec::Vec;

use crate::EncodeError;

/// What a table or a part of it has so far.
#[derive(Default)]
pub(crate) struct Writer(pub(crate) Vec<u8>);

impl Writer {
    pub(crate) fn u8(&mut self, value: u8) {
        self.0.push(value);
    }

    pub(crate) fn u16(&mut self, value: u16) {
        self.bytes(&value.to_le_bytes());
    }

    pub(crate) fn u32(&mut self, value: u32) {
        self.bytes(&value.to_le_bytes());
    }

    pub(crate) fn u64(&mut self, value: u64) {
        self.bytes(&value.to_le_bytes());
    }

    pub(crate) fn bytes(&mut self, bytes: &[u8]) {
        self.0.extend_from_slice(bytes);
    }

    /// A remapping structure: its type, its length, and what follows.
    pub(crate) fn structure(
        &mut self,
        kind: u16,
        what: &'static str,
        body: &Self,
    ) -> Result<(), EncodeError> {
        let length = body.0.len().saturating_add(4);
        let length = u16::try_from(length).map_err(|_| EncodeError::TooLong { what })?;
        self.u16(kind);
        self.u16(length);
        self.bytes(&body.0);
        Ok(())
    }
}
