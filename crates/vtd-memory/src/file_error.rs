//! Why memory images could not be mapped.

use std::io;
use std::path::PathBuf;

use vtd_spec::Gpa;

/// Why [`FileMemory::open`](crate::FileMemory::open) refused its regions. `region` and the like count them from 0, in the
/// order in which they were given.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FileMemoryError {
    /// The file cannot be opened or its length not be found.
    #[error("region {region}: cannot open {}", path.display())]
    Open {
        /// Which region.
        region: usize,
        /// Its file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The file cannot be mapped.
    #[error("region {region}: cannot map {}", path.display())]
    Map {
        /// Which region.
        region: usize,
        /// Its file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// Guest address, file offset or length is no multiple of 8.
    #[error("region {region} ({}): guest address, file offset and length must be multiples of 8", path.display())]
    Misaligned {
        /// Which region.
        region: usize,
        /// Its file.
        path: PathBuf,
    },
    /// The region has no byte: it begins at the end of the file, or its length is 0.
    #[error("region {region} ({}): it is empty", path.display())]
    Empty {
        /// Which region.
        region: usize,
        /// Its file.
        path: PathBuf,
    },
    /// The region begins or ends behind the end of the file.
    #[error("region {region} ({}): the file ends at byte {file_length}, before the region does", path.display())]
    BeyondFile {
        /// Which region.
        region: usize,
        /// Its file.
        path: PathBuf,
        /// The length of the file in bytes.
        file_length: u64,
    },
    /// The region does not fit behind its guest address, or not into this process.
    #[error("region {region} ({}): {length} bytes from {gpa} leave the address space", path.display())]
    BeyondAddressSpace {
        /// Which region.
        region: usize,
        /// Its file.
        path: PathBuf,
        /// Where it would begin.
        gpa: Gpa,
        /// Its length in bytes.
        length: u64,
    },
    /// Two regions claim the same guest memory.
    #[error("regions {first} and {second} overlap at {gpa}")]
    Overlap {
        /// The one that begins first.
        first: usize,
        /// The other one.
        second: usize,
        /// The first address that both claim.
        gpa: Gpa,
    },
}
