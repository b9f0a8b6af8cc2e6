//! Type 6: PASID-based IOTLB invalidation.

use core::fmt;

use super::{AddressMask, DescriptorError};
use crate::{DomainId, Pasid};

/// Which translations of a PASID are dropped from the IOTLB.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct PasidIotlbInvalidation {
    /// DID.
    pub domain: DomainId,
    /// PASID.
    pub pasid: Pasid,
    /// G 3: these pages, with any mask from 0 to 63 whatever CAP.MAMV says. `None` is G 2: all of the PASID.
    pub pages: Option<AddressMask>,
}

impl PasidIotlbInvalidation {
    pub(super) const fn decode(qw0: u64, qw1: u64) -> Result<Self, DescriptorError> {
        let pages = match qw0 >> 4 & 3 {
            2 => None,
            3 => Some(AddressMask::from_bits(qw1)),
            _ => return Err(DescriptorError::Granularity { descriptor: "PASID IOTLB", raw: qw0 }),
        };
        Ok(Self {
            domain: DomainId((qw0 >> 16 & 0xffff) as u16),
            pasid: Pasid::from_low_bits(qw0 >> 32),
            pages,
        })
    }

    pub(super) const fn encode(self) -> [u64; 2] {
        let target = (self.domain.0 as u64) << 16 | (self.pasid.get() as u64) << 32;
        match self.pages {
            None => [target | 2 << 4, 0],
            Some(pages) => [target | 3 << 4, pages.bits()],
        }
    }
}

impl fmt::Display for PasidIotlbInvalidation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PASID {}, domain {}", self.pasid, self.domain)?;
        match self.pages {
            Some(pages) => write!(f, ", {pages}"),
            None => Ok(()),
        }
    }
}
