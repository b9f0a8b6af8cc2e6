//! A guest's scalable-mode tables: root 1000, context table 2000, and for device n of source-id 8n a directory at
//! 100000 (n + 1) with a PASID table for each of its entries.

use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use vtd_cache::{Tables, Wanted};
use vtd_memory::{AccessError, GuestMemory, SparseMemory};
use vtd_spec::{Capabilities, Gpa};

/// What happens to memory after each read of a place.
pub(crate) type Interference = Box<dyn FnMut(&SparseMemory, u64) + Send>;

pub(crate) struct Guest {
    memory: SparseMemory,
    pub(crate) caps: Capabilities,
    reads: AtomicU64,
    after_read: Mutex<Option<Interference>>,
}

impl Guest {
    pub(crate) fn new() -> Self {
        // CM, 39 and 48-bit tables, FS5LP; QI, DT, PT, PRS, SRS, EAFS, PASID, SMTS, SSTS, FSTS and RPS
        let caps = Capabilities::new(0x1000_0000_222f_0686, 0x0002_c99c_a000_0f46).unwrap();
        let guest = Self {
            memory: SparseMemory::new(),
            caps,
            reads: AtomicU64::new(0),
            after_read: Mutex::default(),
        };
        guest.write(&[(0x1000, 0x2001)]);
        guest
    }

    pub(crate) fn write(&self, qwords: &[(u64, u64)]) {
        for (place, value) in qwords {
            self.memory.write_u64(Gpa(*place), *value).unwrap();
        }
    }

    /// The context entry of a device: PASIDE, PDTS as given, its own directory, and this RID_PASID.
    pub(crate) fn context(&self, device: u32, pdts: u64, rid_pasid: u64) {
        let place = 0x2000 + u64::from(device) * 8 * 32;
        let directory = 0x10_0000 * u64::from(device + 1);
        self.write(&[(place, directory | pdts << 9 | 9), (place + 8, rid_pasid)]);
    }

    pub(crate) fn place(device: u32, pasid: u32) -> u64 {
        let directory = 0x10_0000 * u64::from(device + 1);
        directory + 0x2_0000 + u64::from(pasid >> 6) * 0x1000 + u64::from(pasid & 63) * 64
    }

    /// An entry of a device's PASID tables, with the directory entry above it: qw0, domain, qw2.
    pub(crate) fn entry(&self, device: u32, pasid: u32, (low, domain, first): (u64, u64, u64)) {
        let place = Self::place(device, pasid);
        let directory = 0x10_0000 * u64::from(device + 1) + u64::from(pasid >> 6) * 8;
        self.write(&[(directory, place & !0xfff | 1)]);
        self.write(&[(place, low), (place + 8, domain), (place + 16, first)]);
    }

    pub(crate) fn wanted(&self) -> Wanted<'_> {
        Wanted::Scalable(self.tables())
    }

    pub(crate) fn tables(&self) -> Tables<'_> {
        Tables { memory: self, caps: &self.caps, root: Gpa(0x1000) }
    }

    /// What is in memory, to be looked at without being counted.
    pub(crate) fn contents(&self) -> &SparseMemory {
        &self.memory
    }

    /// How many reads there were since the last time.
    pub(crate) fn reads(&self) -> u64 {
        self.reads.swap(0, Ordering::Relaxed)
    }

    pub(crate) fn after_read(&self, interference: Interference) {
        *self.after_read.lock().unwrap() = Some(interference);
    }
}

impl GuestMemory for Guest {
    fn load_u64(&self, gpa: Gpa) -> Result<u64, AccessError> {
        let mut out = [0];
        self.load_qwords(gpa, &mut out).map(|()| out[0])
    }

    fn load_qwords(&self, gpa: Gpa, out: &mut [u64]) -> Result<(), AccessError> {
        self.reads.fetch_add(1, Ordering::Relaxed);
        self.memory.load_qwords(gpa, out)?;
        if let Some(interfere) = self.after_read.lock().unwrap().as_mut() {
            // Entry by entry, however many are read together.
            for place in (gpa.0..).step_by(64).take(out.len().div_ceil(8)) {
                interfere(&self.memory, place);
            }
        }
        Ok(())
    }

    fn compare_exchange_u64(
        &self,
        _: Gpa,
        _: u64,
        _: u64,
    ) -> Result<Result<u64, u64>, AccessError> {
        panic!("the ledger writes nothing")
    }

    fn store_u32_release(&self, _: Gpa, _: u32) -> Result<(), AccessError> {
        panic!("the ledger writes nothing")
    }

    fn store_qwords_release(&self, _: Gpa, _: &[u64]) -> Result<(), AccessError> {
        panic!("the ledger writes nothing")
    }

    fn with_snapshot(&self, walk: &mut dyn FnMut(&dyn GuestMemory)) {
        walk(self);
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
