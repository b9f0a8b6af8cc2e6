//! The IVA and IOTLB registers: IOTLB invalidation without a queue.

use crate::DomainId;
use crate::descriptor::{AddressMask, IotlbInvalidation, IotlbScope};

/// IVA (IRO × 16): which pages a page-selective [`IotlbCommand`] means.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub struct InvalidateAddress {
    /// AM (5:0), IH (6) and the address (63:12).
    pub pages: AddressMask,
}

impl InvalidateAddress {
    /// The pages of a register value.
    #[must_use]
    pub const fn from_bits(raw: u64) -> Self {
        Self { pages: AddressMask::from_bits(raw) }
    }

    /// The register value.
    #[must_use]
    pub const fn bits(self) -> u64 {
        self.pages.bits()
    }
}

/// IOTLB (IRO × 16 + 8). Not with scalable mode, and gone from version 6 on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub struct IotlbCommand {
    /// IVT (63): the invalidation is asked for, and until it is done it stands.
    pub invalidate: bool,
    /// IIRG (61:60), the granularity asked for: 1 global, 2 domain, 3 pages; 0 is reserved.
    pub requested: u8,
    /// IAIG (58:57), the granularity performed, coded alike; 0 reports an error.
    pub actual: u8,
    /// DR (49): reads in flight are drained.
    pub drain_reads: bool,
    /// DW (48): writes in flight are drained.
    pub drain_writes: bool,
    /// DID (47:32).
    pub domain: DomainId,
}

impl IotlbCommand {
    /// The command of a register value.
    #[must_use]
    pub const fn from_bits(raw: u64) -> Self {
        Self {
            invalidate: raw >> 63 & 1 == 1,
            requested: (raw >> 60 & 3) as u8,
            actual: (raw >> 57 & 3) as u8,
            drain_reads: raw >> 49 & 1 == 1,
            drain_writes: raw >> 48 & 1 == 1,
            domain: DomainId((raw >> 32 & 0xffff) as u16),
        }
    }

    /// The register value.
    #[must_use]
    pub const fn bits(self) -> u64 {
        (self.invalidate as u64) << 63
            | (self.requested as u64 & 3) << 60
            | (self.actual as u64 & 3) << 57
            | (self.drain_reads as u64) << 49
            | (self.drain_writes as u64) << 48
            | (self.domain.0 as u64) << 32
    }

    /// What the command asks for, with the pages of IVA, or `None` for the reserved granularity.
    ///
    /// Whether AM lies within CAP.MAMV is not checked here.
    #[must_use]
    pub const fn invalidation(self, address: InvalidateAddress) -> Option<IotlbInvalidation> {
        let Self { drain_reads, drain_writes, domain, .. } = self;
        let scope = match self.requested {
            1 => IotlbScope::Global,
            2 => IotlbScope::Domain(domain),
            3 => IotlbScope::Pages { domain, pages: address.pages },
            _ => return None,
        };
        Some(IotlbInvalidation { scope, drain_reads, drain_writes })
    }
}
