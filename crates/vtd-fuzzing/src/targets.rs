//! The fuzz targets: what each does with its bytes.
//!
//! `fuzz/` gives each a program of its own, with nothing of the others in it, the tests replay each one's kept corpus, and `cargo xtask fuzz` runs them by these names.

use arbitrary::{Arbitrary, Unstructured};

use crate::decoding::RawEntry;
use crate::program::RECORD;
use crate::whole_unit::Output;
use crate::{
    dmar_table, memory_image, page_walk, pasid_range_walk, reconciliation, recording_lines,
    state_restore, whole_unit,
};

/// A fuzz target.
#[derive(Clone, Copy, Debug)]
pub struct Target {
    /// Its name, which is that of its program and of its folder in the corpus.
    pub name: &'static str,
    /// What it does with an input: it panics where an oracle has found something.
    pub run: fn(&[u8]),
    /// The same, with a recording of the unit that it drives, if it drives one.
    pub record: Option<fn(&[u8], Output)>,
    /// How many bytes are an operation of it.
    pub width: usize,
}

impl Target {
    const fn of_width(self, width: usize) -> Self {
        Self { width, ..self }
    }
}

const fn target(name: &'static str, run: fn(&[u8])) -> Target {
    Target { name, run, record: None, width: RECORD }
}

const fn of_a_unit(name: &'static str, run: fn(&[u8]), record: fn(&[u8], Output)) -> Target {
    Target { name, run, record: Some(record), width: RECORD }
}

/// All of them.
pub const TARGETS: [Target; 10] = [
    target("decoders", decoders),
    target("pasid_range_walk", pasid_range_walk),
    target("page_walk", page_walk),
    of_a_unit("invalidation_queue", invalidation_queue, record_invalidation_queue),
    target("reconciliation", reconciliation).of_width(reconciliation::RECORD),
    of_a_unit("whole_unit", whole_unit, record_whole_unit),
    of_a_unit("page_requests", page_requests, record_page_requests),
    target("recording_parser", recording_parser),
    target("state_restore", state_restore).of_width(state_restore::RECORD),
    target("memory_image", memory_image),
];

/// Runs the target of this name, which is one of [`TARGETS`]; an unknown one does nothing.
pub fn run(name: &str, bytes: &[u8]) {
    if let Some(target) = TARGETS.iter().find(|target| target.name == name) {
        (target.run)(bytes);
    }
}

/// Bytes as entries and descriptors, and as a DMAR table.
pub fn decoders(bytes: &[u8]) {
    if let Ok(raw) = RawEntry::arbitrary(&mut Unstructured::new(bytes)) {
        raw.check();
    }
    dmar_table::check(bytes);
}

/// A walk of a device's PASID table.
pub fn pasid_range_walk(bytes: &[u8]) {
    pasid_range_walk::check(bytes);
}

/// A request, and the tables that translate it.
pub fn page_walk(bytes: &[u8]) {
    page_walk::check(bytes);
}

/// Raw descriptors.
pub fn invalidation_queue(bytes: &[u8]) {
    whole_unit::run_raw_queue(bytes);
}

/// Edits and invalidations of bindings.
pub fn reconciliation(bytes: &[u8]) {
    reconciliation::Program::from_bytes(bytes).run();
}

/// A program.
pub fn whole_unit(bytes: &[u8]) {
    whole_unit::run(bytes);
}

/// Page requests.
pub fn page_requests(bytes: &[u8]) {
    whole_unit::run_page_requests(bytes);
}

/// A recording.
pub fn recording_parser(bytes: &[u8]) {
    recording_lines::file(bytes);
}

/// A saved state.
pub fn state_restore(bytes: &[u8]) {
    state_restore::check(bytes);
}

/// Regions of memory, and a file.
pub fn memory_image(bytes: &[u8]) {
    memory_image::check(bytes);
}

fn record_invalidation_queue(bytes: &[u8], output: Output) {
    whole_unit::record_raw_queue(bytes, output);
}

fn record_page_requests(bytes: &[u8], output: Output) {
    whole_unit::record_page_requests(bytes, output);
}

fn record_whole_unit(bytes: &[u8], output: Output) {
    whole_unit::record(bytes, output);
}
