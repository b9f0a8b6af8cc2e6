//! What a program begins with.

use crate::program::RECORD;
use crate::program::pools::of;

/// CAP and ECAP of the units that programs drive.
const CAPABILITIES: [(u64, u64); 6] = [
    // Everything: 5 levels, nested, page requests, accessed and dirty bits, interrupt remapping, both regions, RID_PASID.
    // Address masks of any size.
    (CAP | 1 << 60 | 3 << 5 | 0x3f << 48, ECAP_ALL),
    // As Linux sees first-stage, without caching mode and ESRTPS.
    (CAP & !(1 << 7) & !(1 << 63), ECAP_FIRST_STAGE),
    // Second-stage tables alone.
    (CAP, ECAP_SECOND_STAGE),
    // Legacy mode alone.
    (CAP, 0xf42 | 1 << 3),
    // Nested, without the rest.
    (CAP, ECAP_FIRST_STAGE | ECAP_SECOND_STAGE | 1 << 26),
    // No page walk coherency, one fault record.
    (CAP & !(0xff << 40), ECAP_FIRST_STAGE & !(1 << 48)),
];

/// CM, SAGAW 39, 48 and 57 bits, MGAW 48, ZLR, FRO 220, pages of 2 MiB and 1 GiB, PSI, 2 fault records, MAMV 18, DWD, DRD, FS1GP, ESRTPS.
const CAP: u64 = 0x81d2_0000_222f_0e80 | 6 | 1 << 22 | 3 << 34 | 1 << 39 | 1 << 40;
/// C, QI, DT, PT, IVA at F0, NWFS, PASIDs of 20 bits, SMTS, FSTS, SMPWCS.
const ECAP_FIRST_STAGE: u64 = 0x1_8998_0000_0f47 | 1 << 33;
/// The same with SSTS in place of FSTS.
const ECAP_SECOND_STAGE: u64 = ECAP_FIRST_STAGE & !(1 << 47) | 1 << 46;
/// All: IR, EIM, SC, MHMV 15, NEST, PRS, ERS, SRS, NWFS, EAFS, PDS, SSADS, SSTS, FSTS, RPS, ADMS, RPRIVS.
const ECAP_ALL: u64 = ECAP_FIRST_STAGE
    | 3 << 3
    | 1 << 7
    | 0xf << 20
    | 1 << 26
    | 7 << 29
    | 1 << 34
    | 1 << 42
    | 3 << 45
    | 1 << 49
    | 3 << 52;

/// What a program begins with.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Setup {
    /// Which capabilities, of six.
    pub capabilities: u8,
    /// What the three devices are: 0 not there, 1 emulated, 2 with a device TLB, 3 assigned.
    pub devices: [u8; 3],
    /// Whether the guest has set up its tables, and how it has the unit on: as the flags of
    /// [`Operation::Enable`](crate::program::Operation::Enable), 255 for not at all.
    pub enabled: u8,
    /// Whether caches are of a few entries.
    pub small_caches: bool,
    /// Whether there are quotas of a few bindings.
    pub small_quotas: bool,
}

impl Setup {
    /// How many sets of capabilities there are.
    pub const CAPABILITIES: u8 = 6;

    /// What a record says. Every record says something.
    #[must_use]
    pub fn decode(record: [u8; RECORD]) -> Self {
        let [capabilities, devices, enabled, sizes, ..] = record;
        Self {
            capabilities: capabilities % Self::CAPABILITIES,
            // Zeros are three devices of three kinds, and a unit that is on.
            devices: [1, 3, 2].map(|kind| kind ^ devices >> (2 * (kind - 1)) & 3),
            enabled: if enabled < 0xf0 { enabled & 0x6f } else { 255 },
            small_caches: sizes & 1 == 0,
            small_quotas: sizes & 2 == 2,
        }
    }

    /// The record that says it.
    #[must_use]
    pub fn encode(&self) -> [u8; RECORD] {
        let mut record = [0; RECORD];
        let [first, second, third] = self.devices;
        let devices = (first ^ 1) | (second ^ 3) << 4 | (third ^ 2) << 2;
        let enabled = if self.enabled == 255 { 0xff } else { self.enabled & 0x6f };
        let sizes = u8::from(!self.small_caches) | u8::from(self.small_quotas) << 1;
        for (to, from) in record.iter_mut().zip([self.capabilities, devices, enabled, sizes]) {
            *to = from;
        }
        record
    }

    /// CAP and ECAP.
    #[must_use]
    pub fn registers(&self) -> (u64, u64) {
        of(&CAPABILITIES, self.capabilities)
    }
}
