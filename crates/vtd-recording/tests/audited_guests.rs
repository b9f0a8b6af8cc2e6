//! Guests that change their tables at will, recorded: whatever they have invalidated and whatever they leave out, the unit uses
//! nothing that they were told is invalid, and the audit blames it for nothing.
#![cfg(test)]

use std::io::{self, Write};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;

use vtd::memory::SparseMemory;
use vtd::spec::{Capabilities, Gpa, Iova, Pasid, SourceId};
use vtd::{Access, Attachment, ResetKind, TranslationRequest, UnitConfig};
use vtd_recording::audit::AuditReport;
use vtd_recording::recorder::{RecordedDma, RecordedUnit};
use vtd_recording::replay::{Options, replay};

/// MAMV 12, PSI, one fault record; SAGAW 39 and 48 bits, 2 MiB and 1 GiB pages. Bit 63 is ESRTPS.
const CAP: u64 = 0x018c_008c_222f_0606;
/// QI, DT, PT, NEST, PRS, SRS, NWFS, PASID, SMTS, SSADS, SSTS, FSTS, SMPWCS, RPS; IRO at f0.
const ECAP: u64 = 0x0003_e99a_a400_0f46;
/// How many guests there are that invalidate too little.
const SEEDS: u64 = 24;
const QUEUE: u64 = 0x8000;
const STATUS: u64 = 0x9000;
const DEVICES: [SourceId; 2] = [SourceId(0x18), SourceId(0x20)];

#[derive(Clone, Default)]
struct Output(Arc<Mutex<Vec<u8>>>);

impl Write for Output {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Numbers that look random and are the same every time (xorshift).
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, end: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) % end
    }

    fn one_of<T: Copy>(&mut self, values: &[T]) -> T {
        values[usize::try_from(self.below(values.len() as u64)).unwrap()]
    }

    fn chance(&mut self, percent: u64) -> bool {
        self.below(100) < percent
    }
}

/// A guest of a recorded unit.
struct Guest {
    memory: Arc<SparseMemory>,
    unit: RecordedUnit,
    output: Output,
    tail: u64,
    waits: u64,
}

impl Guest {
    fn new(cap: u64) -> Self {
        let memory = Arc::new(SparseMemory::zero_filled());
        let output = Output::default();
        let config = UnitConfig::new(Capabilities::new(cap, ECAP).unwrap(), memory.clone());
        let unit = RecordedUnit::new(config, None, output.clone()).unwrap();
        Self { memory, unit, output, tail: 0, waits: 0 }
    }

    fn set(&self, place: u64, value: u64) {
        self.memory.write_u64(Gpa(place), value).unwrap();
    }

    fn start(&mut self, root: u64) {
        self.tail = 0;
        self.unit.write(0x88, 8, 0);
        self.unit.write(0x20, 8, root);
        self.unit.write(0x90, 8, QUEUE | 0x800);
        self.unit.write(0x18, 4, 0x4400_0000);
        self.unit.write(0x18, 4, 0x8400_0000);
        let _status = self.unit.read(0x1c, 4);
    }

    fn queue(&mut self, [qw0, qw1]: [u64; 2]) {
        for (place, word) in (0..).step_by(8).zip([qw0, qw1, 0, 0]) {
            self.set(QUEUE + self.tail + place, word);
        }
        self.tail = (self.tail + 32) % 0x1000;
    }

    /// Has the unit go on, and waits for it by a status, by the interrupt's flag, or not at all.
    fn wait(&mut self, numbers: &mut Numbers) {
        self.waits += 1;
        match numbers.below(4) {
            0 => {
                self.queue([0x15, 0]);
                self.unit.write(0x9c, 4, 1);
                self.unit.write(0x88, 8, self.tail);
                let _done = self.unit.read(0x9c, 4);
            }
            1 => {
                self.unit.write(0x88, 8, self.tail);
            }
            _ => {
                self.queue([self.waits << 32 | 0x25, STATUS]);
                self.unit.write(0x88, 8, self.tail);
            }
        }
    }

    /// What the audit finds; a replay has to agree.
    fn end(self) -> AuditReport {
        assert_eq!(self.unit.finish().unwrap().notes, 0);
        let recorded = self.output.0.lock().unwrap();
        let report = replay(recorded.as_slice(), &Options::default(), None).unwrap();
        assert_eq!(report.total().differ, 0, "{:#?}", report.differences);
        report.audit.unwrap()
    }
}

/// Two of everything: root tables at 1000 and 2000, context tables, directories and PASID tables behind either, and first- and
/// second-stage tables of which every entry may lead into either.
fn change(guest: &Guest, numbers: &mut Numbers) {
    let set = |place, value| guest.set(place, value);
    let flags = [3, 7, 7, 7, 5, 0];
    match numbers.below(20) {
        0 => set(numbers.one_of(&[0x1000, 0x2000]), numbers.one_of(&[0x3001, 0x4001, 0x3001, 0])),
        1 | 2 => {
            let context = numbers.one_of(&[0x3300, 0x3400, 0x4300, 0x4400]);
            set(context, numbers.one_of(&[0x1_000d, 0x1_1009, 0x1_100d, 0x1_0005, 0]));
            set(context + 8, numbers.one_of(&[0, 0, 5, 6]));
        }
        3 => set(numbers.one_of(&[0x1_0000, 0x1_1000]), numbers.one_of(&[0x1_2001, 0x1_3001, 0])),
        4..=7 => {
            let entry = numbers.one_of(&[0x1_2000, 0x1_3000]) + 64 * numbers.one_of(&[0, 5, 6, 7]);
            let second = numbers.one_of(&[0x20_0000, 0x21_0000]) | 2 << 2;
            let first = numbers.one_of(&[0x10_0000, 0x11_0000]);
            let kind = numbers.one_of(&[1, 1, 2, 2, 3, 4]);
            let present = u64::from(!numbers.chance(20));
            set(entry, second | kind << 6 | present);
            set(entry + 8, numbers.one_of(&[7, 8]));
            set(entry + 16, first | numbers.below(2));
        }
        // Tables: the first three levels, then leaves.
        8..=10 => {
            let level = numbers.below(3) * 0x1000;
            let table = numbers.one_of(&[0x10_0000, 0x11_0000]) + level;
            set(table, numbers.one_of(&[0x10_1000, 0x11_1000]) + level | numbers.one_of(&flags));
        }
        11..=13 => {
            let level = numbers.below(3) * 0x1000;
            let table = numbers.one_of(&[0x20_0000, 0x21_0000]) + level;
            let rights = numbers.one_of(&[3, 3, 1, 2, 0]);
            set(table, numbers.one_of(&[0x20_1000, 0x21_1000]) + level | rights);
        }
        14 => {
            // Pages of 2 MiB, of both stages.
            let large = numbers.one_of(&[0x40_0000, 0x60_0000]) | 0x80;
            let (first, second) = ([0x10_2008, 0x11_2008], [0x20_2008, 0x21_2008]);
            match numbers.chance(50) {
                true => set(numbers.one_of(&first), large | numbers.one_of(&flags)),
                false => set(numbers.one_of(&second), large | 3),
            }
        }
        _ => {
            let page = 8 * numbers.below(8);
            let frame = 0x10_0000 + (numbers.below(0x180) << 12);
            match numbers.chance(50) {
                true => {
                    let table = numbers.one_of(&[0x10_3000, 0x11_3000]);
                    set(table + page, frame | numbers.one_of(&flags));
                }
                false => {
                    let table = numbers.one_of(&[0x20_3000, 0x21_3000]);
                    set(table + page, frame | numbers.one_of(&[3, 3, 1, 2, 0]));
                }
            }
        }
    }
}

fn invalidation(numbers: &mut Numbers) -> [u64; 2] {
    let domain = numbers.one_of(&[7, 8, 0]) << 16;
    let pasid = numbers.one_of(&[0, 5, 6, 7]) << 32;
    let source_id = u64::from(numbers.one_of(&DEVICES).0);
    let mask = numbers.one_of(&[0, 0, 1, 2, 9]);
    let pages = numbers.below(8) << 12 | numbers.below(2) << 21 | mask;
    match numbers.below(13) {
        0 => [0x11, 0],
        1 => [0x21 | domain, 0],
        2 | 3 => [0x31 | domain | source_id << 32 | numbers.below(4) << 48, 0],
        4 => [0x12, 0],
        5 => [0x22 | domain, 0],
        6 => [0x32 | domain, pages],
        7 => [0x26 | domain | pasid, 0],
        8 => [0x36 | domain | pasid, pages],
        9 => [0x07 | domain, 0],
        10 => [0x17 | domain | pasid, 0],
        11 => [0x37, 0],
        _ => match numbers.below(3) {
            0 => [0x3 | source_id << 32, 0x7fff_ffff_ffff_f001],
            1 => [0x8 | source_id << 16 | pasid, numbers.below(8) << 12],
            _ => [0x8 | source_id << 16, 0x7fff_ffff_ffff_f801],
        },
    }
}

fn request(dma: &RecordedDma, numbers: &mut Numbers) {
    let iova = Iova(numbers.below(8) << 12 | numbers.below(2) << 21 | 0x123);
    let mut access = numbers.one_of(&[Access::READ, Access::READ, Access::WRITE]);
    access.privileged = numbers.chance(20);
    let is_kept = numbers.chance(20);
    dma.with_guard(|guard| {
        if is_kept {
            let asked = numbers.one_of(&[TranslationRequest::READ, TranslationRequest::READ_WRITE]);
            let _completion = guard.translation_request(iova, asked);
        } else {
            let _found = guard.translate(iova, access);
        }
    });
}

#[test]
fn guests_that_invalidate_too_little() {
    let (mut requests, mut stale) = (0, 0);
    for seed in 1..=SEEDS {
        let numbers = &mut Numbers(0x9e37_79b9_7f4a_7c15_u64.wrapping_mul(seed));
        let mut guest = Guest::new(CAP | (seed & 1) << 63);
        for _ in 0..400 {
            change(&guest, numbers);
        }
        guest.start(0x1400);
        let mut dmas = Vec::new();
        for source_id in DEVICES {
            let device = guest.unit.attach(source_id, Attachment::Emulated).unwrap();
            for pasid in [None, Some(5), Some(6), Some(7)] {
                let pasid = pasid.and_then(Pasid::new);
                dmas.push(guest.unit.dma(device, pasid).unwrap());
            }
        }
        for _ in 0..1_500 {
            match numbers.below(1_000) {
                0..200 => change(&guest, numbers),
                200..300 => {
                    for _ in 0..=numbers.below(3) {
                        let descriptor = invalidation(numbers);
                        guest.queue(descriptor);
                    }
                    guest.wait(numbers);
                }
                300..304 => {
                    let root = numbers.one_of(&[0x1400, 0x2400, 0x1400, 0x1c00]);
                    guest.unit.write(0x20, 8, root);
                    guest.unit.write(0x18, 4, 0xc400_0000);
                }
                304..308 => {
                    guest.unit.write(
                        0x18,
                        4,
                        numbers.one_of(&[0x8400_0000, 0x8400_0000, 0x400_0000]),
                    );
                }
                308..316 => {
                    let _status = guest.unit.read(0x1c, 4);
                }
                316 => {
                    guest.unit.reset(ResetKind::PowerOn);
                    guest.start(0x1400);
                }
                _ => {
                    let at = numbers.below(dmas.len() as u64);
                    request(&dmas[usize::try_from(at).unwrap()], numbers);
                }
            }
        }
        let report = guest.end();
        assert_eq!(report.violations, 0, "seed {seed}: {:#?}", report.uses);
        requests += report.requests;
        stale += report.stale;
    }
    assert!(requests > 1_500 && stale > 100, "{requests} requests, {stale} stale");
}

/// The guest maps and unmaps on one thread while devices use its pages on others.
#[test]
fn guests_whose_devices_do_not_wait() {
    let mut guest = Guest::new(CAP);
    for (place, value) in [
        (0x1000, 0x3001),
        (0x3300, 0x1_000d),
        (0x3400, 0x1_000d),
        (0x1_0000, 0x1_2001),
        (0x1_2140, 0x41),
        (0x1_2148, 7),
        (0x1_2150, 0x10_0000),
        (0x10_0000, 0x10_1007),
        (0x10_1000, 0x10_2007),
        (0x10_2000, 0x10_3007),
    ] {
        guest.set(place, value);
    }
    guest.start(0x1400);
    let unit = guest.unit.clone();
    let is_over = AtomicBool::new(false);
    let made = AtomicU64::new(0);
    thread::scope(|scope| {
        for source_id in DEVICES {
            let device = unit.attach(source_id, Attachment::Emulated).unwrap();
            let dma = unit.dma(device, Pasid::new(5)).unwrap();
            let (is_over, made) = (&is_over, &made);
            scope.spawn(move || {
                let mut numbers = Numbers(u64::from(source_id.0));
                while !is_over.load(Ordering::Relaxed) {
                    let iova = Iova(numbers.below(8) << 12);
                    let access = numbers.one_of(&[Access::READ, Access::WRITE]);
                    dma.with_guard(|guard| {
                        let _found = guard.translate(iova, access);
                    });
                    made.fetch_add(1, Ordering::Relaxed);
                    thread::yield_now();
                }
            });
        }
        let mut numbers = Numbers(99);
        let mut table = 0x10_3000;
        for n in 0..3_000 {
            let page = numbers.below(8);
            let place = table + 8 * page;
            // Both sides get their turns, in any order.
            while made.load(Ordering::Relaxed) < n {
                thread::yield_now();
            }
            match numbers.below(8) {
                // A table that moves as a whole, and is used for something else once the guest knows that nobody reads it.
                0 => {
                    let new = 0x10_3000 + 0x11_3000 - table;
                    for page in 0..8 {
                        guest.set(new + 8 * page, 0x77_0007 + (numbers.below(64) << 12));
                    }
                    guest.set(0x10_2000, new | 7);
                    guest.queue([0x26 | 7 << 16 | 5 << 32, 0]);
                    guest.queue([(n + 1) << 32 | 0x25, STATUS]);
                    guest.unit.write(0x88, 8, guest.tail);
                    for page in 0..8 {
                        guest.set(table + 8 * page, 0xdead_0007);
                    }
                    table = new;
                }
                1..4 => guest.set(place, 0x77_0007 + (numbers.below(64) << 12)),
                lazily => {
                    guest.set(place, 0);
                    if lazily > 5 {
                        guest.queue([0x36 | 7 << 16 | 5 << 32, page << 12]);
                        guest.queue([(n + 1) << 32 | 0x25, STATUS]);
                        guest.unit.write(0x88, 8, guest.tail);
                    }
                }
            }
        }
        is_over.store(true, Ordering::Relaxed);
    });
    let report = guest.end();
    assert_eq!(report.violations, 0, "{:#?}", report.uses);
    assert!(report.requests > 1_000 && report.stale > 0, "{report:#?}");
}
