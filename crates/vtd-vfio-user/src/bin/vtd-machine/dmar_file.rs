//! The DMAR table in a file, for a VMM that puts it into its guest's ACPI tables.

use std::io;
use std::path::{Path, PathBuf};

use vtd_acpi::{DeviceScope, Dmar, Drhd, EncodeError};
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
        let failed = |source| DmarFileError { path: self.path.clone(), source };
        let table = self.table(base).map_err(|error| failed(io::Error::other(error)))?;
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
            .map_err(failed)
    }

    fn table(&self, base: u64) -> Result<Vec<u8>, EncodeError> {
        let mut unit = Drhd::new(base);
        let endpoint = |address: &PciAddress| {
            DeviceScope::pci_endpoint(0, address.device(), address.function())
        };
        unit.scopes.extend(self.devices.iter().map(endpoint));
        let mut dmar = Dmar::new(self.address_bits);
        dmar.drhds.push(unit);
        dmar.body()
    }
}
