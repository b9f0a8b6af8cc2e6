//! The context command register: context-cache invalidation without a queue.

use crate::descriptor::{ContextCacheInvalidation, FunctionMask};
use crate::{DomainId, SourceId};

/// CCMD (028). Not with scalable mode, and gone from version 6 on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub struct ContextCommand {
    /// ICC (63): the invalidation is asked for, and until it is done it stands.
    pub invalidate: bool,
    /// CIRG (62:61), the granularity asked for: 1 global, 2 domain, 3 device; 0 is reserved.
    pub requested: u8,
    /// CAIG (60:59), the granularity performed, coded alike; 0 reports an error.
    pub actual: u8,
    /// FM (33:32).
    pub function_mask: FunctionMask,
    /// SID (31:16).
    pub source_id: SourceId,
    /// DID (15:0).
    pub domain: DomainId,
}

impl ContextCommand {
    /// The command of a register value.
    #[must_use]
    pub const fn from_bits(raw: u64) -> Self {
        Self {
            invalidate: raw >> 63 & 1 == 1,
            requested: (raw >> 61 & 3) as u8,
            actual: (raw >> 59 & 3) as u8,
            function_mask: FunctionMask::from_bits((raw >> 32 & 3) as u8),
            source_id: SourceId((raw >> 16 & 0xffff) as u16),
            domain: DomainId((raw & 0xffff) as u16),
        }
    }

    /// The register value.
    #[must_use]
    pub const fn bits(self) -> u64 {
        (self.invalidate as u64) << 63
            | (self.requested as u64 & 3) << 61
            | (self.actual as u64 & 3) << 59
            | (self.function_mask.bits() as u64) << 32
            | (self.source_id.0 as u64) << 16
            | self.domain.0 as u64
    }

    /// What the command asks for, or `None` for the reserved granularity.
    #[must_use]
    pub const fn invalidation(self) -> Option<ContextCacheInvalidation> {
        let Self { function_mask, source_id, domain, .. } = self;
        match self.requested {
            1 => Some(ContextCacheInvalidation::Global),
            2 => Some(ContextCacheInvalidation::Domain(domain)),
            3 => Some(ContextCacheInvalidation::Device { domain, source_id, function_mask }),
            _ => None,
        }
    }
}
