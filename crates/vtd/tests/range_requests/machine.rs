//! A guest with a queue of any size, thousands of bindings, and memory that counts what is read.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use vtd::memory::{AccessError, GuestMemory, SparseMemory};
use vtd::spec::Gpa;

use crate::guest::calls::{Calls, Host, held_by, host};
use crate::guest::{self, Guest, QUEUE, STATUS, first_stage};

/// Where the large queues begin.
pub(crate) const LARGE_QUEUE: u64 = 0x80_0000;
/// PASIDs of each device: 15 tables of 64.
pub(crate) const PASIDS: u64 = 960;

/// Memory that counts reads, and remembers what waits wrote and how many entries had been read by then.
pub(crate) struct Counting {
    memory: Arc<SparseMemory>,
    reads: AtomicU64,
    entries: AtomicU64,
    statuses: Mutex<Vec<(u32, u64)>>,
}

impl Counting {
    /// All reads so far, of whatever.
    pub(crate) fn reads(&self) -> u64 {
        self.reads.load(Ordering::SeqCst)
    }

    /// Reads of PASID-table entries so far.
    pub(crate) fn entries(&self) -> u64 {
        self.entries.load(Ordering::SeqCst)
    }

    /// The data of the statuses written since the last time, each with the entries read before it.
    pub(crate) fn take_statuses(&self) -> Vec<(u32, u64)> {
        std::mem::take(&mut self.statuses.lock().unwrap())
    }
}

impl GuestMemory for Counting {
    fn load_u64(&self, gpa: Gpa) -> Result<u64, AccessError> {
        self.reads.fetch_add(1, Ordering::SeqCst);
        self.memory.load_u64(gpa)
    }

    fn load_qwords(&self, gpa: Gpa, out: &mut [u64]) -> Result<(), AccessError> {
        self.reads.fetch_add(1, Ordering::SeqCst);
        self.entries.fetch_add(out.len() as u64 / 8, Ordering::SeqCst);
        self.memory.load_qwords(gpa, out)
    }

    fn compare_exchange_u64(
        &self,
        gpa: Gpa,
        old: u64,
        new: u64,
    ) -> Result<Result<u64, u64>, AccessError> {
        self.memory.compare_exchange_u64(gpa, old, new)
    }

    fn store_u32_release(&self, gpa: Gpa, value: u32) -> Result<(), AccessError> {
        self.statuses.lock().unwrap().push((value, self.entries()));
        self.memory.store_u32_release(gpa, value)
    }

    fn store_qwords_release(&self, gpa: Gpa, values: &[u64]) -> Result<(), AccessError> {
        self.memory.store_qwords_release(gpa, values)
    }

    fn with_snapshot(&self, walk: &mut dyn FnMut(&dyn GuestMemory)) {
        walk(self);
    }
}

pub(crate) struct Machine {
    pub(crate) guest: Guest,
    pub(crate) memory: Arc<Counting>,
    pub(crate) host: Host,
    pub(crate) calls: Arc<Calls>,
    queue: u64,
    /// Bytes of the queue, and of a descriptor in it.
    size: u64,
    width: u64,
    tail: u64,
}

impl Machine {
    /// The devices 00:03.0 to 00:06.0 assigned, with bindings of `pasids` PASIDs each: PASID n of the domain 5 + n % 8. RID_PASID is 0.
    pub(crate) fn new(pasids: u64) -> Self {
        let memory = Arc::new(Counting {
            memory: Arc::new(SparseMemory::new()),
            reads: AtomicU64::new(0),
            entries: AtomicU64::new(0),
            statuses: Mutex::default(),
        });
        let (host, calls) = (host(), Arc::new(Calls::default()));
        let mut guest = Guest::made(guest::caps(), |config| {
            config.memory = Arc::clone(&memory) as _;
            config.host = Some(Arc::clone(&host) as _);
            config.observer = Some(Arc::clone(&calls) as _);
        });
        guest.memory = Arc::clone(&memory.memory);
        for page in [0x1000, 0x2000, 0x3000, QUEUE, STATUS] {
            guest.memory.fill_zero_page(Gpa(page));
        }
        guest.put(0x1000, &[0x2001, 0x3001]);
        for device in 3..7 {
            guest.put_context(device, 0);
            for table in 1..pasids.div_ceil(64) {
                let place = Guest::directory(device) + 0x1000 + table * 0x1000;
                guest.memory.fill_zero_page(Gpa(place));
                guest.put(Guest::directory(device) + table * 8, &[place | 1]);
            }
            for pasid in 0..pasids {
                guest.put_entry(device, pasid, &first_stage(0x100_0000, 5 + pasid % 8));
            }
        }
        guest.enable();
        for device in 3..7 {
            guest.assign(device);
        }
        calls.take();
        Self { guest, memory, host, calls, queue: QUEUE, size: 0x1000, width: 32, tail: 0 }
    }

    /// Another queue, of 2^`order` pages, with descriptors of 32 bytes or 16.
    pub(crate) fn requeue(&mut self, order: u64, width: u64) {
        self.guest.command(0x8000_0000);
        self.guest.write(0x88, 8, 0);
        self.guest.write(0x90, 8, LARGE_QUEUE | u64::from(width == 32) << 11 | order);
        self.guest.command(0x8400_0000);
        assert_eq!(self.guest.read(0x1c, 4), 0xc400_0000);
        (self.queue, self.size, self.width, self.tail) = (LARGE_QUEUE, 0x1000 << order, width, 0);
    }

    /// Puts descriptors behind the tail, and does not move that.
    pub(crate) fn put(&mut self, descriptors: &[[u64; 4]]) {
        for descriptor in descriptors {
            let words = usize::try_from(self.width / 8).unwrap();
            self.guest.put(self.queue + self.tail, &descriptor[..words]);
            self.tail = (self.tail + self.width) % self.size;
        }
    }

    /// Puts descriptors into the queue and moves the tail, without a step.
    pub(crate) fn ring(&mut self, descriptors: &[[u64; 4]]) {
        self.put(descriptors);
        self.move_tail(self.tail);
    }

    pub(crate) fn move_tail(&mut self, tail: u64) {
        self.tail = tail;
        self.guest.write(0x88, 8, tail);
    }

    /// What is held for a PASID of a device, or nothing.
    pub(crate) fn held(&self, device: u64, pasid: u64) -> String {
        let beginning = format!("{device} {pasid} ");
        let held = held_by(&self.host);
        held.into_iter().find(|text| text.starts_with(&beginning)).unwrap_or_default()
    }
}
