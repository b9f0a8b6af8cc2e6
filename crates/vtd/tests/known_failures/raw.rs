//! Descriptors, entries and places in guest memory, as integers.

/// CAP: 39 and 48-bit second-stage tables, 48-bit addresses, caching mode, 2 MiB and 1 GiB pages, MAMV 18, 8 fault records at
/// 220.
pub(crate) const CAP: u64 = 0x81d2_078c_222f_0686;
/// CAP.FS5LP: first-stage tables of five levels.
pub(crate) const FIVE_LEVELS: u64 = 1 << 60;
/// ECAP: QI, DT, PT, IVA at F0, 20 bits of PASID, SMTS, SSTS, FSTS, SMPWCS, RPS.
pub(crate) const ECAP: u64 = 0x0003_c998_0000_0f46;
pub(crate) const ECAP_IR: u64 = 1 << 3;
pub(crate) const ECAP_SC: u64 = 1 << 7;
pub(crate) const ECAP_NEST: u64 = 1 << 26;
pub(crate) const ECAP_PRS: u64 = 1 << 29;
pub(crate) const ECAP_ERS: u64 = 1 << 30;
pub(crate) const ECAP_SRS: u64 = 1 << 31;
pub(crate) const ECAP_EAFS: u64 = 1 << 34;
pub(crate) const ECAP_DIT: u64 = 1 << 41;
pub(crate) const ECAP_PDS: u64 = 1 << 42;
pub(crate) const ECAP_SSADS: u64 = 1 << 45;
pub(crate) const ECAP_SMPWCS: u64 = 1 << 48;
pub(crate) const ECAP_ADMS: u64 = 1 << 52;
pub(crate) const ECAP_RPRIVS: u64 = 1 << 53;

pub(crate) const GCMD: u64 = 0x18;
pub(crate) const GSTS: u64 = 0x1c;
pub(crate) const RTADDR: u64 = 0x20;
pub(crate) const FSTS: u64 = 0x34;
pub(crate) const IQH: u64 = 0x80;
pub(crate) const IQT: u64 = 0x88;
pub(crate) const IQA: u64 = 0x90;
pub(crate) const IQERCD: u64 = 0xb0;
/// FRCD: CAP.FRO × 16.
pub(crate) const RECORDS: u64 = 0x220;

pub(crate) const TE: u64 = 1 << 31;
pub(crate) const SRTP: u64 = 1 << 30;
pub(crate) const QIE: u64 = 1 << 26;
/// FSTS.IQE.
pub(crate) const IQE: u64 = 1 << 4;

pub(crate) const ROOT: u64 = 0x1000;
pub(crate) const LOWER_CONTEXTS: u64 = 0x2000;
pub(crate) const UPPER_CONTEXTS: u64 = 0x3000;
pub(crate) const QUEUE: u64 = 0x8000;
pub(crate) const STATUS: u64 = 0x9000;
pub(crate) const DIRECTORY: u64 = 0x1_0000;
/// The table of PASIDs 0 to 63.
pub(crate) const PASIDS: u64 = 0x1_1000;
/// First-stage tables of four levels, of which each page of 4 KiB maps the address `PAGE`.
pub(crate) const FIRST_A: u64 = 0x10_0000;
pub(crate) const FIRST_B: u64 = 0x11_0000;
/// A second-stage table of four levels, of the same form.
pub(crate) const SECOND: u64 = 0x12_0000;

/// The address that every table maps, and to what.
pub(crate) const PAGE: u64 = 0x5000;
pub(crate) const FRAME_A: u64 = 0x77_7000;
pub(crate) const FRAME_B: u64 = 0x88_8000;
pub(crate) const FRAME_SECOND: u64 = 0x99_9000;

/// 00:03.0.
pub(crate) const DEVICE: u16 = 0x18;

/// A PASID-table entry with a first-stage table of four levels.
pub(crate) fn first_stage(table: u64, domain: u64) -> [u64; 8] {
    [0x41, domain, table, 0, 0, 0, 0, 0]
}

/// A PASID-table entry with a second-stage table of four levels.
pub(crate) fn second_stage(table: u64, domain: u64) -> [u64; 8] {
    [table | 0x89, domain, 0, 0, 0, 0, 0, 0]
}

/// A PASID-table entry of nested translation through `SECOND` and then `FIRST_A`, whose qw0 has these bits too.
pub(crate) fn nested(bits: u64, domain: u64) -> [u64; 8] {
    [SECOND | 0xc9 | bits, domain, FIRST_A, 0, 0, 0, 0, 0]
}

/// A PASID-table entry of pass-through.
pub(crate) fn pass_through(domain: u64) -> [u64; 8] {
    [0x101, domain, 0, 0, 0, 0, 0, 0]
}

/// The entry that is not there.
pub(crate) const ABSENT: [u64; 8] = [0; 8];

pub(crate) fn context_cache_of_device(source: u16) -> [u64; 4] {
    [0x31 | u64::from(source) << 32, 0, 0, 0]
}

pub(crate) fn pasid_cache_of_domain(domain: u64) -> [u64; 4] {
    [0x07 | domain << 16, 0, 0, 0]
}

pub(crate) fn pasid_cache_of_pasid(domain: u64, pasid: u64) -> [u64; 4] {
    [0x17 | domain << 16 | pasid << 32, 0, 0, 0]
}

pub(crate) const PASID_CACHE: [u64; 4] = [0x37, 0, 0, 0];
pub(crate) const IOTLB: [u64; 4] = [0x12, 0, 0, 0];

pub(crate) fn iotlb_of_domain(domain: u64) -> [u64; 4] {
    [0x22 | domain << 16, 0, 0, 0]
}

pub(crate) fn iotlb_of_pages(domain: u64, address: u64, mask: u64) -> [u64; 4] {
    [0x32 | domain << 16, address | mask, 0, 0]
}

pub(crate) fn pasid_iotlb(domain: u64, pasid: u64) -> [u64; 4] {
    [0x26 | domain << 16 | pasid << 32, 0, 0, 0]
}

pub(crate) fn pasid_iotlb_of_pages(domain: u64, pasid: u64, address: u64, mask: u64) -> [u64; 4] {
    [0x36 | domain << 16 | pasid << 32, address | mask, 0, 0]
}

/// A wait that writes `data` to `STATUS`.
pub(crate) fn wait(data: u32) -> [u64; 4] {
    [0x25 | u64::from(data) << 32, STATUS, 0, 0]
}
