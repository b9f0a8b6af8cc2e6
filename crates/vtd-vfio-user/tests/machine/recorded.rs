//! A recorded machine: its recording replays.

use std::fs::File;
use std::io::BufReader;

use vtd_recording::replay::{Options, replay};

use crate::vmm::{Job, PAGE_REQUESTS, Vmm, WITH_PASID, config};

#[test]
fn the_recording_of_a_machine_replays() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("machine.rec");
    let mut machine = config(&folder);
    machine.recording = Some((Box::new(File::create(&path).unwrap()), Some("a test".into())));
    let mut vmm = Vmm::of(folder, machine);
    vmm.enable();
    let pasid = Job { pasid: 5, length: 0x1000, ..Job::default() };
    for (command, address) in [(1, 0), (2, 0x1000), (5, 0x2000), (6, 0x3000), (3, 0x4000)] {
        vmm.job(Job { command: command | WITH_PASID, address, ..pasid });
        vmm.job(Job { command, address, ..pasid });
    }
    vmm.map(6, 0);
    vmm.invalidate_page(6);
    vmm.start(Job { command: 6 | WITH_PASID | PAGE_REQUESTS, address: 0x6000, length: 8, ..pasid });
    vmm.until("a page is requested", |vmm| vmm.unit_register(0xc8) == 0x20);
    vmm.map(6, 7);
    vmm.invalidate(&[[0x19 | 0x28 << 16 | 5 << 32, 4]]);
    assert_eq!(vmm.finish(), 0);
    // The folder goes with the VMM.
    let (summary, _folder) = vmm.end_and_keep();
    let recording = summary.recording.unwrap().unwrap();
    assert_eq!(recording.notes, 0);
    let recorded = BufReader::new(File::open(&path).unwrap());
    let report = replay(recorded, &Options::default(), None).unwrap();
    assert_eq!(report.differences, []);
    assert!(report.inputs > 30, "{}", report.inputs);
}
