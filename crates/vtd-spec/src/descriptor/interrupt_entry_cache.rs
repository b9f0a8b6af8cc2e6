//! Type 4: interrupt entry cache invalidation.

use core::fmt;
use core::ops::RangeInclusive;

use super::DescriptorError;
use crate::Capabilities;

/// Which interrupt remapping entries are dropped from the interrupt entry cache.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum InterruptEntryCacheInvalidation {
    /// G 0: all.
    Global,
    /// G 1: those of a range of indices.
    Indices {
        /// IIDX as it stands, perhaps not aligned to the mask.
        index: u16,
        /// IM: 2^IM entries are meant; at most ECAP.MHMV.
        mask: u8,
    },
}

impl InterruptEntryCacheInvalidation {
    /// The first and the last index that are meant.
    #[must_use]
    pub const fn indices(self) -> RangeInclusive<u16> {
        match self {
            Self::Indices { index, mask } if mask < 16 => {
                let below = (1 << mask) - 1;
                index & !below..=index | below
            }
            Self::Global | Self::Indices { .. } => 0..=u16::MAX,
        }
    }

    pub(super) const fn decode(qw0: u64, caps: &Capabilities) -> Result<Self, DescriptorError> {
        if qw0 >> 4 & 1 == 0 {
            return Ok(Self::Global);
        }
        let mask = (qw0 >> 27 & 0x1f) as u8;
        let maximum = caps.maximum_handle_mask();
        if mask > maximum {
            return Err(DescriptorError::IndexMask { mask, maximum });
        }
        Ok(Self::Indices { index: (qw0 >> 32 & 0xffff) as u16, mask })
    }

    pub(super) const fn encode(self) -> [u64; 2] {
        let qw0 = match self {
            Self::Global => 0,
            Self::Indices { index, mask } => {
                1 << 4 | (mask as u64 & 0x1f) << 27 | (index as u64) << 32
            }
        };
        [qw0, 0]
    }
}

impl fmt::Display for InterruptEntryCacheInvalidation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Global => f.write_str("global"),
            Self::Indices { mask: 0, index } => write!(f, "index {index:x}"),
            Self::Indices { .. } => {
                let indices = self.indices();
                write!(f, "indices {:x} to {:x}", indices.start(), indices.end())
            }
        }
    }
}
