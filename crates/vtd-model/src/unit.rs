//! What of a unit's registers decides about requests.

use crate::bits::{field, mask};
use crate::capabilities::Capabilities;

/// A unit as requests see it: what its registers have latched. All of it is public, to be set as a test needs it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unit {
    /// What it shows.
    pub capabilities: Capabilities,
    /// GSTS.TES.
    pub translation: bool,
    /// The root table address register as SRTP latched it: TTM 11:10, base 63:12.
    pub root: u64,
    /// Interrupt remapping.
    pub interrupts: InterruptState,
    /// The page request queue.
    pub page_requests: PageRequestQueue,
    /// Protected memory.
    pub protected: ProtectedMemory,
}

/// What decides about interrupt requests.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct InterruptState {
    /// GSTS.IRES.
    pub enabled: bool,
    /// GSTS.CFIS.
    pub compatibility: bool,
    /// IRTA as SIRTP latched it; `None` before the first SIRTP.
    pub table: Option<u64>,
}

/// The registers of the page request queue.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PageRequestQueue {
    /// PQA.
    pub address: u64,
    /// PQH.
    pub head: u64,
    /// PQT.
    pub tail: u64,
    /// PRS.PPR.
    pub pending: bool,
    /// PRS.PRO.
    pub overflow: bool,
}

/// The protected memory regions.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ProtectedMemory {
    /// PMEN.EPM, and so PMEN.PRS.
    pub enabled: bool,
    /// PLMBASE.
    pub low_base: u32,
    /// PLMLIMIT.
    pub low_limit: u32,
    /// PHMBASE.
    pub high_base: u64,
    /// PHMLIMIT.
    pub high_limit: u64,
}

/// The table mode that a root table address names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum TableMode {
    Legacy,
    Scalable,
    Abort,
    /// Fault 30.
    Invalid,
}

impl Unit {
    /// A unit after power-on.
    #[must_use]
    pub fn new(capabilities: Capabilities) -> Self {
        Self {
            capabilities,
            translation: false,
            root: 0,
            interrupts: InterruptState::default(),
            page_requests: PageRequestQueue::default(),
            protected: ProtectedMemory::default(),
        }
    }

    pub(crate) fn table_mode(&self) -> TableMode {
        match field(self.root, 11, 10) {
            0 => TableMode::Legacy,
            1 if self.capabilities.smts() => TableMode::Scalable,
            3 if self.capabilities.adms() => TableMode::Abort,
            _ => TableMode::Invalid,
        }
    }

    pub(crate) fn root_base(&self) -> u64 {
        self.root & mask(63, 12)
    }

    /// Whether DMA to an address is blocked because it lies in a protected region. Regions are of 2 MiB, limits included.
    pub(crate) fn is_protected(&self, address: u64) -> bool {
        let regions = self.protected;
        let within = |base: u64, limit: u64| {
            let base = base & !mask(20, 0);
            let limit = limit | mask(20, 0);
            base <= address && address <= limit
        };
        regions.enabled
            && (self.capabilities.plmr()
                && within(regions.low_base.into(), regions.low_limit.into())
                || self.capabilities.phmr() && within(regions.high_base, regions.high_limit))
    }
}

/// Whether an address lies in FEE0_0000 to FEEF_FFFF.
pub(crate) const fn is_interrupt(address: u64) -> bool {
    address >> 20 == 0xfee
}
