//! The descriptors that are counted and measured: those that real guests send.

/// Each kind with its name, the most frequent of guests with scalable mode first.
pub(crate) const KINDS: [(&str, [u64; 2]); 10] = [
    ("pasid-iotlb-by-pasid", PASID_IOTLB),
    ("pasid-iotlb-by-page", [0x1_0001_0036, 0x1000]),
    ("iotlb-by-page", [0x1_0032, 0x1000]),
    ("iotlb-by-domain", DOMAIN_IOTLB),
    ("iotlb-global", GLOBAL_IOTLB),
    ("pasid-cache-by-pasid", [0x1_0001_0017, 0]),
    ("pasid-cache-global", [0x37, 0]),
    ("context-cache-global", [0x11, 0]),
    ("interrupt-entry-cache", [0x04, 0]),
    ("wait", [0x45, 0]),
];

/// Domain 1, PASID 1.
pub(crate) const PASID_IOTLB: [u64; 2] = [0x1_0001_0026, 0];
/// Domain 1.
pub(crate) const DOMAIN_IOTLB: [u64; 2] = [0x1_0022, 0];
pub(crate) const GLOBAL_IOTLB: [u64; 2] = [0x12, 0];

/// The 2^`mask` pages from address 0 on, of domain 1 and PASID 1.
pub(crate) const fn pages_iotlb(mask: u64) -> [u64; 2] {
    [0x1_0001_0036, mask]
}
