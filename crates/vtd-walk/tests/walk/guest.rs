//! Guest memory that keeps account of what a walk does to it, and capability sets.

use std::sync::Mutex;

use vtd_memory::{AccessError, GuestMemory, SparseMemory};
use vtd_spec::{Capabilities, Gpa};

/// What a guest does to its memory while a walk is under way, given the place that the walk is about to touch.
pub(crate) type Interference = Box<dyn FnMut(&SparseMemory, u64) + Send>;

/// Memory of which only the pages written exist.
pub(crate) struct Guest {
    memory: SparseMemory,
    /// Nothing can be exchanged.
    pub(crate) read_only: bool,
    reads: Mutex<Vec<u64>>,
    exchanges: Mutex<Vec<(u64, u64)>>,
    before_exchange: Mutex<Option<Interference>>,
    after_read: Mutex<Option<Interference>>,
}

impl Guest {
    pub(crate) fn new(qwords: &[(u64, u64)]) -> Self {
        let guest = Self {
            memory: SparseMemory::new(),
            read_only: false,
            reads: Mutex::default(),
            exchanges: Mutex::default(),
            before_exchange: Mutex::default(),
            after_read: Mutex::default(),
        };
        guest.write(qwords);
        guest
    }

    pub(crate) fn write(&self, qwords: &[(u64, u64)]) {
        for (place, value) in qwords {
            self.memory.write_u64(Gpa(*place), *value).unwrap();
        }
    }

    pub(crate) fn at(&self, place: u64) -> u64 {
        self.memory.load_u64(Gpa(place)).unwrap()
    }

    pub(crate) fn before_exchange(&self, interference: Interference) {
        *self.before_exchange.lock().unwrap() = Some(interference);
    }

    pub(crate) fn after_read(&self, interference: Interference) {
        *self.after_read.lock().unwrap() = Some(interference);
    }

    /// Where entries were read since the last time, in order.
    pub(crate) fn take_reads(&self) -> Vec<u64> {
        std::mem::take(&mut self.reads.lock().unwrap())
    }

    /// What was exchanged since the last time, and for which values, in order.
    pub(crate) fn take_exchanges(&self) -> Vec<(u64, u64)> {
        std::mem::take(&mut self.exchanges.lock().unwrap())
    }
}

impl GuestMemory for Guest {
    fn load_u64(&self, gpa: Gpa) -> Result<u64, AccessError> {
        let mut out = [0];
        self.load_qwords(gpa, &mut out).map(|()| out[0])
    }

    fn load_qwords(&self, gpa: Gpa, out: &mut [u64]) -> Result<(), AccessError> {
        self.reads.lock().unwrap().push(gpa.0);
        self.memory.load_qwords(gpa, out)?;
        if let Some(interfere) = self.after_read.lock().unwrap().as_mut() {
            interfere(&self.memory, gpa.0);
        }
        Ok(())
    }

    fn compare_exchange_u64(
        &self,
        gpa: Gpa,
        current: u64,
        new: u64,
    ) -> Result<Result<u64, u64>, AccessError> {
        if self.read_only {
            return Err(AccessError::not_backed(gpa, 8));
        }
        if let Some(interfere) = self.before_exchange.lock().unwrap().as_mut() {
            interfere(&self.memory, gpa.0);
        }
        let answer = self.memory.compare_exchange_u64(gpa, current, new)?;
        if answer.is_ok() {
            self.exchanges.lock().unwrap().push((gpa.0, new));
        }
        Ok(answer)
    }

    fn store_u32_release(&self, _: Gpa, _: u32) -> Result<(), AccessError> {
        panic!("a walk stores nothing")
    }

    fn store_qwords_release(&self, _: Gpa, _: &[u64]) -> Result<(), AccessError> {
        panic!("a walk stores nothing")
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
}

/// FRO 220, MGAW 48 bits, 39, 48 and 57-bit tables; no large pages, no FS5LP.
pub(crate) const FEWEST_CAP: u64 = 0x0000_0000_222f_0e86;
/// QI, PT, IRO f0, PSS 20 bits, SMTS, SSTS, FSTS and nothing that is an option of an entry.
pub(crate) const FEWEST_ECAP: u64 = 0x0000_c898_0000_0f42;
/// The same with SSLPS 2M and 1G, FS1GP and FS5LP.
pub(crate) const MOST_CAP: u64 = 0x1100_000c_222f_0e86;
/// The same with DT, SC, PRS, ERS, SRS, EAFS, PASID, SSADS, SMPWCS, RPS and RPRIVS; no NEST.
pub(crate) const MOST_ECAP: u64 = 0x0023_e99c_e000_0fc6;

pub(crate) fn caps(cap: u64, ecap: u64, host_address_width: u8) -> Capabilities {
    Capabilities::new(cap, ecap).unwrap().with_host_address_width(host_address_width).unwrap()
}

/// As few options as there can be, and 48-bit host addresses.
pub(crate) fn fewest() -> Capabilities {
    caps(FEWEST_CAP, FEWEST_ECAP, 48)
}

/// All options but nesting, and 52-bit host addresses.
pub(crate) fn most() -> Capabilities {
    caps(MOST_CAP, MOST_ECAP, 52)
}

/// The numbers of the bits of a mask.
pub(crate) fn bits(mask: u64) -> impl Iterator<Item = u32> {
    (0..64).filter(move |bit| mask >> bit & 1 == 1)
}
