//! The DMAR table in a file, for a VMM that puts it into its guest's ACPI tables.

use std::io;
use std::path::{Path, PathBuf};

use vtd_vfio_user::pci_address::PciAddress;

/// A file with the DMAR table of a machine, without the table's header.
pub(crate) struct DmarFile {
    path: PathBuf,
    address_bits: u8,
    devices: Vec<PciAddress>,
}

/// Why the file cannot be written.
#[derive(Debug, thiserror::Error)]
#[error("{}: {source}", path.display())]
pub(crate) struct DmarFileError {
    path: PathBuf,
    source: io::Error,
}

impl DmarFile {
    pub(crate) fn new(path: &Path, address_bits: u8, devices: Vec<PciAddress>) -> Self {
        Self { path: path.to_owned(), address_bits, devices }
    }

    /// Writes the table of a unit whose registers lie at `base`. Says so if the file had it elsewhere: the guest that runs now was
    /// told something wrong.
    pub(crate) fn write(&mut self, base: u64) -> Result<(), DmarFileError> {
        let table = self.table(base);
        let before = std::fs::read(&self.path).unwrap_or_default();
        if before == table {
            return Ok(());
        }
        if !before.is_empty() {
            let path = self.path.display();
            eprintln!("vtd-machine: {path}: the unit lies at {base:#x} now; start the guest again");
        }
        let whole = self.path.with_extension("new");
        std::fs::write(&whole, table)
            .and_then(|()| std::fs::rename(&whole, &self.path))
            .map_err(|source| DmarFileError { path: self.path.clone(), source })
    }

    fn table(&self, base: u64) -> Vec<u8> {
        let mut table = vec![self.address_bits - 1, 0];
        table.extend([0; 10]);
        let length = u16::try_from(16 + 8 * self.devices.len()).unwrap_or(u16::MAX);
        table.extend(0_u16.to_le_bytes());
        table.extend(length.to_le_bytes());
        table.extend([0, 0, 0, 0]);
        table.extend(base.to_le_bytes());
        for device in &self.devices {
            table.extend([1, 8, 0, 0, 0, 0, device.device(), device.function()]);
        }
        table
    }
}
