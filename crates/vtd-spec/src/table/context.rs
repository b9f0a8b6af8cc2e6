//! Context entries of scalable mode: 32 bytes for each device and function.

use super::ADDRESS;
use crate::{Capabilities, Entry, FaultReason, Gpa, Malformed, Pasid};

/// A present scalable-mode context entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ContextEntry {
    /// FPD: qualified faults of this device are not recorded.
    pub fpd: bool,
    /// DTE: translation requests are served.
    pub device_tlb: bool,
    /// PASIDE: requests with PASID are served.
    pub pasids: bool,
    /// PRE: page requests are served.
    pub page_requests: bool,
    /// PDTS, 0 to 7: the directory has 2^(PDTS+7) entries.
    pub directory_size: u8,
    /// The PASID directory: 8-byte entries.
    pub directory: Gpa,
    /// The PASID that requests without one use; 0 where ECAP.RPS is not shown.
    pub rid_pasid: Pasid,
    /// RID_PRIV: requests without PASID are privileged.
    pub rid_privileged: bool,
}

impl ContextEntry {
    /// Decodes the 32 bytes of an entry.
    #[must_use]
    pub fn decode(raw: [u64; 4], caps: &Capabilities) -> Entry<Self> {
        let [low, rid, ref rest @ ..] = raw;
        let fpd = low & 2 != 0;
        if low & 1 == 0 {
            return Entry::NotPresent { fpd };
        }
        let flag = |bit: u32| low >> bit & 1 == 1;
        let (device_tlb, pasids, page_requests) = (flag(2), flag(3), flag(4));
        let broken = [
            (low & 0x1e0 != 0, "reserved 8:5"),
            (device_tlb && !caps.device_tlbs(), "DTE"),
            (pasids && !caps.pasid(), "PASIDE"),
            (page_requests && !caps.page_requests(), "PRE"),
            (
                low & caps.reserved_pointer_bits() != 0,
                "PASID directory beyond the host address width",
            ),
            (rid >> 20 & 1 == 1 && !caps.rid_privilege(), "RID_PRIV"),
            (rid >> 21 != 0, "reserved 127:85"),
            (rest.iter().any(|word| *word != 0), "reserved 255:128"),
        ];
        if let Some((_, field)) = broken.into_iter().find(|(broken, _)| *broken) {
            let reason = FaultReason::ContextReserved;
            return Entry::Malformed(Malformed { fpd, domain: None, reason, field });
        }
        if page_requests && !device_tlb {
            let (reason, field) = (FaultReason::ContextInvalid, "PRE without DTE");
            return Entry::Malformed(Malformed { fpd, domain: None, reason, field });
        }
        Entry::Present(Self {
            fpd,
            device_tlb,
            pasids,
            page_requests,
            directory_size: (low >> 9 & 7) as u8,
            directory: Gpa(low & ADDRESS),
            rid_pasid: if caps.rid_pasid() { Pasid::from_low_bits(rid) } else { Pasid::ZERO },
            rid_privileged: rid >> 20 & 1 == 1,
        })
    }

    /// The 32 bytes of this entry.
    #[must_use]
    pub const fn encode(&self) -> [u64; 4] {
        let low = 1
            | (self.fpd as u64) << 1
            | (self.device_tlb as u64) << 2
            | (self.pasids as u64) << 3
            | (self.page_requests as u64) << 4
            | (self.directory_size as u64 & 7) << 9
            | self.directory.0 & ADDRESS;
        [low, self.rid_pasid.get() as u64 | (self.rid_privileged as u64) << 20, 0, 0]
    }

    /// One more than the largest PASID that the directory covers: 2^(PDTS+13), at most 2^20.
    #[must_use]
    pub const fn pasid_end(&self) -> u32 {
        1 << (13 + (self.directory_size & 7))
    }
}
