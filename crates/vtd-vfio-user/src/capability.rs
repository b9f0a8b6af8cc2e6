//! The PCI capabilities that the functions of the machine show.

use crate::config_space::ConfigSpace;

/// PCI Express.
pub const PCI_EXPRESS: u8 = 0x10;
/// MSI-X.
pub const MSI_X: u8 = 0x11;
/// Address translation services.
pub const ATS: u16 = 0x0f;
/// Page request interface.
pub const PRI: u16 = 0x13;
/// Process address space identifiers.
pub const PASID: u16 = 0x1b;

/// The BAR with the MSI-X table, which the VMM keeps for the function.
pub const MSI_X_BAR: usize = 2;

impl ConfigSpace {
    /// A root-complex integrated endpoint of version 2 with end-to-end TLP prefixes: without them no PASID.
    #[must_use]
    pub fn with_pci_express(self) -> Self {
        let mut body = [0; 0x3a];
        let mut writable = [0; 0x3a];
        // Capabilities: version 2, type 9.
        body[0] = 9 << 4 | 2;
        // Device capabilities: role-based error reporting.
        body[2..6].copy_from_slice(&(1_u32 << 15).to_le_bytes());
        // Device control.
        writable[6..8].copy_from_slice(&0x7fff_u16.to_le_bytes());
        // Device capabilities 2: end-to-end TLP prefixes, one of them.
        body[0x22..0x26].copy_from_slice(&(1_u32 << 21 | 1 << 22).to_le_bytes());
        self.with_capability(PCI_EXPRESS, &body, &writable)
    }

    /// MSI-X with as many vectors, whose table and pending bits fill [`MSI_X_BAR`].
    #[must_use]
    pub fn with_msi_x(self, vectors: u16) -> Self {
        let bar = 2;
        let control = vectors.saturating_sub(1).to_le_bytes();
        let body = [control[0], control[1], bar, 0, 0, 0, bar, 8, 0, 0];
        self.with_bar(MSI_X_BAR, 4096).with_capability(MSI_X, &body, &[0, 0xc0])
    }

    /// ATS with page-aligned requests and an invalidation queue of 32.
    #[must_use]
    pub fn with_ats(self) -> Self {
        self.with_extended_capability(ATS, 1, &[1 << 5, 0, 0, 0], &[0, 0, 0x1f, 1 << 7])
    }

    /// Page requests, as many of which may be without an answer. While they are off, no request is under way.
    #[must_use]
    pub fn with_pri(self, outstanding: u32) -> Self {
        let mut body = [0; 12];
        body[3] = 0x81;
        body[4..8].copy_from_slice(&outstanding.to_le_bytes());
        let mut writable = [0; 12];
        writable[0] = 1;
        writable[8..12].fill(0xff);
        let space = self.with_extended_capability(PRI, 1, &body, &writable);
        match space.extended_capability(PRI) {
            Some(at) => space.with_cleared_by_one(at + 6, &[3]),
            None => space,
        }
    }

    /// PASIDs of 20 bits, for execute and privileged requests too.
    #[must_use]
    pub fn with_pasid(self) -> Self {
        self.with_extended_capability(PASID, 1, &[6, 20, 0, 0], &[0, 0, 7, 0])
    }
}
