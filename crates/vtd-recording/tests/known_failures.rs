//! Known failures that a replay by the same unit does not show, since it fails alike: the audit does.
//!
//! `cargo xtask planted` plants them in the unit and expects these tests to fail.
#![cfg(test)]

use std::io::{self, Write};
use std::sync::{Arc, Mutex};

use vtd::memory::SparseMemory;
use vtd::spec::{Capabilities, Gpa, Iova, Pasid, SourceId};
use vtd::{Access, Attachment, UnitConfig};
use vtd_recording::recorder::{RecordedDma, RecordedUnit};
use vtd_recording::replay::{Options, UnknownPages, replay};

/// ESRTPS, MAMV 12, PSI, one fault record; SAGAW 39 and 48 bits.
const CAP: u64 = 0x818c_008c_222f_0606;
/// QI, PASID, SMTS, FSTS, SMPWCS and more.
const ECAP: u64 = 0x0003_e99a_a400_0f46;

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

/// A guest on a recorded unit, with PASID 5 of 00:03.0 on a first-stage table at 10_0000 that leads page 5000 to 777000. Another
/// table, at 11_0000, leads it to 999000.
struct Guest {
    memory: Arc<SparseMemory>,
    unit: RecordedUnit,
    dma: RecordedDma,
    output: Output,
    tail: u64,
}

impl Guest {
    fn new() -> Self {
        let memory = Arc::new(SparseMemory::zero_filled());
        let set = |place, value| memory.write_u64(Gpa(place), value).unwrap();
        for (place, value) in [
            (0x1000, 0x2001),
            (0x2300, 0x1_0009),
            (0x1_0000, 0x1_1001),
            (0x1_1140, 0x41),
            (0x1_1148, 7),
            (0x1_1150, 0x10_0000),
        ] {
            set(place, value);
        }
        for (table, frame) in [(0x10_0000, 0x77_7007), (0x11_0000, 0x99_9007)] {
            set(table, table + 0x1007);
            set(table + 0x1000, table + 0x2007);
            set(table + 0x2000, table + 0x3007);
            set(table + 0x3028, frame);
        }
        let output = Output::default();
        let config = UnitConfig::new(Capabilities::new(CAP, ECAP).unwrap(), memory.clone());
        let unit = RecordedUnit::new(config, None, output.clone()).unwrap();
        unit.write(0x20, 8, 0x1400);
        unit.write(0x90, 8, 0x8800);
        unit.write(0x18, 4, 0x4400_0000);
        unit.write(0x18, 4, 0x8400_0000);
        let device = unit.attach(SourceId(0x18), Attachment::Emulated).unwrap();
        let dma = unit.dma(device, Pasid::new(5)).unwrap();
        let guest = Self { memory, unit, dma, output, tail: 0 };
        assert_eq!(guest.unit.read(0x1c, 4), 0xc400_0000);
        guest
    }

    fn set(&self, place: u64, value: u64) {
        self.memory.write_u64(Gpa(place), value).unwrap();
    }

    fn use_page(&self) {
        self.dma.with_guard(|guard| {
            let _leads_somewhere = guard.translate(Iova(0x5123), Access::READ);
        });
    }

    /// Has something invalidated, and waits for it.
    fn flush(&mut self, [qw0, qw1]: [u64; 2]) {
        for word in [qw0, qw1, 0, 0, 0x1_0000_0025, 0x9000, 0, 0] {
            self.set(0x8000 + self.tail, word);
            self.tail += 8;
        }
        self.set(0x9000, 0);
        self.unit.write(0x88, 8, self.tail);
        let mut status = [0; 4];
        self.memory.read_bytes(Gpa(0x9000), &mut status).unwrap();
        assert_eq!(status, [1, 0, 0, 0]);
    }

    /// Whatever the unit did, a replay by the same unit finds nothing. The audit must not either.
    fn check(self) {
        assert_eq!(self.unit.finish().unwrap().notes, 0);
        let text = self.output.0.lock().unwrap();
        let mut options = Options::default();
        options.unknown_pages = UnknownPages::Error;
        let report = replay(text.as_slice(), &options, None).unwrap();
        assert_eq!(report.total().differ, 0, "{:#?}", report.differences);
        let audit = report.audit.unwrap();
        assert_eq!(audit.violations, 0, "used after an invalidation: {:#?}", audit.uses);
        assert!(audit.requests >= 2 && audit.invalidations >= 1, "{audit:?}");
    }
}

/// The context-cache descriptor alone has to drop PASID state: Linux sends nothing else where it takes a device away.
#[test]
fn known_failure_01_no_request_uses_a_pasid_entry_that_went_with_its_context() {
    for (place, value) in [(0x1_1148, 8), (0x1_1140, 0x40)] {
        let mut guest = Guest::new();
        guest.use_page();
        guest.set(0x1_1150, 0x11_0000);
        guest.set(place, value);
        // Still allowed.
        guest.use_page();
        // Type 1 for 00:03.0.
        guest.flush([0x31 | 0x18 << 32, 0]);
        guest.use_page();
        guest.check();
    }
}

/// Type 6 takes any AM.
#[test]
fn known_failure_04_no_request_uses_a_page_after_an_invalidation_of_any_size() {
    for mask in [0, 5, 31, 32, 33, 51, 52, 63] {
        let mut guest = Guest::new();
        guest.use_page();
        guest.set(0x10_3028, 0x99_9007);
        guest.use_page();
        guest.flush([0x36 | 7 << 16 | 5 << 32, mask]);
        guest.use_page();
        guest.check();
    }
}
