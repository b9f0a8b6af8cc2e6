//! The protected memory enable register.

/// PMEN (064); only with CAP.PLMR or CAP.PHMR.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub struct ProtectedMemoryEnable {
    /// EPM (31): the protected regions are to be protected.
    pub enable: bool,
    /// PRS (0), read-only: they are.
    pub status: bool,
}

impl ProtectedMemoryEnable {
    /// The state of a register value.
    #[must_use]
    pub const fn from_bits(raw: u32) -> Self {
        Self { enable: raw >> 31 & 1 == 1, status: raw & 1 == 1 }
    }

    /// The register value.
    #[must_use]
    pub const fn bits(self) -> u32 {
        (self.enable as u32) << 31 | self.status as u32
    }
}
