//! What a unit shows: its two capability registers as raw integers, and the host's address width.

use crate::bits::{bit, field};

/// The capability registers and the host address width.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Capabilities {
    /// The capability register, offset 008.
    pub cap: u64,
    /// The extended capability register, offset 010.
    pub ecap: u64,
    /// The host address width in bits, 12 to 63: bits of an address from here on are reserved.
    pub haw: u8,
}

impl Capabilities {
    /// Capabilities whose host address width is MGAW + 1.
    #[must_use]
    pub const fn new(cap: u64, ecap: u64) -> Self {
        Self { cap, ecap, haw: crate::bits::low8(field(cap, 21, 16) + 1) }
    }

    pub(crate) const fn cap(self, at: u32) -> bool {
        bit(self.cap, at)
    }

    pub(crate) const fn ecap(self, at: u32) -> bool {
        bit(self.ecap, at)
    }

    /// The bits of an address that lie beyond the host address width.
    pub(crate) const fn beyond(self) -> u64 {
        if self.haw >= 64 { 0 } else { u64::MAX << self.haw }
    }

    /// CAP.MGAW in bits.
    pub(crate) const fn mgaw(self) -> u64 {
        field(self.cap, 21, 16) + 1
    }

    /// CAP.ZLR.
    pub(crate) const fn zlr(self) -> bool {
        self.cap(22)
    }

    /// SAGAW has the width AW names: 1 is 39 bits, 2 is 48, 3 is 57.
    pub(crate) const fn has_width(self, aw: u64) -> bool {
        matches!(aw, 1..=3) && field(self.cap, 12, 8) >> aw & 1 == 1
    }

    /// The AW of the largest width of SAGAW; 0 where there is none.
    pub(crate) const fn largest_width(self) -> u64 {
        if self.has_width(3) {
            3
        } else if self.has_width(2) {
            2
        } else if self.has_width(1) {
            1
        } else {
            0
        }
    }

    /// SSLPS: whether a second-stage leaf may stand at a level.
    pub(crate) const fn second_stage_leaf(self, level: u8) -> bool {
        match level {
            1 => true,
            2 => self.cap(34),
            3 => self.cap(35),
            _ => false,
        }
    }

    /// FS1GP: whether a first-stage leaf may stand at a level.
    pub(crate) const fn first_stage_leaf(self, level: u8) -> bool {
        match level {
            1 | 2 => true,
            3 => self.cap(56),
            _ => false,
        }
    }

    /// CAP.MAMV.
    pub(crate) const fn mamv(self) -> u64 {
        field(self.cap, 53, 48)
    }

    /// CAP.PLMR and PHMR.
    pub(crate) const fn plmr(self) -> bool {
        self.cap(5)
    }

    pub(crate) const fn phmr(self) -> bool {
        self.cap(6)
    }

    /// CAP.FS5LP.
    pub(crate) const fn fs5lp(self) -> bool {
        self.cap(60)
    }

    /// ECAP.QI.
    pub(crate) const fn qi(self) -> bool {
        self.ecap(1)
    }

    /// ECAP.DT: device TLBs.
    pub(crate) const fn dt(self) -> bool {
        self.ecap(2)
    }

    /// ECAP.IR.
    pub(crate) const fn ir(self) -> bool {
        self.ecap(3)
    }

    /// ECAP.EIM.
    pub(crate) const fn eim(self) -> bool {
        self.ecap(4)
    }

    /// ECAP.PT: pass-through.
    pub(crate) const fn pt(self) -> bool {
        self.ecap(6)
    }

    /// ECAP.SC: snoop control.
    pub(crate) const fn sc(self) -> bool {
        self.ecap(7)
    }

    /// ECAP.MHMV.
    pub(crate) const fn mhmv(self) -> u64 {
        field(self.ecap, 23, 20)
    }

    /// ECAP.NEST.
    pub(crate) const fn nest(self) -> bool {
        self.ecap(26)
    }

    /// ECAP.PRS: page requests.
    pub(crate) const fn prs(self) -> bool {
        self.ecap(29)
    }

    /// ECAP.ERS: execute requests.
    pub(crate) const fn ers(self) -> bool {
        self.ecap(30)
    }

    /// ECAP.SRS: supervisor requests.
    pub(crate) const fn srs(self) -> bool {
        self.ecap(31)
    }

    /// ECAP.NWFS: the no-write flag of translation requests.
    pub(crate) const fn nwfs(self) -> bool {
        self.ecap(33)
    }

    /// ECAP.EAFS: extended accessed bits.
    pub(crate) const fn eafs(self) -> bool {
        self.ecap(34)
    }

    /// ECAP.PASID.
    pub(crate) const fn pasid(self) -> bool {
        self.ecap(40)
    }

    /// ECAP.DIT.
    pub(crate) const fn dit(self) -> bool {
        self.ecap(41)
    }

    /// ECAP.PDS: page request drain.
    pub(crate) const fn pds(self) -> bool {
        self.ecap(42)
    }

    /// ECAP.SMTS: scalable mode.
    pub(crate) const fn smts(self) -> bool {
        self.ecap(43)
    }

    /// ECAP.SSADS: second-stage accessed and dirty bits.
    pub(crate) const fn ssads(self) -> bool {
        self.ecap(45)
    }

    /// ECAP.SSTS: second-stage tables in scalable mode.
    pub(crate) const fn ssts(self) -> bool {
        self.ecap(46)
    }

    /// ECAP.FSTS: first-stage tables.
    pub(crate) const fn fsts(self) -> bool {
        self.ecap(47)
    }

    /// ECAP.SMPWCS: coherent page walks.
    pub(crate) const fn smpwcs(self) -> bool {
        self.ecap(48)
    }

    /// ECAP.RPS: RID_PASID.
    pub(crate) const fn rps(self) -> bool {
        self.ecap(49)
    }

    /// ECAP.ADMS: abort mode.
    pub(crate) const fn adms(self) -> bool {
        self.ecap(52)
    }

    /// ECAP.RPRIVS: RID_PRIV.
    pub(crate) const fn rprivs(self) -> bool {
        self.ecap(53)
    }
}
