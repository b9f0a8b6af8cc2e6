//! A part of a memory image and where the guest has it.

use std::path::PathBuf;

use vtd_spec::Gpa;

/// A part of a raw memory image, and the guest-physical addresses at which it lies.
///
/// `gpa`, `file_offset` and a `length` that is given are multiples of 8, in bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Region {
    /// The image: a regular file.
    pub path: PathBuf,
    /// Where in the file the region begins, in bytes.
    pub file_offset: u64,
    /// Where in guest memory it begins.
    pub gpa: Gpa,
    /// How long it is, in bytes; without one, up to the end of the file, where a rest of less than 8 bytes is left out.
    pub length: Option<u64>,
}

impl Region {
    /// The whole file, from `gpa` upwards.
    #[must_use]
    pub fn new(path: impl Into<PathBuf>, gpa: Gpa) -> Self {
        Self { path: path.into(), file_offset: 0, gpa, length: None }
    }

    /// The same from another place of the file, in bytes.
    #[must_use]
    pub fn from_offset(self, file_offset: u64) -> Self {
        Self { file_offset, ..self }
    }

    /// The same, but only `length` bytes.
    #[must_use]
    pub fn with_length(self, length: u64) -> Self {
        Self { length: Some(length), ..self }
    }
}
