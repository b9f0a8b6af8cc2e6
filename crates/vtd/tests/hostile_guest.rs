//! A guest that means harm: nothing panics, and every step is bounded.
#![cfg(test)]

mod guest;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use guest::calls::host;
use guest::{CAP, ECAP, Guest, Numbers, QUEUE, STATUS, first_stage, source_id, translate};
use vtd::host::HostDevice;
use vtd::memory::{AccessError, GuestMemory, SparseMemory};
use vtd::spec::{Capabilities, Gpa, Iova};
use vtd::{
    Access, Attachment, Capacities, DEFAULT_BUDGET, Quotas, RemappingUnit, ResetKind, Step,
    TranslationRequest, UnitConfig,
};

/// Memory that gives something else at each read: what may stand there, or nearly so, or anything.
struct Noise {
    seed: AtomicU64,
    accesses: AtomicU64,
}

/// The first quadwords of descriptors.
const DESCRIPTORS: [u64; 14] = [
    0x11,
    0x31 | 0x18 << 32,
    0x12,
    0x22 | 5 << 16,
    0x32 | 5 << 16,
    0x26 | 5 << 16 | 1 << 32,
    0x36 | 5 << 16 | 1 << 32,
    0x07 | 5 << 16,
    0x17 | 5 << 16 | 1 << 32,
    0x37,
    0x03,
    0x15,
    0x25 | 1 << 32,
    0x45,
];

impl Noise {
    fn numbers(&self) -> Numbers {
        self.accesses.fetch_add(1, Ordering::Relaxed);
        let next = |seed| {
            let mut numbers = Numbers(seed);
            numbers.next();
            Some(numbers.0)
        };
        let seed = self.seed.fetch_update(Ordering::Relaxed, Ordering::Relaxed, next);
        Numbers(seed.unwrap())
    }

    fn fill(&self, gpa: Gpa, out: &mut [u64]) {
        let mut numbers = self.numbers();
        // Behind the queue, at pages of even number.
        let table = 0x10_0000 | numbers.below(0x40) << 13;
        let is_queue = (QUEUE..QUEUE + 0x8_0000).contains(&gpa.0);
        let likely = match out.len() {
            2 | 4 if is_queue => [numbers.of(&DESCRIPTORS), 0, 0],
            // A scalable context entry.
            4 => [table | 0x1009 | numbers.below(8) << 9, numbers.of(&[0, 1, 5]), 0],
            // A PASID-table entry.
            8 => {
                let low = numbers.of(&[0x41, 0x41, 0x109, 0x89 | table, 0xc9 | table, 0]);
                [low, numbers.below(7), table]
            }
            // A root or legacy context entry.
            2 => [table | numbers.of(&[1, 1, 9]), numbers.of(&[0, table | 1, 0x502]), 0],
            // The root table, or a PASID directory.
            _ if gpa.0 & 0x1000 != 0 => [table | numbers.of(&[1, 1, 1, 3, 0]), 0, 0],
            _ => [table | numbers.of(&[3, 7, 7, 7, 0x87, 0]), 0, 0],
        };
        out.fill(0);
        for (place, value) in out.iter_mut().zip(likely) {
            *place = value;
        }
        if numbers.below(12) == 0 {
            let n = usize::try_from(numbers.below(out.len() as u64)).unwrap();
            out[n] ^= numbers.of(&[1, 2, 1 << 5, 1 << 11, 1 << 52, numbers.0, !0]);
        }
    }
}

impl GuestMemory for Noise {
    fn load_u64(&self, gpa: Gpa) -> Result<u64, AccessError> {
        let mut out = [0];
        self.load_qwords(gpa, &mut out).map(|()| out[0])
    }

    fn load_qwords(&self, gpa: Gpa, out: &mut [u64]) -> Result<(), AccessError> {
        self.fill(gpa, out);
        if self.numbers().below(50) == 0 {
            return Err(AccessError::not_backed(gpa, out.len() * 8));
        }
        Ok(())
    }

    fn compare_exchange_u64(
        &self,
        _: Gpa,
        current: u64,
        _: u64,
    ) -> Result<Result<u64, u64>, AccessError> {
        let mut numbers = self.numbers();
        Ok(if numbers.below(4) == 0 { Err(numbers.next()) } else { Ok(current) })
    }

    fn store_u32_release(&self, gpa: Gpa, _: u32) -> Result<(), AccessError> {
        if self.numbers().below(8) == 0 { Err(AccessError::not_backed(gpa, 4)) } else { Ok(()) }
    }

    fn store_qwords_release(&self, _: Gpa, _: &[u64]) -> Result<(), AccessError> {
        Ok(())
    }

    fn with_snapshot(&self, walk: &mut dyn FnMut(&dyn GuestMemory)) {
        walk(self);
    }
}

/// A few quadwords for each unit of work: an entry of eight is read at most five times.
const ACCESSES_OF_A_BUDGET: u64 = DEFAULT_BUDGET as u64 * 50;

// feature: 3.bounded work and memory, whatever the guest writes
#[test]
fn random_accesses_over_random_memory() {
    let offsets = [
        0x18, 0x20, 0x28, 0x34, 0x38, 0x88, 0x90, 0x9c, 0xa0, 0xf0, 0xf8, 0x220, 0x228, 0x22c,
        0xe0, 0xc8,
    ];
    let values = [
        0x8400_0000,
        0xc400_0000,
        0x0400_0000,
        0x8000_0000,
        0x1400,
        0x1000,
        0x1c00,
        0x8800,
        0x8807,
        0x8007,
        0x20,
        0x1fe0,
        0x7_fff0,
        0,
        u64::MAX,
        0x10,
        1 << 63,
    ];
    let wide = ECAP | 1 << 3 | 1 << 26 | 1 << 29 | 1 << 31 | 1 << 34 | 1 << 45 | 1 << 52 | 1 << 53;
    for (seed, ecap) in [(1_u64, ECAP), (2, wide), (3, 0xf46), (4, wide)] {
        let memory = Arc::new(Noise {
            seed: AtomicU64::new(seed << 32 | 0x1234_5678),
            accesses: AtomicU64::new(0),
        });
        let machine = host();
        let failures = AtomicU64::new(seed);
        machine
            .fail_calls(move |_| failures.fetch_add(0x9e37, Ordering::Relaxed).is_multiple_of(5));
        let mut config = UnitConfig::new(
            Capabilities::new(CAP | 3 << 40, ecap).unwrap(),
            Arc::clone(&memory) as _,
        );
        config.host = Some(Arc::clone(&machine) as _);
        config.quotas = Quotas { per_device: 50, per_unit: 120, ..Quotas::default() };
        config.capacities =
            Capacities { contexts: 4, pasids: 8, translations: 16, interrupt_entries: 4 };
        let unit = RemappingUnit::new(config);
        let mut numbers = Numbers(seed + 100);
        let mut devices = Vec::new();
        let mut worst = 0;
        for _ in 0..12_000 {
            let before = memory.accesses.load(Ordering::Relaxed);
            match numbers.below(32) {
                0 => {
                    let device = 3 + numbers.below(5);
                    let attachment = match numbers.below(4) {
                        0 | 1 => Attachment::Emulated,
                        _ => Attachment::Assigned(HostDevice(device)),
                    };
                    devices.extend(unit.attach(source_id(device), attachment));
                }
                1 if !devices.is_empty() => {
                    let _gone = unit.release(devices.swap_remove(0));
                }
                2 if !devices.is_empty() => {
                    let _gone = unit.retry(numbers.of(&devices));
                }
                3 if numbers.below(30) == 0 => {
                    unit.reset(numbers.of(&[ResetKind::Warm, ResetKind::PowerOn]));
                }
                4..8 if !devices.is_empty() => {
                    let device = numbers.of(&devices);
                    let pasid = numbers.of(&[None, Some(1), Some(5), Some(0xf_ffff)]);
                    if let Ok(handle) = unit.dma(device, pasid.map(guest::pasid)) {
                        let iova = numbers.next() >> numbers.of(&[0, 8, 16, 28, 40]);
                        let access = numbers.of(&[
                            Access::READ,
                            Access::WRITE,
                            Access::READ.executing().with_privilege(),
                            Access::ZERO_LENGTH_READ,
                        ]);
                        handle.with_guard(|guard| {
                            let _any = guard.translate_range(
                                Iova(iova),
                                numbers.below(0x3000),
                                access,
                                |_| {},
                            );
                            let asked = numbers.of(&[
                                TranslationRequest::READ,
                                TranslationRequest::READ_WRITE.executing().with_privilege(),
                            ]);
                            let _any = guard.translation_request(Iova(iova), asked);
                            let _any = guard.translated(Gpa(iova), access);
                        });
                    }
                }
                8..14 => {
                    let budget = u32::try_from(numbers.below(50)).unwrap();
                    let _step = unit.step(budget);
                }
                14 => {
                    let _effects: Vec<_> = std::iter::from_fn(|| unit.take_effect()).collect();
                }
                15 => {
                    let _copy = unit.save().unwrap();
                    let _counts = unit.counts();
                }
                // What makes sense, now and then, so that more is reached.
                16 => {
                    unit.write(0x20, 8, numbers.of(&[0x1400, 0x1400, 0x1400, 0x1000, 0x1c00]));
                    unit.write(0x90, 8, QUEUE | numbers.of(&[0x800, 0x807, 7]));
                    unit.write(0x18, 4, 0x4400_0000);
                    unit.write(0x18, 4, 0x8400_0000);
                }
                17..21 => {
                    unit.write(0x34, 4, 0xff);
                    (0..4).for_each(|n| unit.write(0x22c + 16 * n, 4, 1 << 31));
                    unit.write(0x88, 8, numbers.below(0x80) * 32);
                }
                21..28 => {
                    unit.write(numbers.of(&offsets), numbers.of(&[4, 8]), numbers.of(&values));
                }
                _ => {
                    let (offset, size) =
                        (numbers.below(0x1010), numbers.of(&[0, 1, 2, 4, 4, 8, 8, 16]));
                    let value = numbers.next();
                    unit.write(offset, size, value);
                    let _any = unit.read(offset, size);
                }
            }
            worst = worst.max(memory.accesses.load(Ordering::Relaxed) - before);
        }
        assert!(worst < ACCESSES_OF_A_BUDGET, "{worst} accesses at once");
        let counts = unit.counts();
        if ecap & 1 << 43 != 0 {
            // It was not all refused at the door.
            let caches = counts.caches;
            assert!(caches.pasid_misses > 50 && caches.translation_misses > 10, "{caches:?}");
            assert!(counts.descriptors > 1000 && counts.queue_errors > 100, "{counts:?}");
            assert!(counts.host_calls > 200 && counts.faults_recorded > 100, "{counts:?}");
        }
        assert!(counts.ledger.held <= 120 + 5, "{counts:?}");
        // What is left comes to an end, whatever the memory says.
        machine.stop_failing();
        unit.reset(ResetKind::PowerOn);
        for device in devices {
            let _gone = unit.release(device);
        }
        assert_eq!(unit.run(), Step::Idle);
        let held = machine.inner().bindings().len();
        assert_eq!(held, unit.counts().ledger.held);
    }
}

// feature: 3.bounded work and memory, whatever the guest writes
#[test]
fn a_queue_that_never_ends_is_served_piece_by_piece() {
    let guest = Guest::new();
    let mut guest = guest;
    guest.enable();
    guest.command(0x8000_0000);
    // 32,768 descriptors of 128 bits: context cache, global.
    for place in 0..0x8000 {
        guest.put(0x10_0000 + place * 16, &[0x11, 0]);
    }
    guest.write(0x88, 8, 0);
    guest.write(0x90, 8, 0x10_0007);
    guest.command(0x8400_0000);
    let head = || guest.read(0x80, 8) / 16;
    guest.write(0x88, 8, 0x7_fff0);
    let most = u64::from(DEFAULT_BUDGET);
    assert!((1..=most).contains(&head()), "{}", head());
    // Each step does some of it and no more than its budget.
    let mut before = head();
    for budget in [1, 2, 3, 10, 100, 1000] {
        assert_eq!(guest.unit.step(budget), Step::More);
        assert!(head() - before <= u64::from(budget));
        before = head();
    }
    // A guest that moves the tail for ever keeps nobody: each write does a bounded amount.
    let mut done = guest.unit.counts().descriptors;
    for _ in 0..20 {
        let tail = (head() + 0x8000 - 1) % 0x8000;
        guest.write(0x88, 8, tail * 16);
        let now = guest.unit.counts().descriptors;
        assert!(now - done <= most);
        done = now;
    }
    assert!(guest.is_idle());
}

// feature: 3.bounded work and memory, whatever the guest writes
#[test]
fn tables_that_loop() {
    let pages = [0x1000_u64, 0x2000, 0x10_0000];
    // Flags of every kind of entry at once, in a page all of whose quadwords name itself.
    for flags in [0x1_u64, 0x3, 0x7, 0x9, 0x41, 0x43, 0x89, 0xc9, 0x109, 0x87, 0x67] {
        for page in pages {
            for root in [0x1000, 0x1400] {
                let guest = Guest::new();
                guest.put(page, &[page | flags; 512]);
                guest.put(0x1000, &[page | 1]);
                guest.unmask_events();
                guest.set_root(page | root & 0xc00);
                guest.command(0x8000_0000);
                let device = guest.emulate(3);
                for pasid in [None, Some(0), Some(7), Some(0xf_ffff)] {
                    let handle = guest.unit.dma(device, pasid.map(guest::pasid)).unwrap();
                    for iova in [0, 0x5000, 0xffff_ffff_f000, u64::MAX] {
                        let _any = translate(&handle, iova, Access::WRITE);
                    }
                }
            }
        }
    }
    // A first-stage table whose entries all name the table itself leads to itself, at every address.
    let mut guest = Guest::new();
    guest.enable();
    guest.put_context(3, 0);
    guest.put_entry(3, 1, &first_stage(0x10_0000, 5));
    guest.put(0x10_0000, &[0x10_0067; 512]);
    let device = guest.emulate(3);
    let handle = guest.unit.dma(device, Some(guest::pasid(1))).unwrap();
    for iova in [0, 0x1234, 0x7fff_ffff_fff8, 0xffff_ffff_ffff_ffff] {
        assert_eq!(translate(&handle, iova, Access::WRITE), Ok(0x10_0000 | iova & 0xfff));
    }
}

/// Memory whose entry of one place is different at each read.
struct Torn {
    memory: Arc<SparseMemory>,
    place: u64,
    reads: AtomicU64,
}

impl GuestMemory for Torn {
    fn load_u64(&self, gpa: Gpa) -> Result<u64, AccessError> {
        self.memory.load_u64(gpa)
    }

    fn load_qwords(&self, gpa: Gpa, out: &mut [u64]) -> Result<(), AccessError> {
        self.memory.load_qwords(gpa, out)?;
        // Several entries may be read together.
        let index =
            self.place.checked_sub(gpa.0).and_then(|bytes| usize::try_from(bytes / 8 + 2).ok());
        if let Some(table) = index.and_then(|index| out.get_mut(index)) {
            let reads = self.reads.fetch_add(1, Ordering::SeqCst);
            *table = 0x10_0000 + (reads << 12);
        }
        Ok(())
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
        self.memory.store_u32_release(gpa, value)
    }

    fn store_qwords_release(&self, gpa: Gpa, values: &[u64]) -> Result<(), AccessError> {
        self.memory.store_qwords_release(gpa, values)
    }

    fn with_snapshot(&self, walk: &mut dyn FnMut(&dyn GuestMemory)) {
        walk(self);
    }
}

#[test]
fn an_entry_that_never_stays_the_same_is_absent() {
    let machine = host();
    let memory = Arc::new(SparseMemory::new());
    let place = Guest::entry_place(3, 1);
    let torn = Arc::new(Torn { memory: Arc::clone(&memory), place, reads: AtomicU64::new(0) });
    let mut guest = Guest::made(guest::caps(), |config| {
        config.memory = Arc::clone(&torn) as _;
        config.host = Some(Arc::clone(&machine) as _);
    });
    guest.memory = memory;
    for page in [0x1000, 0x2000, QUEUE, STATUS] {
        guest.memory.fill_zero_page(Gpa(page));
    }
    guest.put(0x1000, &[0x2001, 0]);
    guest.enable();
    guest.put_context(3, 0);
    guest.put_entry(3, 1, &first_stage(0x10_0000, 5));
    guest.put_entry(3, 2, &first_stage(0x20_0000, 5));
    guest.assign(3);
    let slots: Vec<_> =
        machine.inner().bindings().iter().map(|(_, slot, _)| slot.to_string()).collect();
    assert_eq!(slots, ["2"]);
    assert!(torn.reads.load(Ordering::SeqCst) <= 5, "read at most four times more");
    assert!(guest.invalidate(&[guest::PASID_GLOBAL]));
}
