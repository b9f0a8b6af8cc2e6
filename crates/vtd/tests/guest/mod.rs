//! A tiny guest: tables, descriptors and registers in raw integers.
//!
//! Memory: root table 1000, contexts of devices 00:00.0 to 00:0f.7 at 2000 and of 00:10.0 to 00:1f.7 at 3000, invalidation
//! queue 8000 (one page, 256-bit descriptors), wait status 9000. Device 00:n.0 (n from 3) has its PASID directory at
//! (n - 2) * 10000 and the PASID table of PASIDs 0 to 63 one page behind it.
#![allow(dead_code, reason = "each test file uses its part")]

pub(crate) mod calls;
pub(crate) mod card;

use std::sync::Arc;

use vtd::host::{HostDevice, HostIommu};
use vtd::memory::{GuestMemory, SparseMemory};
use vtd::spec::{Capabilities, Gpa, Iova, Pasid, SourceId};
use vtd::{
    Access, Attachment, DeviceId, DmaError, DmaHandle, Effect, RemappingUnit, Step, UnitConfig,
};

/// CM, MAMV 12, ESRTPS, one fault record at 220; SAGAW 39 and 48 bits, 2 MiB and 1 GiB pages.
pub(crate) const CAP: u64 = 0x81d2_008c_222f_0686;
/// QI, DT, PT, PASID (20 bits), SMTS, SSTS, FSTS, SMPWCS, RPS; IVA at F0.
pub(crate) const ECAP: u64 = 0x0003_c998_0000_0f46;

pub(crate) const QUEUE: u64 = 0x8000;
pub(crate) const STATUS: u64 = 0x9000;
/// Where event messages go, and the data of fault and invalidation events.
pub(crate) const MESSAGE_ADDRESS: u64 = 0xfee0_0000;
pub(crate) const FAULT_DATA: u32 = 0x21;
pub(crate) const INVALIDATION_DATA: u32 = 0x22;

/// First-stage, 4 levels, at this table, with this domain: a PASID-table entry's first three quadwords.
pub(crate) fn first_stage(table: u64, domain: u64) -> [u64; 3] {
    [0x41, domain, table]
}

/// Pass-through with this domain.
pub(crate) fn pass_through(domain: u64) -> [u64; 3] {
    [0x109, domain, 0]
}

/// Second-stage, 48 bits, at this table, with this domain.
pub(crate) fn second_stage(table: u64, domain: u64) -> [u64; 3] {
    [0x89 | table, domain, 0]
}

/// Type 1, global.
pub(crate) const CONTEXT_GLOBAL: [u64; 4] = [0x11, 0, 0, 0];
/// Type 7, global.
pub(crate) const PASID_GLOBAL: [u64; 4] = [0x37, 0, 0, 0];
/// Type 2, global.
pub(crate) const IOTLB_GLOBAL: [u64; 4] = [0x12, 0, 0, 0];

/// Type 1 for the device 00:`device`.0.
pub(crate) fn context_of(device: u64) -> [u64; 4] {
    [0x31 | (device << 3) << 32, 0, 0, 0]
}

/// Type 7 by PASID, with a domain.
pub(crate) fn pasid_selective(domain: u64, pasid: u64) -> [u64; 4] {
    [0x17 | domain << 16 | pasid << 32, 0, 0, 0]
}

/// Type 7 by domain.
pub(crate) fn pasid_domain(domain: u64) -> [u64; 4] {
    [0x07 | domain << 16, 0, 0, 0]
}

/// Type 6 over all of a PASID.
pub(crate) fn pasid_iotlb(domain: u64, pasid: u64) -> [u64; 4] {
    [0x26 | domain << 16 | pasid << 32, 0, 0, 0]
}

/// Type 5 with SW: `data` to the status address.
pub(crate) fn wait(data: u64) -> [u64; 4] {
    [0x25 | data << 32, STATUS, 0, 0]
}

/// A guest and its unit.
pub(crate) struct Guest {
    pub(crate) memory: Arc<SparseMemory>,
    pub(crate) unit: RemappingUnit,
    tail: u64,
    waits: u64,
}

pub(crate) fn caps() -> Capabilities {
    Capabilities::new(CAP, ECAP).unwrap()
}

impl Guest {
    /// Everything is off, as after power-on.
    pub(crate) fn new() -> Self {
        Self::made(caps(), |_| {})
    }

    /// A unit with a host.
    pub(crate) fn with_host(host: Arc<dyn HostIommu>) -> Self {
        Self::made(caps(), |config| config.host = Some(host))
    }

    /// A unit with these capabilities and whatever else `change` sets.
    pub(crate) fn made(caps: Capabilities, change: impl FnOnce(&mut UnitConfig)) -> Self {
        let memory = Arc::new(SparseMemory::new());
        let mut config = UnitConfig::new(caps, Arc::clone(&memory) as Arc<dyn GuestMemory>);
        change(&mut config);
        for page in [0x1000, 0x2000, 0x3000, QUEUE, STATUS] {
            memory.fill_zero_page(Gpa(page));
        }
        memory.write_u64(Gpa(0x1000), 0x2001).unwrap();
        memory.write_u64(Gpa(0x1008), 0x3001).unwrap();
        Self { memory, unit: RemappingUnit::new(config), tail: 0, waits: 0 }
    }

    /// Events unmasked, the queue on with 256-bit descriptors, scalable mode with translation on.
    pub(crate) fn enable(&mut self) {
        self.unmask_events();
        self.enable_queue();
        self.set_root(0x1400);
        self.command(0x8400_0000);
        assert_eq!(self.read(0x1c, 4), 0xc400_0000);
    }

    /// Events of faults and of invalidation waits are sent, and both have their data.
    pub(crate) fn unmask_events(&self) {
        for (control, data) in [(0x38, FAULT_DATA), (0xa0, INVALIDATION_DATA)] {
            self.write(control + 4, 4, u64::from(data));
            self.write(control + 8, 4, MESSAGE_ADDRESS);
            self.write(control, 4, 0);
        }
    }

    pub(crate) fn enable_queue(&mut self) {
        self.write(0x88, 8, 0);
        self.write(0x90, 8, QUEUE | 0x800);
        self.command(0x0400_0000 | self.read(0x1c, 4) & 0x8000_0000);
        self.tail = 0;
    }

    /// RTADDR and SRTP.
    pub(crate) fn set_root(&self, value: u64) {
        self.write(0x20, 8, value);
        self.command(0x4000_0000 | self.read(0x1c, 4) & 0x8400_0000);
    }

    /// GCMD, and whatever follows from it.
    pub(crate) fn command(&self, value: u64) {
        self.write(0x18, 4, value);
        let _left = self.unit.run();
    }

    pub(crate) fn read(&self, offset: u64, size: u8) -> u64 {
        self.unit.read(offset, size)
    }

    /// A register write alone: host calls that follow from it are left to a step.
    pub(crate) fn write(&self, offset: u64, size: u8, value: u64) {
        self.unit.write(offset, size, value);
    }

    /// Quadwords into memory.
    pub(crate) fn put(&self, gpa: u64, qwords: &[u64]) {
        for (place, qword) in (gpa..).step_by(8).zip(qwords) {
            self.memory.write_u64(Gpa(place), *qword).unwrap();
        }
    }

    /// A quadword of memory.
    pub(crate) fn get(&self, gpa: u64) -> u64 {
        self.memory.load_u64(Gpa(gpa)).unwrap()
    }

    pub(crate) fn directory(device: u64) -> u64 {
        (device - 2) << 16
    }

    /// Where the PASID-table entry of a PASID below 64 lies.
    pub(crate) fn entry_place(device: u64, pasid: u64) -> u64 {
        Self::directory(device) + 0x1000 + pasid * 64
    }

    /// A context entry of device 00:`device`.0 with a directory of 128 entries and PASIDE, and with this RID_PASID.
    pub(crate) fn put_context(&self, device: u64, rid_pasid: u64) {
        let directory = Self::directory(device);
        self.memory.fill_zero_page(Gpa(directory));
        self.memory.fill_zero_page(Gpa(directory + 0x1000));
        self.put(directory, &[directory + 0x1001]);
        self.put(0x2000 + device * 8 * 32, &[directory | 9, rid_pasid]);
    }

    /// A PASID-table entry: its first quadwords, the rest zero.
    pub(crate) fn put_entry(&self, device: u64, pasid: u64, first: &[u64]) {
        let mut entry = [0; 8];
        entry[..first.len()].copy_from_slice(first);
        self.put(Self::entry_place(device, pasid), &entry);
    }

    /// A first-stage table of four levels at `table` (four pages) that maps `iova`, a 4 KiB page, to `page` with these flags
    /// (7: read and write for users).
    pub(crate) fn map_first_stage(&self, table: u64, iova: u64, page: u64, flags: u64) {
        self.map(table, iova, page | flags, 7);
    }

    /// The same for a second-stage table, where 3 is read and write.
    pub(crate) fn map_second_stage(&self, table: u64, iova: u64, page: u64, flags: u64) {
        self.map(table, iova, page | flags, 3);
    }

    fn map(&self, table: u64, iova: u64, leaf: u64, above: u64) {
        let index = |level: u64| (iova >> (12 + 9 * (level - 1)) & 0x1ff) * 8;
        for level in [4, 3, 2] {
            let here = table + (4 - level) * 0x1000;
            self.put(here + index(level), &[here + 0x1000 | above]);
        }
        self.put(table + 0x3000 + index(1), &[leaf]);
    }

    /// Puts descriptors into the queue and moves the tail, without a step.
    pub(crate) fn ring(&mut self, descriptors: &[[u64; 4]]) {
        for descriptor in descriptors {
            self.put(QUEUE + self.tail, descriptor);
            self.tail = (self.tail + 32) % 0x1000;
        }
        self.write(0x88, 8, self.tail);
    }

    /// Descriptors and a wait behind them; whether the wait completed, after all steps that can be done now.
    pub(crate) fn invalidate(&mut self, descriptors: &[[u64; 4]]) -> bool {
        self.waits += 1;
        let data = self.waits;
        let mut all = descriptors.to_vec();
        all.push(wait(data));
        self.ring(&all);
        let _left = self.unit.run();
        self.get(STATUS) & 0xffff_ffff == data
    }

    /// Attaches 00:`device`.0, backed by the host device of the same number.
    pub(crate) fn assign(&self, device: u64) -> DeviceId {
        let attachment = Attachment::Assigned(HostDevice(device));
        let id = self.unit.attach(source_id(device), attachment).unwrap();
        let _left = self.unit.run();
        id
    }

    /// An emulated device 00:`device`.0.
    pub(crate) fn emulate(&self, device: u64) -> DeviceId {
        self.unit.attach(source_id(device), Attachment::Emulated).unwrap()
    }

    /// Everything that the unit wants done.
    pub(crate) fn effects(&self) -> Vec<Effect> {
        std::iter::from_fn(|| self.unit.take_effect()).collect()
    }

    /// The data of the interrupts among the effects, which are taken.
    pub(crate) fn interrupts(&self) -> Vec<u32> {
        let data = |effect| match effect {
            Effect::Interrupt(message) => {
                assert_eq!(message.address, MESSAGE_ADDRESS);
                Some(message.data)
            }
            _ => None,
        };
        self.effects().into_iter().filter_map(data).collect()
    }

    pub(crate) fn is_idle(&self) -> bool {
        self.unit.run() == Step::Idle
    }
}

pub(crate) fn source_id(device: u64) -> SourceId {
    SourceId(u16::try_from(device << 3).unwrap())
}

pub(crate) fn pasid(number: u32) -> Pasid {
    Pasid::new(number).unwrap()
}

/// Where a request leads.
pub(crate) fn translate(handle: &DmaHandle, iova: u64, access: Access) -> Result<u64, DmaError> {
    handle.with_guard(|guard| guard.translate(Iova(iova), access).map(|found| found.address().0))
}

/// The reason code of the fault of a read.
pub(crate) fn fault_of(handle: &DmaHandle, iova: u64) -> u8 {
    match translate(handle, iova, Access::READ) {
        Err(DmaError::Fault(fault)) => fault.reason.code(),
        other => panic!("no fault: {other:?}"),
    }
}

/// Numbers that look random and are the same every time.
pub(crate) struct Numbers(pub(crate) u64);

impl Numbers {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    pub(crate) fn below(&mut self, end: u64) -> u64 {
        self.next() % end
    }

    pub(crate) fn of<T: Copy>(&mut self, pool: &[T]) -> T {
        pool[usize::try_from(self.below(pool.len() as u64)).unwrap()]
    }
}
