//! Why guest memory could not be reached.

use vtd_spec::Gpa;

/// An access to guest memory that was not made: no byte of it was read into use, none was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
#[error("{size} bytes of guest memory at {gpa}: {kind}")]
#[non_exhaustive]
pub struct AccessError {
    /// Where the access begins.
    pub gpa: Gpa,
    /// How long the whole access is, in bytes.
    pub size: usize,
    /// What is wrong with it.
    pub kind: AccessErrorKind,
}

/// What is wrong with an access to guest memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
#[non_exhaustive]
pub enum AccessErrorKind {
    /// No memory lies behind at least one byte of it, or it runs past the end of the 64-bit address space.
    #[error("not backed by memory")]
    NotBacked,
    /// Its address is no multiple of the size of what is read or written at once (8 or 4 bytes).
    #[error("misaligned")]
    Misaligned,
}

impl AccessError {
    /// The error of an access to `size` bytes from `gpa`, not all of which are memory.
    #[must_use]
    pub const fn not_backed(gpa: Gpa, size: usize) -> Self {
        Self { gpa, size, kind: AccessErrorKind::NotBacked }
    }

    /// The error of an access to `size` bytes at an address `gpa` that is not aligned for it.
    #[must_use]
    pub const fn misaligned(gpa: Gpa, size: usize) -> Self {
        Self { gpa, size, kind: AccessErrorKind::Misaligned }
    }
}
