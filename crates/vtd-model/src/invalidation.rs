//! What an invalidation drops, decoded from raw integers.

use crate::bits::{bit, field, low8, low16, low32, mask};

/// What is dropped from the caches of a unit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Invalidation {
    /// Everything: a reset.
    Everything,
    /// Everything but the interrupt entry cache: SRTP, whether or not CAP.ESRTPS is shown, which is this project's decision.
    Translations,
    /// Context cache, all of it. PASID-cache entries go with it.
    ContextGlobal,
    /// Context cache by domain; in scalable mode, which has no domains there, all of it.
    ContextDomain {
        /// The domain of the entries.
        domain: u16,
    },
    /// Context cache by source-id.
    ContextDevice {
        /// The domain of the entries; ignored in scalable mode.
        domain: u16,
        /// The source-id.
        source_id: u16,
        /// FM: how many bits of the function are left out.
        function_mask: u8,
    },
    /// PASID cache, all of it.
    PasidGlobal,
    /// PASID cache by domain.
    PasidDomain {
        /// The domain that the entry names.
        domain: u16,
    },
    /// PASID cache by domain and PASID.
    Pasid {
        /// The domain that the entry names.
        domain: u16,
        /// The PASID; RID_PASID for requests without one.
        pasid: u32,
    },
    /// IOTLB, all of it.
    IotlbGlobal,
    /// IOTLB by domain.
    IotlbDomain {
        /// The domain.
        domain: u16,
    },
    /// IOTLB by domain and second-stage address.
    IotlbPages {
        /// The domain.
        domain: u16,
        /// The pages.
        pages: Pages,
    },
    /// PASID-based IOTLB by domain and PASID.
    PasidIotlb {
        /// The domain.
        domain: u16,
        /// The PASID.
        pasid: u32,
    },
    /// PASID-based IOTLB by domain, PASID and first-stage address.
    PasidIotlbPages {
        /// The domain.
        domain: u16,
        /// The PASID.
        pasid: u32,
        /// The pages.
        pages: Pages,
    },
    /// The IOTLB entry of a page that a page request names.
    FaultingPage {
        /// The device.
        source_id: u16,
        /// The PASID; RID_PASID for requests without one.
        pasid: u32,
        /// The page.
        address: u64,
    },
    /// Interrupt entry cache, all of it: the type 4 descriptor, SIRTP, a change of IRE or CFI.
    InterruptGlobal,
    /// Interrupt entry cache by index.
    InterruptIndex {
        /// The first index, aligned or not.
        index: u16,
        /// IM: 2^IM entries.
        mask: u8,
    },
}

/// Pages that an invalidation names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Pages {
    /// The first byte, aligned to the range.
    pub first: u64,
    /// The last byte.
    pub last: u64,
    /// IH: only leaf entries are dropped.
    pub leaf_only: bool,
}

impl Pages {
    /// The pages of an address with AM 5:0, IH 6 and an address in 63:12. From AM 52 on it is everything.
    #[must_use]
    pub fn of(raw: u64) -> Self {
        let bits = field(raw, 5, 0) + 12;
        let within = if bits >= 64 { u64::MAX } else { (1 << bits) - 1 };
        let address = raw & mask(63, 12);
        Self { first: address & !within, last: address | within, leaf_only: bit(raw, 6) }
    }

    pub(crate) const fn overlap(&self, first: u64, last: u64) -> bool {
        self.first <= last && first <= self.last
    }
}

impl Invalidation {
    /// What a context-cache invalidation drops, from the granularity, domain, source-id and FM.
    pub(crate) fn context(granularity: u64, domain: u64, source_id: u64, fm: u64) -> Option<Self> {
        let domain = low16(domain);
        Some(match granularity {
            1 => Self::ContextGlobal,
            2 => Self::ContextDomain { domain },
            3 => {
                Self::ContextDevice { domain, source_id: low16(source_id), function_mask: low8(fm) }
            }
            _ => return None,
        })
    }

    /// What an IOTLB invalidation drops, from the granularity, domain and address.
    pub(crate) fn iotlb(granularity: u64, domain: u64, address: u64) -> Option<Self> {
        let domain = low16(domain);
        Some(match granularity {
            1 => Self::IotlbGlobal,
            2 => Self::IotlbDomain { domain },
            3 => Self::IotlbPages { domain, pages: Pages::of(address) },
            _ => return None,
        })
    }

    /// What a PASID-based IOTLB invalidation drops.
    pub(crate) fn pasid_iotlb(qword: u64, address: u64) -> Option<Self> {
        let (domain, pasid) = (low16(field(qword, 31, 16)), low32(field(qword, 51, 32)));
        Some(match field(qword, 5, 4) {
            2 => Self::PasidIotlb { domain, pasid },
            3 => Self::PasidIotlbPages { domain, pasid, pages: Pages::of(address) },
            _ => return None,
        })
    }

    /// What a PASID-cache invalidation drops.
    pub(crate) fn pasid_cache(qword: u64) -> Option<Self> {
        let (domain, pasid) = (low16(field(qword, 31, 16)), low32(field(qword, 51, 32)));
        Some(match field(qword, 5, 4) {
            0 => Self::PasidDomain { domain },
            1 => Self::Pasid { domain, pasid },
            3 => Self::PasidGlobal,
            _ => return None,
        })
    }
}
