//! Programs of table edits, invalidations and DMA, run on a unit with caches and on one without.
//!
//! The guest of a program is well behaved: every edit is followed by an invalidation that covers it. So whatever the caches hold,
//! the two units have to answer alike.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Arc;

use vtd::memory::SparseMemory;
use vtd::spec::{Capabilities, Gpa, Iova, Pasid, SourceId};
use vtd::{
    Access, Attachment, CacheCounts, Capacities, DeviceId, DmaHandle, RemappingUnit,
    TranslationRequest, UnitConfig,
};

/// With ZLR.
const CAP: u64 = 0x81d2_008c_226f_0686;
/// With first-stage, second-stage and nested translation, RID_PASID and NWFS.
const ECAP: u64 = 0x3_c99a_0400_0f46;
const ROOT: u64 = 0x1000;
const CONTEXTS: u64 = 0x2000;
const QUEUE: u64 = 0x8000;
const STATUS: u64 = 0x9000;
const DIRECTORIES: u64 = 0x1_0000;
const PASID_TABLES: u64 = 0x2_0000;
/// Two first-stage roots, each with three tables below it, one page apart.
const FIRST: [u64; 2] = [0x10_0000, 0x11_0000];
/// Two second-stage roots of the same shape.
const SECOND: [u64; 2] = [0x20_0000, 0x21_0000];
const PASIDS: [u32; 3] = [0, 1, 65];
const DOMAINS: [u64; 3] = [1, 2, 3];
/// First-stage addresses: pages 0 to 3 of the last table.
const PAGES: u64 = 4;

/// The length of an operation in bytes.
const RECORD: usize = 8;

/// What a handle is for: a unit, a device, a PASID or none.
type Handled = (usize, usize, Option<Pasid>);

struct Machine {
    memory: Arc<SparseMemory>,
    units: [RemappingUnit; 2],
    devices: [[DeviceId; 2]; 2],
    handles: RefCell<BTreeMap<Handled, Rc<DmaHandle>>>,
    /// The domain of each entry, by device and PASID.
    domains: BTreeMap<(u8, u32), u64>,
    tail: u64,
    status: u32,
}

/// What the oracle has found: the test ends here.
#[allow(clippy::panic, reason = "an oracle reports by panicking")]
fn wrong(what: &str, details: &dyn std::fmt::Debug) -> ! {
    panic!("{what}: {details:?}")
}

/// Runs the program that these bytes are, eight to an operation; what the caches of the cached unit did.
///
/// # Panics
/// Where the two units differ.
#[must_use]
pub fn run(bytes: &[u8]) -> CacheCounts {
    let mut machine = Machine::new();
    let (records, _) = bytes.as_chunks::<RECORD>();
    for record in records {
        machine.operate(*record);
    }
    let [cached, _] = &machine.units;
    cached.counts().caches
}

fn of<T: Copy>(pool: &[T], number: u8) -> T {
    let index = usize::from(number) % pool.len().max(1);
    pool.get(index).copied().unwrap_or_else(|| wrong("an empty pool", &number))
}

impl Machine {
    fn new() -> Self {
        let memory = Arc::new(SparseMemory::zero_filled());
        let caps =
            Capabilities::new(CAP, ECAP).unwrap_or_else(|error| wrong("capabilities", &error));
        let units = [
            Capacities { contexts: 2, pasids: 8, translations: 64, interrupt_entries: 0 },
            Capacities::NONE,
        ]
        .map(|capacities| {
            let mut config = UnitConfig::new(caps, Arc::clone(&memory) as _);
            config.capacities = capacities;
            RemappingUnit::new(config)
        });
        let devices = units.each_ref().map(|unit| {
            [0x18, 0x20].map(|source| {
                unit.attach(SourceId(source), Attachment::Emulated)
                    .unwrap_or_else(|error| wrong("attach", &error))
            })
        });
        let domains = BTreeMap::new();
        let handles = RefCell::default();
        let machine = Self { memory, units, devices, handles, domains, tail: 0, status: 0 };
        machine.put(ROOT, CONTEXTS | 1);
        for device in 0..2 {
            machine.put(CONTEXTS + (0x18 + 8 * device) * 32, (DIRECTORIES + device * 0x1000) | 0xd);
            for (index, table) in [(0, 0), (1, 1)] {
                let place = PASID_TABLES + (2 * device + table) * 0x1000;
                machine.put(DIRECTORIES + device * 0x1000 + 8 * index, place | 1);
            }
        }
        for root in FIRST {
            for level in 0..3 {
                machine.put(root + level * 0x1000, (root + (level + 1) * 0x1000) | 7);
            }
        }
        for root in SECOND {
            for level in 0..3 {
                machine.put(root + level * 0x1000, (root + (level + 1) * 0x1000) | 3);
            }
            // Pages of 2 MiB from 10_0000 on, so that first-stage tables and pages are where the guest says.
            for number in 0..8 {
                machine.put(root + 0x2000 + 8 + 8 * number, (0x20_0000 * (number + 1)) | 0x83);
            }
            // The first 2 MiB by pages of 4 KiB: the first-stage tables lie at 10_0000 and 11_0000.
            for page in 0..512 {
                machine.put(root + 0x3000 + 8 * page, (page << 12) | 3);
            }
        }
        for unit in &machine.units {
            unit.write(0x90, 8, QUEUE | 0x800);
            unit.write(0x18, 4, 0x0400_0000);
            unit.write(0x20, 8, ROOT | 0x400);
            unit.write(0x18, 4, 0x4400_0000);
            unit.write(0x18, 4, 0x8400_0000);
        }
        machine
    }

    fn put(&self, place: u64, value: u64) {
        if let Err(error) = self.memory.write_u64(Gpa(place), value) {
            wrong("memory", &error);
        }
    }

    /// Queues a descriptor and a wait, and sees the status on both units.
    fn invalidate(&mut self, qw0: u64, qw1: u64) {
        self.status += 1;
        let wait = [u64::from(self.status) << 32 | 0x25, STATUS];
        for words in [[qw0, qw1], wait] {
            for (offset, word) in (0..).zip([words[0], words[1], 0, 0]) {
                self.put(QUEUE + self.tail + 8 * offset, word);
            }
            self.tail = (self.tail + 32) % 0x1000;
        }
        for unit in &self.units {
            self.put(STATUS, 0);
            unit.write(0x88, 8, self.tail);
            let mut status = [0; 4];
            let read = self.memory.read_bytes(Gpa(STATUS), &mut status);
            if read.is_err() || u32::from_le_bytes(status) != self.status {
                wrong("a wait that does not complete", &(qw0, qw1, status));
            }
        }
    }

    fn operate(&mut self, [code, device, pasid, kind, domain, page, value, how]: [u8; RECORD]) {
        match code % 24 {
            0 | 1 => {
                self.edit_entry(device % 2, of(&PASIDS, pasid), kind, of(&DOMAINS, domain), how);
            }
            2 => self.edit_first_stage(kind, page, value, how),
            3 => self.edit_second_stage(kind, page, value, how),
            _ => self.dma(usize::from(device % 2), of(&PASIDS, pasid), page, kind, how),
        }
    }

    /// Replaces a PASID-table entry in place; told by the old or by the new domain, or by a context-cache descriptor.
    fn edit_entry(&mut self, device: u8, pasid: u32, kind: u8, domain: u64, how: u8) {
        let (first, second) = (of(&FIRST, kind >> 3), of(&SECOND, kind >> 4));
        let words = match kind % 8 {
            0 => [0, 0, 0],
            1 => [0x40, domain, first],
            2 => [0x109, domain, 0],
            3 => [second | 0x89, domain, 0],
            4 => [second | 0xc9, domain, first],
            5 => [0x41, domain, first | 0x100],
            _ => [0x41, domain, first],
        };
        let table = PASID_TABLES + (2 * u64::from(device) + u64::from(pasid >> 6)) * 0x1000;
        let place = table + u64::from(pasid & 0x3f) * 64;
        for (word, value) in (0..).zip(words) {
            self.put(place + 8 * word, value);
        }
        let old = self.domains.insert((device, pasid), domain).unwrap_or(0);
        let told = if how & 1 == 0 { old } else { domain };
        let source = 0x18 + 8 * u64::from(device);
        match how >> 1 & 7 {
            0 => self.invalidate(0x37, 0),
            1 => self.invalidate(0x07 | old << 16, 0),
            2 => self.invalidate(0x31 | source << 32, 0),
            3 => self.invalidate(0x11, 0),
            _ => self.invalidate(0x17 | told << 16 | u64::from(pasid) << 32, 0),
        }
        // A domain-selective one by the old domain does not cover an entry that was not there before.
        if how >> 1 & 7 == 1 {
            self.invalidate(0x07 | domain << 16, 0);
        }
    }

    /// Maps, changes or unmaps a page of a first-stage table, and tells it for every domain and PASID that may use it.
    fn edit_first_stage(&mut self, root: u8, page: u8, value: u8, how: u8) {
        let root = of(&FIRST, root);
        let page = u64::from(page) % PAGES;
        let flags = of(&[0, 0x7, 0x5, 0x3], value % 4);
        let target = 0x30_0000 + u64::from(value >> 2) * 0x1000;
        self.put(root + 0x3000 + 8 * page, if flags == 0 { 0 } else { target | flags });
        if how.is_multiple_of(4) {
            return self.invalidate(0x12, 0);
        }
        for domain in DOMAINS {
            if how % 4 == 1 {
                self.invalidate(0x22 | domain << 16, 0);
                continue;
            }
            for pasid in PASIDS {
                let target = domain << 16 | u64::from(pasid) << 32;
                match how % 4 {
                    2 => self.invalidate(0x26 | target, 0),
                    _ => self.invalidate(0x36 | target, page << 12 | u64::from(how >> 2 & 3)),
                }
            }
        }
    }

    /// Changes a 4 KiB page of a second stage: one that a first-stage table lies in, or one that a first stage leads to.
    fn edit_second_stage(&mut self, root: u8, page: u8, value: u8, how: u8) {
        let root = of(&SECOND, root);
        let page = of(&[0, 1, 2, 0x100, 0x102, 0x103, 0x113], page);
        let flags = of(&[3, 2, 1, 0], value % 4);
        let target = if page < 3 { 0x50_0000 + u64::from(value >> 2) * 0x1000 } else { page << 12 };
        self.put(root + 0x3000 + 8 * page, if flags == 0 { 0 } else { target | flags });
        for domain in DOMAINS {
            match how % 3 {
                0 => self.invalidate(0x22 | domain << 16, 0),
                _ => self.invalidate(0x32 | domain << 16, page << 12 | u64::from(how >> 2 & 3)),
            }
        }
    }

    /// An untranslated request, a read of no bytes among them, or a translation request.
    fn dma(&self, device: usize, pasid: u32, page: u8, kind: u8, how: u8) {
        let iova = Iova(u64::from(page) % PAGES * 0x1000 + 0x678);
        let pasid = if how & 3 == 0 { None } else { Pasid::new(pasid) };
        let handles = [0, 1].map(|unit| self.handle(unit, device, pasid));
        let request = (device, pasid, iova, kind);
        if kind >> 1 & 1 == 0 {
            let asked = match kind & 1 {
                0 => TranslationRequest::READ,
                _ => TranslationRequest::READ_WRITE,
            };
            let answers =
                handles.map(|dma| dma.with_guard(|guard| guard.translation_request(iova, asked)));
            return agree(request, answers);
        }
        let access = match kind >> 2 & 3 {
            0 => Access::ZERO_LENGTH_READ,
            1 => Access::READ,
            _ => Access::WRITE,
        };
        let answers = handles.map(|dma| {
            dma.with_guard(|guard| guard.translate(iova, access).map(|found| found.address()))
        });
        agree(request, answers);
    }

    /// Kept, since what a handle has found is kept in it.
    fn handle(&self, unit: usize, device: usize, pasid: Option<Pasid>) -> Rc<DmaHandle> {
        let mut handles = self.handles.borrow_mut();
        let handle = handles.entry((unit, device, pasid));
        Rc::clone(handle.or_insert_with(|| Rc::new(self.new_handle(unit, device, pasid))))
    }

    fn new_handle(&self, unit: usize, device: usize, pasid: Option<Pasid>) -> DmaHandle {
        let (Some(unit), Some(devices)) = (self.units.get(unit), self.devices.get(unit)) else {
            wrong("no such unit", &unit)
        };
        let device = of(devices, u8::try_from(device).unwrap_or(0));
        unit.dma(device, pasid).unwrap_or_else(|error| wrong("handle", &error))
    }
}

fn agree<R: std::fmt::Debug, A: PartialEq + std::fmt::Debug>(request: R, answers: [A; 2]) {
    let [with, without] = &answers;
    if with != without {
        wrong("with and without caches", &(request, answers));
    }
}
