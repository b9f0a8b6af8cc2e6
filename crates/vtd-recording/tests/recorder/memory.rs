//! When guest memory is written down.

use std::sync::Arc;

use vtd::UnitConfig;
use vtd::memory::{AccessError, GuestMemory, SparseMemory};
use vtd::spec::{Capabilities, Gpa};
use vtd_recording::format::Event;
use vtd_recording::recorder::RecordedUnit;

use crate::output::Output;
use crate::vmm::{CAP, ECAP, corpus, events, is_memory, queue_line, record, with_queue};

#[test]
fn memory_is_written_down_when_it_is_new() {
    let vmm = with_queue();
    let restart = || {
        vmm.unit.write(0x18, 4, 0);
        vmm.unit.write(0x88, 8, 0);
        vmm.unit.write(0x18, 4, 0x400_0000);
        vmm.output.news();
    };
    let first = ["write 88 8 20", "iommu-write 9000 01000000"];

    // The status page is named too, since a replay has to have it.
    vmm.unit.write(0x88, 8, 0x20);
    assert_eq!(vmm.output.news(), ["zero 9000", &queue_line(1), first[0], first[1]]);
    // The second wait lies in the same line.
    vmm.unit.write(0x88, 8, 0x40);
    assert_eq!(vmm.output.news(), ["write 88 8 40", "iommu-write 9000 02000000"]);

    restart();
    vmm.unit.write(0x88, 8, 0x20);
    assert_eq!(vmm.output.news(), first);

    restart();
    vmm.memory.write_u64(Gpa(0x8000), 0x7_0000_0025).unwrap();
    // Nobody reads this one.
    vmm.memory.write_u64(Gpa(0x8040), 5).unwrap();
    vmm.unit.write(0x88, 8, 0x20);
    assert_eq!(vmm.output.news(), [&queue_line(7), "write 88 8 20", "iommu-write 9000 07000000"]);
}

#[test]
fn what_the_unit_writes_is_not_memory_that_changed() {
    let (_, original) =
        corpus("vectors").into_iter().find(|(name, _)| name.contains("dirty")).unwrap();
    let (_, events) = events(&record(&original).0);
    let lines: Vec<String> = events.iter().map(Event::to_string).collect();
    let first = lines.iter().position(|line| line.starts_with("iommu-write 100000")).unwrap();
    assert!(is_memory(&events[first - 1]));
    assert!(!events[first..].iter().any(is_memory), "{lines:#?}");
}

#[test]
fn neighbouring_lines_of_memory_are_one_line() {
    let vmm = with_queue();
    for descriptor in 0..8 {
        // A PASID-cache invalidation of everything.
        vmm.memory.write_u64(Gpa(0x8000 + 0x20 * descriptor), 0x37).unwrap();
        vmm.memory.write_u64(Gpa(0x8008 + 0x20 * descriptor), 0).unwrap();
    }
    vmm.unit.write(0x88, 8, 0x100);
    let (_, events) = events(&vmm.output.text());
    let lengths: Vec<_> = events
        .iter()
        .filter_map(|event| match event {
            Event::Mem { gpa, bytes } => Some((*gpa, bytes.len())),
            _ => None,
        })
        .collect();
    assert_eq!(lengths, [(Gpa(0x8000), 0x100)]);
}

#[test]
fn memory_that_is_not_there_leaves_a_note() {
    let caps = Capabilities::new(CAP, ECAP).unwrap();
    let output = Output::default();
    let memory = Arc::new(SparseMemory::new());
    let config = UnitConfig::new(caps, memory.clone());
    let unit = RecordedUnit::new(config, None, output.clone()).unwrap();
    unit.write(0x90, 8, 0x8800);
    unit.write(0x18, 4, 0x400_0000);
    memory.write_u64(Gpa(0x8000), 0x1_0000_0025).unwrap();
    memory.write_u64(Gpa(0x8008), 0x9000).unwrap();
    output.news();
    unit.write(0x88, 8, 0x20);
    // Nothing was written, and nothing says that it was.
    let note = "# note: 9000 is not memory; a replay reads zeros t";
    assert_eq!(output.news(), [note, &queue_line(1), "write 88 8 20"]);
}

/// Memory that ends within a line.
struct Ending {
    memory: SparseMemory,
    end: u64,
}

impl Ending {
    fn check(&self, gpa: Gpa, bytes: usize) -> Result<(), AccessError> {
        let inside = gpa.0 + bytes as u64 <= self.end;
        if inside { Ok(()) } else { Err(AccessError::not_backed(gpa, bytes)) }
    }
}

impl GuestMemory for Ending {
    fn load_u64(&self, gpa: Gpa) -> Result<u64, AccessError> {
        self.check(gpa, 8)?;
        self.memory.load_u64(gpa)
    }

    fn load_qwords(&self, gpa: Gpa, out: &mut [u64]) -> Result<(), AccessError> {
        self.check(gpa, 8 * out.len())?;
        self.memory.load_qwords(gpa, out)
    }

    fn compare_exchange_u64(
        &self,
        gpa: Gpa,
        current: u64,
        new: u64,
    ) -> Result<Result<u64, u64>, AccessError> {
        self.check(gpa, 8)?;
        self.memory.compare_exchange_u64(gpa, current, new)
    }

    fn store_u32_release(&self, gpa: Gpa, value: u32) -> Result<(), AccessError> {
        self.check(gpa, 4)?;
        self.memory.store_u32_release(gpa, value)
    }

    fn store_qwords_release(&self, gpa: Gpa, values: &[u64]) -> Result<(), AccessError> {
        self.check(gpa, 8 * values.len())?;
        self.memory.store_qwords_release(gpa, values)
    }

    fn with_snapshot(&self, walk: &mut dyn FnMut(&dyn GuestMemory)) {
        walk(self);
    }
}

#[test]
fn memory_may_end_within_a_line() {
    let caps = Capabilities::new(CAP, ECAP).unwrap();
    let output = Output::default();
    let memory = SparseMemory::new();
    memory.write_u64(Gpa(0x8000), 0x1_0000_0025).unwrap();
    memory.write_u64(Gpa(0x8008), 0x7000).unwrap();
    memory.fill_zero_page(Gpa(0x7000));
    let config = UnitConfig::new(caps, Arc::new(Ending { memory, end: 0x8020 }));
    let unit = RecordedUnit::new(config, None, output.clone()).unwrap();
    unit.write(0x90, 8, 0x8800);
    unit.write(0x18, 4, 0x400_0000);
    output.news();
    unit.write(0x88, 8, 0x20);
    let line = queue_line(1).replace("90", "70");
    assert_eq!(output.news(), ["zero 7000", &line, "write 88 8 20", "iommu-write 7000 01000000"]);
}
