//! The version register.

use core::fmt;

/// VER (000): the revision of the architecture that the unit follows, shown as `1.0`.
///
/// From major 6 on the register-based invalidation interface (CCMD, IOTLB) does not exist.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Version {
    /// Bits 7:4; 0 to 15.
    pub major: u8,
    /// Bits 3:0; 0 to 15.
    pub minor: u8,
}

impl Version {
    /// The version of a register value.
    #[must_use]
    pub const fn from_bits(raw: u32) -> Self {
        Self { major: (raw >> 4 & 0xf) as u8, minor: (raw & 0xf) as u8 }
    }

    /// The register value.
    #[must_use]
    pub const fn bits(self) -> u32 {
        (self.major as u32 & 0xf) << 4 | self.minor as u32 & 0xf
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.major, self.minor)
    }
}
