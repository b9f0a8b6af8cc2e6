//! The file behind a block device.

use std::fs::File;
use std::io::{self, Seek, SeekFrom};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

/// The unit of addresses and lengths of virtio block devices, in bytes.
pub const SECTOR: u64 = 512;

/// Why a file is no disk.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DiskError {
    /// It cannot be opened to be read and written.
    #[error("{}: {source}", path.display())]
    Open {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Its size is none that a disk can have.
    #[error("{}: a disk has whole sectors of 512 bytes, at least one; this file has {size} bytes", path.display())]
    Size {
        /// The file.
        path: PathBuf,
        /// Its size in bytes.
        size: u64,
    },
}

/// A file, or a block device of the host, as a disk. It has the size that it had when it was opened.
#[derive(Debug)]
pub struct Disk {
    file: File,
    sectors: u64,
}

impl Disk {
    /// Opens the disk.
    ///
    /// # Errors
    /// [`DiskError`] names the file and says what is wrong with it.
    pub fn open(path: &Path) -> Result<Self, DiskError> {
        let named = |source| DiskError::Open { path: path.to_owned(), source };
        let mut file = File::options().read(true).write(true).open(path).map_err(named)?;
        // Metadata has no size for block devices.
        let size = file.seek(SeekFrom::End(0)).map_err(named)?;
        match size > 0 && size.is_multiple_of(SECTOR) {
            true => Ok(Self { file, sectors: size / SECTOR }),
            false => Err(DiskError::Size { path: path.to_owned(), size }),
        }
    }

    /// Its size in sectors.
    #[must_use]
    pub fn sectors(&self) -> u64 {
        self.sectors
    }

    /// Where `length` bytes from a sector on begin in the file, if they are whole sectors of the disk.
    pub(super) fn place(&self, sector: u64, length: u64) -> Option<u64> {
        let left = self.sectors.checked_sub(sector)?;
        let fits = length.is_multiple_of(SECTOR) && length / SECTOR <= left;
        sector.checked_mul(SECTOR).filter(|_| fits)
    }

    pub(super) fn read(&self, data: &mut [u8], at: u64) -> io::Result<()> {
        self.file.read_exact_at(data, at)
    }

    pub(super) fn write(&self, data: &[u8], at: u64) -> io::Result<()> {
        self.file.write_all_at(data, at)
    }

    /// Everything written before lasts from here on.
    pub(super) fn flush(&self) -> io::Result<()> {
        self.file.sync_data()
    }
}
