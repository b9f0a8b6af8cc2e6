//! A guest's memory and a unit over it, in raw integers.
//!
//! | address | what |
//! | --- | --- |
//! | 1000 | root table; bus 0 leads to 2000 |
//! | 2300 | scalable context entry of 00:03.0; its directory is at 10000 |
//! | 2180 | legacy context entry of 00:03.0 |
//! | 11000 | PASID table of PASIDs 0 to 63: 1 first-stage, 2 second-stage, 3 nested, 4 pass-through |
//! | 20000 to 23000 | a first-stage table of four levels: 5000 leads to 700000 |
//! | 30000 to 33000 | a second-stage table of four levels: 5000 leads to 800000, 20000 to 23000 and 700000 to themselves |

use std::collections::BTreeMap;

use vtd_model::{Access, Answer, Capabilities, Memory, Path, Request, Unit};

/// Second stages of every width, 2 MiB and 1 GiB pages, ZLR, PSI, MAMV 18, FS1GP, FS5LP, PLMR, PHMR, CM, one fault record at
/// 200; MGAW 46 bits.
pub(crate) const CAP: u64 = 0x1112_008c_206d_0ee6;

/// All that the reference names but posted interrupts: MHMV f, PSS 19, IOTLB registers at 500.
pub(crate) const ECAP: u64 = 1 << 53
    | 1 << 52
    | 1 << 49
    | 1 << 48
    | 1 << 47
    | 1 << 46
    | 1 << 45
    | 1 << 43
    | 1 << 42
    | 1 << 41
    | 1 << 40
    | 19 << 35
    | 1 << 34
    | 1 << 33
    | 1 << 31
    | 1 << 30
    | 1 << 29
    | 1 << 26
    | 0xf << 20
    | 0x50df;

pub(crate) const SOURCE: u16 = 0x18;

/// Qwords that are changed in a good guest: address and value.
pub(crate) type Changes = &'static [(u64, u64)];

/// Qwords by their addresses; all others are zero. Addresses from 2^40 on are not there.
#[derive(Clone, Debug, Default)]
pub(crate) struct Qwords(pub(crate) BTreeMap<u64, u64>);

impl Memory for Qwords {
    fn qword(&self, address: u64) -> Option<u64> {
        (address < 1 << 40).then(|| self.0.get(&address).copied().unwrap_or(0))
    }
}

#[derive(Clone, Debug)]
pub(crate) struct Guest {
    pub(crate) unit: Unit,
    pub(crate) memory: Qwords,
}

impl Guest {
    pub(crate) fn scalable() -> Self {
        Self::with(CAP, ECAP)
    }

    pub(crate) fn with(cap: u64, ecap: u64) -> Self {
        let mut unit = Unit::new(Capabilities::new(cap, ecap));
        unit.translation = true;
        unit.root = 0x1400;
        let mut guest = Self { unit, memory: Qwords::default() };
        for (address, value) in [
            (0x1000, 0x2001),
            (0x2300, 0x1_001d),
            (0x1_0000, 0x1_1001),
            // PASID 1: first-stage, domain 5.
            (0x1_1040, 0x41),
            (0x1_1048, 5),
            (0x1_1050, 0x2_0000),
            // PASID 2: second-stage, 48 bits, domain 6.
            (0x1_1080, 0x3_0089),
            (0x1_1088, 6),
            // PASID 3: nested, domain 7.
            (0x1_10c0, 0x3_00c9),
            (0x1_10c8, 7),
            (0x1_10d0, 0x2_0000),
            // PASID 4: pass-through, domain 8.
            (0x1_1100, 0x101),
            (0x1_1108, 8),
            // First stage: P, RW, US.
            (0x2_0000, 0x2_1007),
            (0x2_1000, 0x2_2007),
            (0x2_2000, 0x2_3007),
            (0x2_3028, 0x70_0007),
            // Second stage: R, W.
            (0x3_0000, 0x3_1003),
            (0x3_1000, 0x3_2003),
            (0x3_2000, 0x3_3003),
            (0x3_2018, 0x60_0083),
            (0x3_3028, 0x80_0003),
            (0x3_3100, 0x2_0003),
            (0x3_3108, 0x2_1003),
            (0x3_3110, 0x2_2003),
            (0x3_3118, 0x2_3003),
        ] {
            guest.set(address, value);
        }
        // Device TLBs and page requests are on where they are shown.
        if ecap >> 2 & 1 == 0 {
            guest.clear(0x2300, 0x14);
        }
        guest
    }

    /// A legacy unit: TT=0, 48 bits, domain 9.
    pub(crate) fn legacy() -> Self {
        let mut guest = Self::scalable();
        guest.unit.root = 0x1000;
        guest.set(0x2180, 0x3_0001);
        guest.set(0x2188, 0x902);
        guest
    }

    pub(crate) fn set(&mut self, address: u64, value: u64) {
        self.memory.0.insert(address, value);
    }

    pub(crate) fn get(&self, address: u64) -> u64 {
        self.memory.qword(address).unwrap_or(0)
    }

    /// Sets bits of a qword.
    pub(crate) fn or(&mut self, address: u64, bits: u64) {
        self.set(address, self.get(address) | bits);
    }

    /// Clears bits of a qword.
    pub(crate) fn clear(&mut self, address: u64, bits: u64) {
        self.set(address, self.get(address) & !bits);
    }

    pub(crate) fn ask(&self, pasid: Option<u32>, address: u64, access: Access) -> Answer {
        let request = Request { source_id: SOURCE, pasid, address, access };
        self.unit.translate(&self.memory, &request, &mut Path::new())
    }

    /// The code of the fault of a read with PASID; 0 where there is none.
    pub(crate) fn code(&self, pasid: u32) -> u8 {
        code(self.ask(Some(pasid), 0x5000, Access::READ))
    }
}

/// The code of a fault; 0 where there is none.
pub(crate) fn code(answer: Answer) -> u8 {
    match answer {
        Answer::Fault(fault) => fault.code,
        _ => 0,
    }
}

/// The address that an answer leads to; `None` where it is blocked.
pub(crate) fn address(answer: Answer) -> Option<u64> {
    match answer {
        Answer::Memory(translation) => Some(translation.address),
        _ => None,
    }
}
