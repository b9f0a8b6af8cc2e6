//! How much memory a hostile guest can make the unit use. A test of its own, since the peak is that of the whole process.
#![cfg(test)]

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use vtd::host::{
    HostCapabilities, HostDevice, HostError, HostIommu, InvalidateError, StageOneInvalidation,
};
use vtd::memory::SparseMemory;
use vtd::spec::{Binding, Capabilities, Gpa, Slot, SourceId};
use vtd::{Attachment, RemappingUnit, Step, UnitConfig};

/// A host that holds everything and remembers nothing.
#[derive(Default)]
struct Bottomless(AtomicU64);

impl HostIommu for Bottomless {
    fn capabilities(&self, _: HostDevice) -> Result<HostCapabilities, HostError> {
        Ok(HostCapabilities::everything())
    }

    fn bind(&self, _: HostDevice, _: Slot, _: &Binding) -> Result<(), HostError> {
        self.0.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }

    fn replace(&self, _: HostDevice, _: Slot, _: &Binding) -> Result<(), HostError> {
        Ok(())
    }

    fn unbind(&self, _: HostDevice, _: Slot) -> Result<(), HostError> {
        Ok(())
    }

    fn invalidate(
        &self,
        _: HostDevice,
        _: Slot,
        _: &[StageOneInvalidation],
    ) -> Result<(), InvalidateError> {
        Ok(())
    }
}

// feature: 3.bounded work and memory, whatever the guest writes
/// 256 devices, each with 2^20 PASIDs, out of 35 pages: all contexts name one directory, all of whose 16,384 entries name one
/// table.
#[test]
fn a_directory_that_aliases_one_table() {
    let memory = Arc::new(SparseMemory::new());
    let put = |gpa, value| memory.write_u64(Gpa(gpa), value).unwrap();
    put(0x1000, 0x2001);
    put(0x1008, 0x3001);
    for devfn in 0..0x100 {
        // PDTS 7: 16,384 directory entries.
        put(0x2000 + devfn * 32, 0x10_0009 | 7 << 9);
    }
    for entry in 0..0x4000 {
        put(0x10_0000 + entry * 8, 0x5001);
    }
    for entry in 0..64 {
        put(0x5000 + entry * 64, 0x41);
        put(0x5008 + entry * 64, 5);
        put(0x5010 + entry * 64, 0x10_0000);
    }
    memory.fill_zero_page(Gpa(0x9000));
    // Two global invalidations, and a wait behind them.
    for (n, qword) in
        [0x37, 0, 0, 0, 0x11, 0, 0, 0, 0x1_0000_0025, 0x9000, 0, 0].into_iter().enumerate()
    {
        put(0x8000 + 8 * n as u64, qword);
    }
    let caps = Capabilities::new(0x81d2_008c_222f_0686, 0x0003_c998_0000_0f46).unwrap();
    let host = Arc::new(Bottomless::default());
    let mut config = UnitConfig::new(caps, Arc::clone(&memory) as _);
    config.host = Some(Arc::clone(&host) as _);
    let unit = RemappingUnit::new(config);
    for devfn in 0..0x100_u16 {
        let attachment = Attachment::Assigned(HostDevice(devfn.into()));
        unit.attach(SourceId(devfn), attachment).unwrap();
    }
    unit.write(0x90, 8, 0x8800);
    unit.write(0x20, 8, 0x1400);
    unit.write(0x18, 4, 0x4400_0000);
    unit.write(0x18, 4, 0x8400_0000);
    unit.write(0x88, 8, 0x60);
    assert_eq!(unit.run(), Step::Idle);
    let mut status = [0; 4];
    memory.read_bytes(Gpa(0x9000), &mut status).unwrap();
    assert_eq!(status, [1, 0, 0, 0]);
    let counts = unit.counts().ledger;
    // The quota of the unit, and slot Rid of every device.
    assert_eq!(counts.held, 65_536 + 256);
    assert!(host.0.load(Ordering::Relaxed) < 70_000);

    let peak = std::fs::read_to_string("/proc/self/status").ok().and_then(|status| {
        let line = status.lines().find(|line| line.starts_with("VmHWM:"))?;
        line.split_whitespace().nth(1)?.parse::<u64>().ok()
    });
    // Where there is no such file there is nothing to check.
    if let Some(kibibytes) = peak {
        assert!(kibibytes < 64 << 10, "{kibibytes} KiB");
    }
}
