//! Which function bits a source-id comparison leaves out.

use crate::SourceId;

/// FM of a context-cache invalidation and SQ of an interrupt remapping entry: how two source-ids are compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub enum FunctionMask {
    /// 0: all 16 bits count.
    #[default]
    Exact,
    /// 1: bit 2 does not count.
    Bit2,
    /// 2: bits 2:1 do not count.
    Bits2To1,
    /// 3: bits 2:0, the whole function number, do not count.
    Bits2To0,
}

impl FunctionMask {
    /// The mask in the low two bits of a field; higher bits are cut off.
    #[must_use]
    pub const fn from_bits(field: u8) -> Self {
        match field & 3 {
            0 => Self::Exact,
            1 => Self::Bit2,
            2 => Self::Bits2To1,
            _ => Self::Bits2To0,
        }
    }

    /// The field, 0 to 3.
    #[must_use]
    pub const fn bits(self) -> u8 {
        match self {
            Self::Exact => 0,
            Self::Bit2 => 1,
            Self::Bits2To1 => 2,
            Self::Bits2To0 => 3,
        }
    }

    /// Whether the two are the same, as far as their bits count.
    #[must_use]
    pub const fn matches(self, one: SourceId, other: SourceId) -> bool {
        (one.0 ^ other.0) & !self.ignored_bits() == 0
    }

    /// The bits of a source-id that do not count.
    #[must_use]
    pub const fn ignored_bits(self) -> u16 {
        match self {
            Self::Exact => 0,
            Self::Bit2 => 4,
            Self::Bits2To1 => 6,
            Self::Bits2To0 => 7,
        }
    }
}
