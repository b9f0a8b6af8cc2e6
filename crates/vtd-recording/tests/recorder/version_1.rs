//! Recordings of version 1: what they have no line for is a note.

use std::sync::Arc;

use vtd::Access;
use vtd::spec::{Gpa, Iova, SourceId};

use crate::card::Card;
use crate::vmm::{DEVICE, with_queue};

#[test]
fn what_needs_version_2_is_a_note() {
    let vmm = with_queue();
    let note = |kind| {
        vec![
            format!("# note: version 1 of the format has nothing like \"{kind}\"")
                .chars()
                .take(50)
                .collect::<String>(),
        ]
    };
    let device = vmm.unit.attach_endpoint(DEVICE, Arc::new(Card::default())).unwrap();
    assert_eq!(vmm.output.news(), note("endpoint"));
    vmm.unit.expire_device_tlb(device).unwrap();
    assert_eq!(vmm.output.news(), note("device-tlb-timeout"));
    vmm.unit.dma(device, None).unwrap().with_guard(|guard| {
        let _blocked = guard.translated(Gpa(0x1000), Access::READ);
        assert_eq!(vmm.output.news(), note("translated"));
        let read = guard.translate(Iova(0x1000), Access::ZERO_LENGTH_READ);
        assert!(read.is_ok());
        assert_eq!(vmm.output.news()[1..], ["dma 00:03.0 - r 1000 1000 fff rw"]);
    });
    vmm.unit.renumber(device, SourceId(0x20)).unwrap();
    assert_eq!(vmm.output.news(), note("renumber"));
    let summary = vmm.unit.finish().unwrap();
    assert_eq!(summary.notes, 5);
}
