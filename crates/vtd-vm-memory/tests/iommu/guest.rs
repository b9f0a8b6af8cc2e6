//! A tiny guest in rust-vmm's memory: tables, descriptors and registers in raw integers.
//!
//! Memory: 0 to 800000, in two regions. Root table 1000, contexts 2000, invalidation queue 8000 (256-bit descriptors), wait status 9000.
//! The device 00:03.0 has its PASID directory at 10000 and the PASID table behind it. Requests without PASID take the first-stage
//! table at 200000, those of PASID 1 the second-stage table at 210000; each has four pages, for addresses below 200000.

use vm_memory::{Bytes, GuestAddress, GuestMemoryMmap, IommuMemory};
use vtd::spec::{Capabilities, Pasid, SourceId};
use vtd::{Attachment, RemappingUnit, SharedDma, UnitConfig};
use vtd_vm_memory::{DmaIommu, VmMemory};

pub(crate) type Mmap = GuestMemoryMmap<()>;
/// Guest memory as the device sees it.
pub(crate) type DeviceMemory = IommuMemory<Mmap, DmaIommu<SharedDma>>;

/// CM, ZLR, MAMV 12, ESRTPS, one fault record at 220; SAGAW 39 and 48 bits, 2 MiB and 1 GiB pages.
const CAP: u64 = 0x81d2_008c_226f_0686;
/// QI, DT, PT, PASID (20 bits), SMTS, SSTS, FSTS, SMPWCS, RPS; IVA at F0.
const ECAP: u64 = 0x0003_c998_0000_0f46;

/// The tables of requests without PASID and of PASID 1.
pub(crate) const FIRST_STAGE: u64 = 0x20_0000;
pub(crate) const SECOND_STAGE: u64 = 0x21_0000;
/// Type 6 over all of PASID 0 in domain 5.
pub(crate) const RID_IOTLB: [u64; 4] = [0x5_0026, 0, 0, 0];

/// A guest and its unit.
pub(crate) struct Guest {
    pub(crate) map: Mmap,
    pub(crate) unit: RemappingUnit,
    tail: u64,
    waits: u64,
}

/// The map, with tables but for pages, and what a unit is made from.
pub(crate) fn machine() -> (Mmap, UnitConfig) {
    let regions = [(GuestAddress(0), 0x40_0000), (GuestAddress(0x40_0000), 0x40_0000)];
    let map = Mmap::from_ranges(&regions).unwrap();
    for (gpa, qwords) in [
        // Root, context (directory of 128 entries, PASIDE, RID_PASID 0) and directory entry.
        (0x1000, &[0x2001][..]),
        (0x2000 + 3 * 8 * 32, &[0x1_0009]),
        (0x1_0000, &[0x1_1001]),
        // PASID 0: first-stage, 4 levels, domain 5. PASID 1: second-stage, 48 bits, domain 6.
        (0x1_1000, &[0x41, 5, FIRST_STAGE]),
        (0x1_1040, &[SECOND_STAGE | 0x89, 6]),
    ] {
        put(&map, gpa, qwords);
    }
    let caps = Capabilities::new(CAP, ECAP).unwrap();
    let memory = VmMemory::new(std::sync::Arc::new(map.clone()));
    (map, UnitConfig::new(caps, std::sync::Arc::new(memory)))
}

/// Quadwords into memory, by the guest.
pub(crate) fn put(map: &Mmap, gpa: u64, qwords: &[u64]) {
    for (place, qword) in (gpa..).step_by(8).zip(qwords) {
        map.write_slice(&qword.to_le_bytes(), GuestAddress(place)).unwrap();
    }
}

/// A quadword of memory, as the guest sees it.
pub(crate) fn get(map: &Mmap, gpa: u64) -> u64 {
    let mut bytes = [0; 8];
    map.read_slice(&mut bytes, GuestAddress(gpa)).unwrap();
    u64::from_le_bytes(bytes)
}

/// Maps `iova`, a 4 KiB page below 200000, to `page` with these flags: 7 for a first-stage table is read and write for users; 1, 2 and 3
/// for a second-stage one are read, write, both.
pub(crate) fn map_page(map: &Mmap, table: u64, iova: u64, page: u64, flags: u64) {
    let index = |level: u64| (iova >> (12 + 9 * (level - 1)) & 0x1ff) * 8;
    for level in [4, 3, 2] {
        let here = table + (4 - level) * 0x1000;
        put(map, here + index(level), &[here + 0x1000 | 7]);
    }
    put(map, table + 0x3000 + index(1), &[page | flags]);
}

/// The last table of `map_page`: where the leaf of a page is.
pub(crate) fn leaf(table: u64, iova: u64) -> u64 {
    table + 0x3000 + (iova >> 12) * 8
}

impl Guest {
    /// Translation is off, as after power-on.
    pub(crate) fn new() -> Self {
        let (map, config) = machine();
        Self { map, unit: RemappingUnit::new(config), tail: 0, waits: 0 }
    }

    /// The queue and translation are on.
    pub(crate) fn enabled() -> Self {
        let guest = Self::new();
        for (offset, size, value) in [
            (0x88, 8, 0),
            (0x90, 8, 0x8800),
            (0x18, 4, 0x0400_0000),
            (0x20, 8, 0x1400),
            (0x18, 4, 0x4400_0000),
            (0x18, 4, 0x8400_0000),
        ] {
            guest.unit.write(offset, size, value);
            let _left = guest.unit.run();
        }
        assert_eq!(guest.unit.read(0x1c, 4), 0xc400_0000);
        guest
    }

    /// The DMA of 00:03.0.
    pub(crate) fn dma(&self, pasid: Option<u32>) -> SharedDma {
        let device = self
            .unit
            .devices()
            .first()
            .map(|view| view.id)
            .unwrap_or_else(|| self.unit.attach(SourceId(0x18), Attachment::Emulated).unwrap());
        self.unit.dma(device, pasid.map(|pasid| Pasid::new(pasid).unwrap())).unwrap().into()
    }

    /// Memory as 00:03.0 sees it.
    pub(crate) fn device_memory(&self, pasid: Option<u32>) -> DeviceMemory {
        IommuMemory::new(self.map.clone(), DmaIommu::new(self.dma(pasid)), true, ())
    }

    /// Queues a descriptor and a wait; what the wait will write.
    pub(crate) fn queue(&mut self, descriptor: [u64; 4]) -> u64 {
        self.waits += 1;
        for descriptor in [descriptor, [0x25 | self.waits << 32, 0x9000, 0, 0]] {
            put(&self.map, 0x8000 + self.tail, &descriptor);
            self.tail = (self.tail + 32) % 0x1000;
        }
        self.unit.write(0x88, 8, self.tail);
        self.waits
    }

    /// Whether a wait has completed, after all steps that can be done now.
    pub(crate) fn is_done(&self, wait: u64) -> bool {
        let _left = self.unit.run();
        get(&self.map, 0x9000) & 0xffff_ffff == wait
    }

    /// The reason code and page of the fault record, which is cleared.
    pub(crate) fn take_fault(&self) -> Option<(u64, u64)> {
        let high = self.unit.read(0x228, 8);
        let page = self.unit.read(0x220, 8);
        self.unit.write(0x22c, 4, 0x8000_0000);
        (high >> 63 == 1).then_some((high >> 32 & 0xff, page))
    }
}
