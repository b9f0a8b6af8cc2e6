//! Type 3: device-TLB invalidation of requests without PASID.

use core::fmt;

use super::PageRange;
use crate::SourceId;

/// Which translations a device is asked to drop from its own TLB.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct DeviceTlbInvalidation {
    /// SID: the device.
    pub source_id: SourceId,
    /// PFSID: the physical function that throttles the device's invalidations; 0 without ECAP.DIT.
    pub pfsid: SourceId,
    /// MIP: how many invalidations the device may have pending; 5 bits, higher ones are not encoded.
    pub max_pending: u8,
    /// The pages.
    pub pages: PageRange,
}

impl DeviceTlbInvalidation {
    pub(super) const fn decode(qw0: u64, qw1: u64) -> Self {
        Self {
            source_id: SourceId((qw0 >> 32 & 0xffff) as u16),
            pfsid: pfsid(qw0),
            max_pending: (qw0 >> 16 & 0x1f) as u8,
            pages: PageRange::from_device_tlb(qw1, qw1 & 1 == 1),
        }
    }

    pub(super) const fn encode(self) -> [u64; 2] {
        let (address, sized) = self.pages.to_device_tlb();
        let qw0 = (self.source_id.0 as u64) << 32
            | pfsid_bits(self.pfsid)
            | (self.max_pending as u64 & 0x1f) << 16;
        [qw0, address | sized as u64]
    }
}

/// PFSID of a device-TLB descriptor: its low four bits are 15:12, the others 63:52.
pub(super) const fn pfsid(qw0: u64) -> SourceId {
    SourceId((qw0 >> 12 & 0xf) as u16 | (qw0 >> 48 & 0xfff0) as u16)
}

/// PFSID in its place.
pub(super) const fn pfsid_bits(pfsid: SourceId) -> u64 {
    (pfsid.0 as u64 & 0xf) << 12 | (pfsid.0 as u64 & 0xfff0) << 48
}

impl fmt::Display for DeviceTlbInvalidation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "device {}, {}", self.source_id, self.pages)
    }
}
