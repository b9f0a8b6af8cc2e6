//! A recording that ends early, and its header.

use std::io;
use std::sync::Arc;

use vtd::memory::SparseMemory;
use vtd::spec::{Capabilities, Gpa, Iova};
use vtd::{Access, Attachment, UnitConfig};
use vtd_recording::format::{FormatError, FormatVersion, Header};
use vtd_recording::recorder::{RecordedUnit, RecordingSummary};

use crate::output::{Full, Output};
use crate::vmm::{CAP, DEVICE, ECAP, events};

/// A queue, a wait and a request, recorded to `output`.
fn record_into(output: Full) -> Result<RecordingSummary, FormatError> {
    let caps = Capabilities::new(CAP, ECAP).unwrap();
    let memory = Arc::new(SparseMemory::new());
    for (gpa, value) in [(0x8000, 0x1_0000_0025), (0x8008, 0x9000), (0x9000, 0)] {
        memory.write_u64(Gpa(gpa), value).unwrap();
    }
    let unit = RecordedUnit::new(UnitConfig::new(caps, memory.clone()), None, output)?;
    unit.write(0x90, 8, 0x8800);
    unit.write(0x18, 4, 0x400_0000);
    unit.write(0x88, 8, 0x20);
    let mut status = [0];
    memory.read_bytes(Gpa(0x9000), &mut status).unwrap();
    assert_eq!(status, [1]);
    let device = unit.attach(DEVICE, Attachment::Emulated).unwrap();
    let dma = unit.dma(device, None).unwrap();
    let found =
        dma.with_guard(|guard| guard.translate(Iova(0x5123), Access::READ).unwrap().address());
    assert_eq!(found, Gpa(0x5123));
    assert_eq!(unit.read(0x80, 8), 0x20);
    let finished = unit.finish();
    // What ended the recording is told once, and the unit goes on.
    assert!(unit.finish().is_ok());
    assert_eq!(unit.read(0x80, 8), 0x20);
    finished
}

#[test]
fn an_output_that_fails_ends_the_recording_and_nothing_else() {
    let run = |left| {
        let output = Output::default();
        let finished = record_into(Full { output: output.clone(), left });
        (finished, output.text())
    };
    let (summary, whole) = run(usize::MAX);
    assert_eq!(summary.unwrap().events, events(&whole).1.len() as u64);
    for left in 0..whole.len() {
        let (error, text) = run(left);
        let (error, line) = (error.unwrap_err(), text.matches('\n').count() as u64 + 1);
        assert!(
            matches!(error, FormatError::Write { line: failed, .. } if failed == line),
            "{error:?}"
        );
        // Nothing was written behind the gap.
        assert!(text.len() == left && whole.starts_with(&text), "{text}");
    }
    let caps = Capabilities::new(CAP, ECAP).unwrap();
    let config = UnitConfig::new(caps, Arc::new(SparseMemory::new()));
    assert!(RecordedUnit::new(config, Some("two\nlines"), io::sink()).is_err());
}

#[test]
fn the_header_names_the_host_address_width_where_it_is_not_the_usual_one() {
    let usual = Capabilities::new(CAP, ECAP).unwrap();
    let unusual = usual.with_host_address_width(46).unwrap();
    for (caps, expected) in [(usual, None), (unusual, Some(46))] {
        let output = Output::default();
        let config = UnitConfig::new(caps, Arc::new(SparseMemory::new()));
        RecordedUnit::new(config, Some("Linux"), output.clone()).unwrap();
        let mut header = Header::new(CAP, ECAP, 0x10);
        header.format_version = FormatVersion::Two;
        (header.host_address_width, header.guest) = (expected, Some("Linux".into()));
        assert_eq!(events(&output.text()).0, header);
    }
}
