//! Type 8: device-TLB invalidation of requests with PASID.

use core::fmt;

use super::PageRange;
use super::device_tlb::{pfsid, pfsid_bits};
use crate::{Pasid, SourceId};

/// Which translations of a PASID a device is asked to drop from its own TLB.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct PasidDeviceTlbInvalidation {
    /// SID: the device.
    pub source_id: SourceId,
    /// PFSID: the physical function that throttles the device's invalidations; 0 without ECAP.DIT.
    pub pfsid: SourceId,
    /// MIP: how many invalidations the device may have pending; 5 bits, higher ones are not encoded.
    pub max_pending: u8,
    /// PASID and G.
    pub pasids: PasidSelection,
    /// The pages.
    pub pages: PageRange,
}

/// The PASIDs that a [`PasidDeviceTlbInvalidation`] covers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum PasidSelection {
    /// G 0: this one.
    One(Pasid),
    /// G 1: all of the source-id.
    All,
}

impl PasidDeviceTlbInvalidation {
    pub(super) const fn decode(qw0: u64, qw1: u64) -> Self {
        let pasids = if qw1 & 1 == 1 {
            PasidSelection::All
        } else {
            PasidSelection::One(Pasid::from_low_bits(qw0 >> 32))
        };
        Self {
            source_id: SourceId((qw0 >> 16 & 0xffff) as u16),
            pfsid: pfsid(qw0),
            max_pending: (qw0 >> 4 & 0x1f) as u8,
            pasids,
            pages: PageRange::from_device_tlb(qw1, qw1 >> 11 & 1 == 1),
        }
    }

    pub(super) const fn encode(self) -> [u64; 2] {
        let (address, sized) = self.pages.to_device_tlb();
        let (pasid, all) = match self.pasids {
            PasidSelection::One(pasid) => (pasid.get() as u64, 0),
            PasidSelection::All => (0, 1),
        };
        let qw0 = pasid << 32
            | (self.source_id.0 as u64) << 16
            | pfsid_bits(self.pfsid)
            | (self.max_pending as u64 & 0x1f) << 4;
        [qw0, address | (sized as u64) << 11 | all]
    }
}

impl fmt::Display for PasidDeviceTlbInvalidation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "device {}, ", self.source_id)?;
        match self.pasids {
            PasidSelection::One(pasid) => write!(f, "PASID {pasid}, ")?,
            PasidSelection::All => f.write_str("every PASID, ")?,
        }
        self.pages.fmt(f)
    }
}
