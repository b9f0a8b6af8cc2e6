//! The virtual command registers, in the layout of revision 3.3 and later, whatever VER says: Linux, the one driver that uses them,
//! expects that layout of every unit with ECAP.VCS, and takes a unit of version 1.0.

use crate::Pasid;

/// VCMD (E00): what software asks of the virtual machine monitor.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum VirtualCommand {
    /// Command 1: allocate a PASID.
    AllocatePasid,
    /// Command 2: free the PASID of the operand (35:16).
    FreePasid(Pasid),
    /// Any other command (7:0).
    Unknown(u8),
}

impl VirtualCommand {
    /// The command of a register value.
    #[must_use]
    pub const fn from_bits(raw: u64) -> Self {
        match (raw & 0xff) as u8 {
            1 => Self::AllocatePasid,
            2 => Self::FreePasid(Pasid::from_low_bits(raw >> 16)),
            command => Self::Unknown(command),
        }
    }

    /// The register value.
    #[must_use]
    pub const fn bits(self) -> u64 {
        match self {
            Self::AllocatePasid => 1,
            Self::FreePasid(pasid) => 2 | (pasid.get() as u64) << 16,
            Self::Unknown(command) => command as u64,
        }
    }
}

/// VCRSP (E10): the answer to a [`VirtualCommand`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub struct VirtualCommandResponse {
    /// IP (0): the command is still being served, and nothing else here counts.
    pub in_progress: bool,
    /// Status (7:1): [`SUCCESS`](Self::SUCCESS), [`PASID_REFUSED`](Self::PASID_REFUSED), or another code below 128.
    pub status: u8,
    /// The PASID allocated (35:16).
    pub pasid: Pasid,
}

impl VirtualCommandResponse {
    /// The command is done.
    pub const SUCCESS: u8 = 0;
    /// There is no such command (our reading: the public sources name no code for it).
    pub const UNKNOWN_COMMAND: u8 = 1;
    /// No PASID was available, or the one to free was not valid.
    pub const PASID_REFUSED: u8 = 16;

    /// The response of a register value.
    #[must_use]
    pub const fn from_bits(raw: u64) -> Self {
        Self {
            in_progress: raw & 1 == 1,
            status: (raw >> 1 & 0x7f) as u8,
            pasid: Pasid::from_low_bits(raw >> 16),
        }
    }

    /// The register value.
    #[must_use]
    pub const fn bits(self) -> u64 {
        self.in_progress as u64 | (self.status as u64 & 0x7f) << 1 | (self.pasid.get() as u64) << 16
    }
}

/// VCCAP (E30): which virtual commands there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub struct VirtualCommandCapability {
    /// Bit 0: PASIDs are allocated and freed.
    pub pasid_allocation: bool,
}

impl VirtualCommandCapability {
    /// The capability of a register value.
    #[must_use]
    pub const fn from_bits(raw: u64) -> Self {
        Self { pasid_allocation: raw & 1 == 1 }
    }

    /// The register value.
    #[must_use]
    pub const fn bits(self) -> u64 {
        self.pasid_allocation as u64
    }
}
