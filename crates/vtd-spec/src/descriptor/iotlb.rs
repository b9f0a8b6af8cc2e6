//! Type 2: IOTLB invalidation.

use core::fmt;

use super::{AddressMask, DescriptorError};
use crate::{Capabilities, DomainId};

/// Which translations are dropped from the IOTLB, and what in flight is waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct IotlbInvalidation {
    /// Which translations.
    pub scope: IotlbScope,
    /// DR: reads in flight are drained.
    pub drain_reads: bool,
    /// DW: writes in flight are drained.
    pub drain_writes: bool,
}

/// The translations that an [`IotlbInvalidation`] drops.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum IotlbScope {
    /// G 1: all.
    Global,
    /// G 2: those of a domain.
    Domain(DomainId),
    /// G 3: those of some pages of a domain; needs CAP.PSI.
    Pages {
        /// DID.
        domain: DomainId,
        /// The pages; the mask is at most CAP.MAMV.
        pages: AddressMask,
    },
}

impl IotlbInvalidation {
    pub(super) const fn decode(
        qw0: u64,
        qw1: u64,
        caps: &Capabilities,
    ) -> Result<Self, DescriptorError> {
        let domain = DomainId((qw0 >> 16 & 0xffff) as u16);
        let scope = match qw0 >> 4 & 3 {
            1 => IotlbScope::Global,
            2 => IotlbScope::Domain(domain),
            3 if caps.page_selective() => {
                let pages = AddressMask::from_bits(qw1);
                let maximum = caps.maximum_address_mask();
                if pages.mask > maximum {
                    return Err(DescriptorError::AddressMask { mask: pages.mask, maximum });
                }
                IotlbScope::Pages { domain, pages }
            }
            _ => return Err(DescriptorError::Granularity { descriptor: "IOTLB", raw: qw0 }),
        };
        Ok(Self { scope, drain_reads: qw0 >> 7 & 1 == 1, drain_writes: qw0 >> 6 & 1 == 1 })
    }

    pub(super) const fn encode(self) -> [u64; 2] {
        let drains = (self.drain_reads as u64) << 7 | (self.drain_writes as u64) << 6;
        match self.scope {
            IotlbScope::Global => [drains | 1 << 4, 0],
            IotlbScope::Domain(domain) => [drains | 2 << 4 | (domain.0 as u64) << 16, 0],
            IotlbScope::Pages { domain, pages } => {
                [drains | 3 << 4 | (domain.0 as u64) << 16, pages.bits()]
            }
        }
    }
}

impl fmt::Display for IotlbInvalidation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.scope {
            IotlbScope::Global => f.write_str("global")?,
            IotlbScope::Domain(domain) => write!(f, "domain {domain}")?,
            IotlbScope::Pages { domain, pages } => write!(f, "domain {domain}, {pages}")?,
        }
        f.write_str(if self.drain_reads { ", drain reads" } else { "" })?;
        f.write_str(if self.drain_writes { ", drain writes" } else { "" })
    }
}
