//! A device 00:03.0 and its tables, in raw integers.

use vtd::spec::{Capabilities, Gpa, Iova};
use vtd::{Access, Completion, DeviceId, DmaError, DmaHandle, TranslationRequest};

use crate::guest::{self, ECAP, Guest, translate};

/// CAP of the guest, with ZLR and five levels of either stage.
pub(crate) const CAP: u64 = guest::CAP & !(0x3f << 16) | 0x38 << 16 | 0x800 | 1 << 60 | ZLR;
pub(crate) const ZLR: u64 = 1 << 22;
pub(crate) const SC: u64 = 1 << 7;
pub(crate) const NEST: u64 = 1 << 26;
pub(crate) const ERS: u64 = 1 << 30;
pub(crate) const SRS: u64 = 1 << 31;
pub(crate) const NWFS: u64 = 1 << 33;
pub(crate) const EAFS: u64 = 1 << 34;
pub(crate) const SSADS: u64 = 1 << 45;
pub(crate) const SMPWCS: u64 = 1 << 48;
pub(crate) const RPRIVS: u64 = 1 << 53;
/// ECAP with all that decides on requests.
pub(crate) const ALL: u64 = ECAP | SC | NEST | ERS | SRS | NWFS | EAFS | SSADS | RPRIVS;

/// The context entry of the device, and its PASID-table entry of PASID 1.
pub(crate) const CONTEXT: u64 = 0x2000 + 0x18 * 32;
pub(crate) const LEGACY_CONTEXT: u64 = 0x2000 + 0x18 * 16;

/// Tables of both stages: five levels each at most, one page apart. The root of four levels is one page on, and so forth.
pub(crate) const FIRST: u64 = 0x10_0000;
pub(crate) const SECOND: u64 = 0x20_0000;
/// What the leaves map.
pub(crate) const FRAME: u64 = 0x40_0000;

/// The entry of the table of `level` (5 to 1) that maps an address.
pub(crate) fn place(table: u64, level: u64, iova: u64) -> u64 {
    table + (5 - level) * 0x1000 + (iova >> (12 + 9 * (level - 1)) & 0x1ff) * 8
}

pub(crate) struct Machine {
    pub(crate) guest: Guest,
    pub(crate) device: DeviceId,
}

impl Machine {
    /// Scalable mode with translation on. PASID 1 and requests without PASID (RID_PASID 1) use `entry`; DTE is set.
    pub(crate) fn scalable(cap: u64, ecap: u64, entry: &[u64]) -> Self {
        let machine = Self::off(cap, ecap);
        machine.guest.put_context(3, 1);
        machine.guest.put(CONTEXT, &[0x1_000d]);
        machine.guest.put_entry(3, 1, entry);
        machine.guest.set_root(0x1400);
        machine.guest.command(0x8000_0000);
        machine
    }

    /// Legacy mode with translation on and this context entry.
    pub(crate) fn legacy(cap: u64, ecap: u64, context: [u64; 2]) -> Self {
        let machine = Self::off(cap, ecap);
        machine.guest.put(0x1008, &[0]);
        machine.guest.put(LEGACY_CONTEXT, &context);
        machine.guest.set_root(0x1000);
        machine.guest.command(0x8000_0000);
        machine
    }

    /// Translation is off.
    pub(crate) fn off(cap: u64, ecap: u64) -> Self {
        let guest = Guest::made(Capabilities::new(cap, ecap).unwrap(), |_| {});
        for page in 0..5 {
            guest.memory.fill_zero_page(Gpa(FIRST + page * 0x1000));
            guest.memory.fill_zero_page(Gpa(SECOND + page * 0x1000));
        }
        guest.unmask_events();
        let device = guest.emulate(3);
        Self { guest, device }
    }

    /// Maps an address in the table at `FIRST` or `SECOND` through all five levels; a leaf above level 1 ends it.
    pub(crate) fn map(&self, table: u64, iova: u64, level: u64, leaf: u64, above: u64) {
        for upper in level + 1..=5 {
            let next = table + (6 - upper) * 0x1000;
            self.guest.put(place(table, upper, iova), &[next | above]);
        }
        self.guest.put(place(table, level, iova), &[leaf]);
    }

    pub(crate) fn dma(&self, pasid: Option<u32>) -> DmaHandle {
        self.guest.unit.dma(self.device, pasid.map(guest::pasid)).unwrap()
    }

    /// Where an untranslated request leads, or its code.
    pub(crate) fn access(&self, pasid: Option<u32>, iova: u64, access: Access) -> Result<u64, u8> {
        translate(&self.dma(pasid), iova, access).map_err(code)
    }

    pub(crate) fn ask(
        &self,
        pasid: Option<u32>,
        iova: u64,
        request: TranslationRequest,
    ) -> Result<Completion, DmaError> {
        self.dma(pasid).with_guard(|guard| guard.translation_request(Iova(iova), request))
    }

    /// What a translation request comes to, in words: `400000 1000 rw`, `none`, `fault 44`, `blocked`.
    pub(crate) fn told(
        &self,
        pasid: Option<u32>,
        iova: u64,
        request: TranslationRequest,
    ) -> String {
        match self.ask(pasid, iova, request) {
            Ok(completion) => words(&completion),
            Err(error) => told_error(error),
        }
    }

    /// What a translated request comes to: `ok`, `fault 44`, `blocked`.
    pub(crate) fn translated(&self, pasid: Option<u32>, address: u64, access: Access) -> String {
        let answer = self.dma(pasid).with_guard(|guard| guard.translated(Gpa(address), access));
        match answer {
            Ok(found) => {
                assert_eq!(found, Gpa(address));
                "ok".into()
            }
            Err(error) => told_error(error),
        }
    }

    /// The pending fault record, which is cleared, with its address and upper quadword; the unit has one.
    pub(crate) fn record(&self) -> Option<(u64, u64)> {
        let record = (self.guest.read(0x220, 8), self.guest.read(0x228, 8));
        self.guest.write(0x22c, 4, 0x8000_0000);
        self.guest.write(0x34, 4, 1);
        assert_eq!(self.guest.read(0x34, 4) & 0xff, 0, "nothing else is pending");
        (record.1 >> 63 == 1).then_some(record)
    }

    /// The code of the pending fault record, which is cleared.
    pub(crate) fn recorded_code(&self) -> Option<u64> {
        self.record().map(|(_, high)| high >> 32 & 0xff)
    }
}

pub(crate) fn words(completion: &Completion) -> String {
    let mut words = match completion.grants_any() {
        true => format!("{:x} {:x} ", completion.page.0, completion.size),
        false => "none".into(),
    };
    let granted = completion.granted;
    let flags = [
        (granted.read, "r"),
        (granted.write, "w"),
        (granted.execute, "x"),
        (completion.privileged, "p"),
        (completion.untranslated_only, " u"),
        (completion.global, " g"),
        (completion.snoop, " n"),
    ];
    words.extend(flags.into_iter().filter_map(|(is_set, name)| is_set.then_some(name)));
    words
}

fn told_error(error: DmaError) -> String {
    match error {
        DmaError::Fault(fault) => format!("fault {:x}", fault.reason.code()),
        DmaError::Blocked => "blocked".into(),
        DmaError::Released => "released".into(),
        other => format!("{other:?}"),
    }
}

pub(crate) fn code(error: DmaError) -> u8 {
    match error {
        DmaError::Fault(fault) => fault.reason.code(),
        other => panic!("no fault: {other}"),
    }
}
