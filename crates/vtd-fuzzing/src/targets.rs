//! The fuzz targets: what each does with its bytes.
//!
//! `fuzz/` gives each its program, the tests replay each one's kept corpus, and `cargo xtask fuzz` runs them by these names.

use arbitrary::{Arbitrary, Unstructured};

use crate::decoding::RawEntry;
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
}

/// All of them.
pub const TARGETS: [Target; 10] = [
    Target { name: "decoders", run: decoders },
    Target { name: "pasid_range_walk", run: pasid_range_walk::check },
    Target { name: "page_walk", run: page_walk::check },
    Target { name: "invalidation_queue", run: invalidation_queue },
    Target { name: "reconciliation", run: reconciliation },
    Target { name: "whole_unit", run: whole_unit },
    Target { name: "page_requests", run: page_requests },
    Target { name: "recording_parser", run: recording_lines::file },
    Target { name: "state_restore", run: state_restore::check },
    Target { name: "memory_image", run: memory_image::check },
];

/// Runs the target of this name, which is one of [`TARGETS`]; an unknown one does nothing.
pub fn run(name: &str, bytes: &[u8]) {
    if let Some(target) = TARGETS.iter().find(|target| target.name == name) {
        (target.run)(bytes);
    }
}

/// Bytes as entries and descriptors, and as a DMAR table.
fn decoders(bytes: &[u8]) {
    if let Ok(raw) = RawEntry::arbitrary(&mut Unstructured::new(bytes)) {
        raw.check();
    }
    dmar_table::check(bytes);
}

fn invalidation_queue(bytes: &[u8]) {
    whole_unit::run_raw_queue(bytes);
}

fn reconciliation(bytes: &[u8]) {
    reconciliation::Program::from_bytes(bytes).run();
}

fn whole_unit(bytes: &[u8]) {
    whole_unit::run(bytes);
}

fn page_requests(bytes: &[u8]) {
    whole_unit::run_page_requests(bytes);
}
