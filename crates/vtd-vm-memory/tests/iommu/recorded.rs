//! The same over a unit that is recorded.

use std::io::{self, Write};
use std::sync::{Arc, Mutex};

use vm_memory::{Bytes, GuestAddress, GuestMemory, IommuMemory, Permissions};
use vtd::Attachment;
use vtd::spec::SourceId;
use vtd_recording::recorder::RecordedUnit;
use vtd_vm_memory::{DmaIommu, GuardIommu};

use crate::guest::{FIRST_STAGE, get, machine, map_page, put};

/// What is written to it can be read.
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

impl Output {
    /// The requests, and what became of the wait.
    fn lines(&self) -> Vec<String> {
        let text = String::from_utf8(self.0.lock().unwrap().clone()).unwrap();
        let wanted = |line: &&str| {
            ["dma ", "write 88 ", "iommu-write 9000 "].iter().any(|start| line.starts_with(start))
        };
        text.lines().filter(wanted).map(String::from).collect()
    }
}

#[test]
fn a_recording_has_each_request_in_its_place() {
    let (map, config) = machine();
    map_page(&map, FIRST_STAGE, 0x5000, 0x30_0000, 7);
    map_page(&map, FIRST_STAGE, 0x6000, 0x30_4000, 7);
    let output = Output::default();
    let unit = RecordedUnit::new(config, None, output.clone()).unwrap();
    for (offset, size, value) in [
        (0x90, 8, 0x8800),
        (0x18, 4, 0x0400_0000),
        (0x20, 8, 0x1400),
        (0x18, 4, 0x4400_0000),
        (0x18, 4, 0x8400_0000),
    ] {
        unit.write(offset, size, value);
    }
    let device = unit.attach(SourceId(0x18), Attachment::Emulated).unwrap();
    let dma = unit.dma(device, None).unwrap();
    let memory = IommuMemory::new(map.clone(), DmaIommu::new(dma.clone()), true, ());
    memory.write_slice(&[1; 16], GuestAddress(0x5ff8)).unwrap();
    // One guard for two accesses, one of which fails.
    {
        let guard = dma.guard();
        let memory = IommuMemory::new(map.clone(), GuardIommu::new(&guard), true, ());
        memory.read_slice(&mut [0; 8], GuestAddress(0x6000)).unwrap();
        memory.read_slice(&mut [0; 8], GuestAddress(0x7000)).unwrap_err();
    }
    assert!(!memory.check_range(GuestAddress(0x7000), 1, Permissions::No));

    // Another thread's wait is carried out when the access is over.
    put(&map, 0x8000, &[0x5_0026, 0, 0, 0, 0x7_0000_0025, 0x9000, 0, 0]);
    std::thread::scope(|scope| {
        let slices = memory.get_slices(GuestAddress(0x6010), 8, Permissions::Write).unwrap();
        let unit = &unit;
        scope.spawn(move || unit.write(0x88, 8, 0x40));
        std::thread::sleep(std::time::Duration::from_millis(20));
        for slice in slices {
            slice.unwrap().write_slice(&[9; 8], 0).unwrap();
            assert_eq!(get(&map, 0x9000), 0);
        }
    });
    assert_eq!(get(&map, 0x9000), 7);
    assert_eq!(get(&map, 0x30_4010), 0x0909_0909_0909_0909);
    assert_eq!(unit.finish().unwrap().notes, 0);
    assert_eq!(
        output.lines(),
        [
            "dma 00:03.0 - w 5ff8 300000 fff rw",
            "dma 00:03.0 - w 6000 304000 fff rw",
            "dma 00:03.0 - r 6000 304000 fff rw",
            "dma 00:03.0 - r 7000 fault",
            "dma 00:03.0 - rz 7000 fault",
            "dma 00:03.0 - w 6010 304000 fff rw",
            "write 88 8 40",
            "iommu-write 9000 07000000",
        ]
    );
}
