//! Type 1: context-cache invalidation.

use core::fmt;

use super::{DescriptorError, FunctionMask};
use crate::{DomainId, SourceId};

/// Which context entries are dropped from the context cache.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ContextCacheInvalidation {
    /// G 1: all.
    Global,
    /// G 2: those of a domain.
    Domain(DomainId),
    /// G 3: those of a device.
    Device {
        /// DID, which is ignored in scalable mode.
        domain: DomainId,
        /// SID.
        source_id: SourceId,
        /// FM: other functions of the device that are meant as well.
        function_mask: FunctionMask,
    },
}

impl ContextCacheInvalidation {
    pub(super) const fn decode(qw0: u64) -> Result<Self, DescriptorError> {
        let domain = DomainId((qw0 >> 16 & 0xffff) as u16);
        match qw0 >> 4 & 3 {
            1 => Ok(Self::Global),
            2 => Ok(Self::Domain(domain)),
            3 => Ok(Self::Device {
                domain,
                source_id: SourceId((qw0 >> 32 & 0xffff) as u16),
                function_mask: FunctionMask::from_bits((qw0 >> 48 & 3) as u8),
            }),
            _ => Err(DescriptorError::Granularity { descriptor: "context cache", raw: qw0 }),
        }
    }

    pub(super) const fn encode(self) -> [u64; 2] {
        let qw0 = match self {
            Self::Global => 1 << 4,
            Self::Domain(domain) => 2 << 4 | (domain.0 as u64) << 16,
            Self::Device { domain, source_id, function_mask } => {
                3 << 4
                    | (domain.0 as u64) << 16
                    | (source_id.0 as u64) << 32
                    | (function_mask.bits() as u64) << 48
            }
        };
        [qw0, 0]
    }
}

impl fmt::Display for ContextCacheInvalidation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Global => f.write_str("global"),
            Self::Domain(domain) => write!(f, "domain {domain}"),
            Self::Device { domain, source_id, function_mask } => {
                write!(f, "device {source_id}, domain {domain}")?;
                match function_mask {
                    FunctionMask::Exact => Ok(()),
                    mask => write!(f, ", function mask {}", mask.bits()),
                }
            }
        }
    }
}
