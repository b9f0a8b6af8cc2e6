//! The guests, units and hosts that are measured.

#![allow(dead_code, reason = "each benchmark takes what it measures")]
#![allow(clippy::expect_used, reason = "a benchmark that cannot be set up is to stop")]

pub(crate) mod descriptors;
pub(crate) mod flat_memory;
pub(crate) mod host;
pub(crate) mod random;

use std::sync::Arc;

use vtd::host::HostDevice;
use vtd::spec::{Capabilities, Iova, Pasid, SourceId};
use vtd::{Access, Attachment, Capacities, DmaHandle, Quotas, RemappingUnit, Step, UnitConfig};

use flat_memory::FlatMemory;
use host::WillingHost;

pub(crate) const ROOT: u64 = 0x1000;
const CONTEXTS: u64 = 0x2000;
const QUEUE: u64 = 0x1_0000;
/// The PASID directory of the first device; each further one has 128 KiB behind it.
pub(crate) const DIRECTORY: u64 = 0x10_0000;
/// PASID tables.
pub(crate) const TABLES: u64 = 0x1000_0000;
/// First-stage tables.
pub(crate) const PAGES: u64 = 0x2000_0000;
/// The first page that addresses lead to.
const TARGETS: u64 = 0x10_0000_0000;
/// The source-id of the first device, 01:00.0.
const FIRST: u16 = 0x100;

/// A page of this many bits of address.
#[derive(Clone, Copy)]
pub(crate) enum PageSize {
    Small = 12,
    Large = 21,
    Huge = 30,
}

/// A guest of the devices 01:00.0 and up, whose directories cover all 2^20 PASIDs.
pub(crate) struct Guest {
    pub(crate) memory: Arc<FlatMemory>,
}

impl Guest {
    pub(crate) fn new(bytes: usize, devices: u64) -> Self {
        let memory = FlatMemory::new(bytes);
        memory.put(ROOT + 0x10, CONTEXTS | 1);
        memory.put(ROOT + 0x18, (CONTEXTS + 0x1000) | 1);
        for device in 0..devices {
            memory.put(CONTEXTS + device * 32, (DIRECTORY + device * 0x2_0000) | 0xe09);
        }
        Self { memory: Arc::new(memory) }
    }

    /// A PASID-table entry of a device: first-stage, domain 1.
    fn bind(&self, table: u64, entry: u64) {
        let place = table + entry * 64;
        self.memory.put(place, 0x41);
        self.memory.put(place + 8, 1);
        self.memory.put(place + 16, PAGES);
    }

    /// PASID 1 of a device.
    pub(crate) fn bind_one(&self, device: u64) {
        let table = TABLES + device * 0x1000;
        self.memory.put(DIRECTORY + device * 0x2_0000, table | 1);
        self.bind(table, 1);
    }

    /// Every PASID of the first device of whose directory entries one in `one_in` is present.
    pub(crate) fn bind_all(&self, one_in: u64) {
        let places = (0..1 << 14).filter(|place| place % one_in == 0);
        for (place, table) in places.zip((TABLES..).step_by(0x1000)) {
            self.memory.put(DIRECTORY + place * 8, table | 1);
            (0..64).for_each(|entry| self.bind(table, entry));
        }
    }

    /// One PASID of each directory entry of the first device.
    pub(crate) fn bind_one_of_each_table(&self) {
        for (place, table) in (0..1 << 14).zip((TABLES..).step_by(0x1000)) {
            self.memory.put(DIRECTORY + place * 8, table | 1);
            self.bind(table, 1);
        }
    }

    /// Maps `pages` pages from address 0 on, each with an entry of its own.
    pub(crate) fn map(&self, pages: u64, size: PageSize) {
        let put = |place, value| self.memory.put(place, value);
        let leaf = |page: u64| TARGETS + (page << size as u32);
        put(PAGES, (PAGES + 0x1000) | 0x67);
        match size {
            PageSize::Huge => (0..pages).for_each(|page| {
                put(PAGES + 0x1000 + page * 8, leaf(page) | 0xe7);
            }),
            PageSize::Large => (0..pages).for_each(|page| {
                let table = PAGES + 0x10_0000 + page / 512 * 0x1000;
                put(PAGES + 0x1000 + page / 512 * 8, table | 0x67);
                put(table + page % 512 * 8, leaf(page) | 0xe7);
            }),
            PageSize::Small => (0..pages).for_each(|page| {
                let middle = PAGES + 0x10_0000 + page / (512 * 512) * 0x1000;
                let table = PAGES + 0x100_0000 + page / 512 * 0x1000;
                put(PAGES + 0x1000 + page / (512 * 512) * 8, middle | 0x67);
                put(middle + page / 512 % 512 * 8, table | 0x67);
                put(table + page % 512 * 8, leaf(page) | 0x67);
            }),
        }
    }

    /// Maps every address below 2^47 by one table of each level.
    pub(crate) fn map_everything(&self) {
        for entry in 0..512 {
            for level in 0..4 {
                let next = if level == 3 { TARGETS } else { PAGES + (level + 1) * 0x1000 };
                let place = PAGES + level * 0x1000 + entry * 8;
                if level > 0 || entry < 256 {
                    self.memory.put(place, next | 0x67);
                }
            }
        }
    }

    pub(crate) fn start(&self, capacities: Capacities) -> Machine {
        let mut config = UnitConfig::new(caps(), Arc::clone(&self.memory) as _);
        config.capacities = capacities;
        config.host = Some(Arc::new(WillingHost));
        config.quotas = Quotas { per_device: 1 << 20, per_unit: 1 << 21, ..Quotas::default() };
        let unit = RemappingUnit::new(config);
        Machine { memory: Arc::clone(&self.memory), unit, tail: 0, size: 0 }
    }
}

fn caps() -> Capabilities {
    Capabilities::new(0x81d2_008c_222f_0686, 0x3_c998_0000_0f4e).expect("a consistent pair")
}

/// A guest and its unit, whose queue has 16,384 descriptors of 32 bytes.
pub(crate) struct Machine {
    memory: Arc<FlatMemory>,
    pub(crate) unit: RemappingUnit,
    tail: u64,
    size: u64,
}

impl Machine {
    /// Emulated devices, then translation and the queue on.
    pub(crate) fn with_emulated(mut self, devices: u16) -> Self {
        for device in 0..devices {
            let source_id = SourceId(FIRST + device);
            self.unit.attach(source_id, Attachment::Emulated).expect("a new device");
        }
        self.enable();
        self
    }

    /// Assigned devices, then translation and the queue on, and everything bound.
    pub(crate) fn with_assigned(mut self, devices: u16) -> Self {
        for device in 0..devices {
            let attachment = Attachment::Assigned(HostDevice(device.into()));
            self.unit.attach(SourceId(FIRST + device), attachment).expect("a new device");
        }
        self.enable();
        self
    }

    fn enable(&mut self) {
        let order = 7;
        self.size = 0x1000 << order;
        self.unit.write(0x90, 8, QUEUE | 0x800 | order);
        self.unit.write(0x18, 4, 1 << 26);
        self.unit.write(0x20, 8, ROOT | 0x400);
        self.unit.write(0x18, 4, 1 << 26 | 1 << 30);
        self.unit.write(0x18, 4, 1 << 26 | 1 << 31);
        self.rest();
    }

    pub(crate) fn rest(&self) {
        while self.unit.step(u32::MAX) == Step::More {}
        while self.unit.take_effect().is_some() {}
        self.assert_done();
    }

    /// A unit that has stopped would be fast.
    pub(crate) fn assert_done(&self) {
        assert_eq!(self.unit.read(0x80, 8), self.tail, "the queue is not empty");
        assert_eq!(self.unit.read(0x34, 4) & 0x10, 0, "the queue has stopped");
    }

    /// The requests of a device with PASID 1.
    pub(crate) fn dma(&self, device: usize) -> DmaHandle {
        let device = self.unit.devices().get(device).expect("it is attached").id;
        self.unit.dma(device, Pasid::new(1)).expect("an emulated device")
    }

    pub(crate) fn queue(&mut self, words: [u64; 2]) {
        self.memory.put(QUEUE + self.tail, words[0]);
        self.memory.put(QUEUE + self.tail + 8, words[1]);
        self.tail = (self.tail + 32) % self.size;
    }

    /// Has the unit carry out what is queued.
    pub(crate) fn ring(&mut self) {
        self.unit.write(0x88, 8, self.tail);
        while self.unit.step(u32::MAX) == Step::More {}
    }

    /// One descriptor, carried out.
    pub(crate) fn invalidate(&mut self, words: [u64; 2]) {
        self.queue(words);
        self.ring();
    }
}

/// Translates one address, which has to work.
#[inline]
pub(crate) fn translate(dma: &DmaHandle, iova: u64) -> u64 {
    dma.with_guard(|guard| match guard.translate(Iova(iova), Access::READ) {
        Ok(found) => found.address().0,
        Err(error) => unreachable!("{iova:x}: {error}"),
    })
}
