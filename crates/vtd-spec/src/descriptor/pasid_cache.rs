//! Type 7: PASID-cache invalidation.

use core::fmt;

use super::DescriptorError;
use crate::{DomainId, Pasid};

/// Which PASID-table entries are dropped from the PASID cache.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum PasidCacheInvalidation {
    /// G 0: those of a domain.
    Domain(DomainId),
    /// G 1: those of a PASID within a domain.
    Pasid {
        /// DID.
        domain: DomainId,
        /// PASID.
        pasid: Pasid,
    },
    /// G 3: all.
    Global,
}

impl PasidCacheInvalidation {
    pub(super) const fn decode(qw0: u64) -> Result<Self, DescriptorError> {
        let domain = DomainId((qw0 >> 16 & 0xffff) as u16);
        match qw0 >> 4 & 3 {
            0 => Ok(Self::Domain(domain)),
            1 => Ok(Self::Pasid { domain, pasid: Pasid::from_low_bits(qw0 >> 32) }),
            3 => Ok(Self::Global),
            _ => Err(DescriptorError::Granularity { descriptor: "PASID cache", raw: qw0 }),
        }
    }

    pub(super) const fn encode(self) -> [u64; 2] {
        let qw0 = match self {
            Self::Domain(domain) => (domain.0 as u64) << 16,
            Self::Pasid { domain, pasid } => {
                1 << 4 | (domain.0 as u64) << 16 | (pasid.get() as u64) << 32
            }
            Self::Global => 3 << 4,
        };
        [qw0, 0]
    }
}

impl fmt::Display for PasidCacheInvalidation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Domain(domain) => write!(f, "domain {domain}"),
            Self::Pasid { domain, pasid } => write!(f, "PASID {pasid}, domain {domain}"),
            Self::Global => f.write_str("global"),
        }
    }
}
