//! A guest with an interrupt remapping table, in raw integers, and what it hears of.
//!
//! The table is at A000 with 256 entries (S=7) unless a test says otherwise.

use std::sync::{Arc, Mutex};

use vtd::spec::{Capabilities, SourceId};
use vtd::{
    InterruptError, InterruptListener, InvalidatedInterruptEntries, Observer, RemappedInterrupt,
    UnitConfig,
};

use crate::guest::{CAP, ECAP, Guest};

/// IR, EIM, MHMV 15.
pub(crate) const ECAP_IR: u64 = ECAP | 1 << 3 | 1 << 4 | 0xf << 20;
pub(crate) const TABLE: u64 = 0xa000;
pub(crate) const REQUESTER: u16 = 0x0018;
/// GCMD and GSTS: IRE, SIRTP, CFI.
pub(crate) const IRE: u64 = 1 << 25;
pub(crate) const SIRTP: u64 = 1 << 24;
pub(crate) const CFI: u64 = 1 << 23;
/// What GCMD keeps: TE, QIE, IRE, CFI.
pub(crate) const KEPT: u64 = 0x8680_0000;

/// Type 4, global.
pub(crate) const INTERRUPTS_GLOBAL: [u64; 4] = [0x04, 0, 0, 0];

/// Type 4 for 2^`mask` entries from `index` on.
pub(crate) fn interrupts(index: u64, mask: u64) -> [u64; 4] {
    [0x14 | mask << 27 | index << 32, 0, 0, 0]
}

/// A remappable request of this index without SHV.
pub(crate) fn request(index: u64) -> u64 {
    0xfee0_0010 | (index & 0x7fff) << 5 | index >> 15 << 2
}

/// An entry for everyone: this vector to APIC 1 of 8 bits (EIME=0).
pub(crate) fn entry(vector: u64) -> [u64; 2] {
    [1 | vector << 16 | 1 << 40, 0]
}

pub(crate) fn off(change: impl FnOnce(&mut UnitConfig)) -> Guest {
    Guest::made(Capabilities::new(CAP, ECAP_IR).unwrap(), change)
}

/// Interrupts are remapped through the table, of which nothing is present; the queue is on.
pub(crate) fn on(change: impl FnOnce(&mut UnitConfig)) -> Guest {
    let mut guest = off(change);
    guest.put(TABLE, &[0; 512]);
    guest.enable_queue();
    set_table(&guest, TABLE | 7);
    command(&guest, IRE);
    assert_eq!(guest.read(0x1c, 4), 0x0700_0000);
    guest
}

/// IRTA and SIRTP.
pub(crate) fn set_table(guest: &Guest, value: u64) {
    guest.write(0xb8, 8, value);
    command(guest, SIRTP);
}

/// GCMD with what it keeps besides.
pub(crate) fn command(guest: &Guest, set: u64) {
    guest.command(set | guest.read(0x1c, 4) & KEPT);
}

pub(crate) fn put_entry(guest: &Guest, index: u64, entry: [u64; 2]) {
    guest.put(TABLE + index * 16, &entry);
}

pub(crate) fn remap(guest: &Guest, address: u64, data: u32) -> Result<(u64, u32), u8> {
    let answer = guest.unit.remap_interrupt(SourceId(REQUESTER), address, data);
    answer.map(|interrupt| (interrupt.message().address, interrupt.message().data)).map_err(code)
}

/// The vector that comes of a request for an index, or the code.
pub(crate) fn vector(guest: &Guest, index: u64) -> Result<u32, u8> {
    remap(guest, request(index), 0).map(|(_, data)| data & 0xff)
}

pub(crate) fn code(error: InterruptError) -> u8 {
    match error {
        InterruptError::Fault(fault) => fault.reason.code(),
        other => panic!("{other:?}"),
    }
}

/// What was heard, in order: `told all`, `told 10 4`, `wait 1`, `18 fee00010 0: fee01000 31`.
#[derive(Default)]
pub(crate) struct Log(Mutex<Vec<String>>);

impl Log {
    pub(crate) fn take(&self) -> Vec<String> {
        std::mem::take(&mut *self.0.lock().unwrap())
    }

    pub(crate) fn push(&self, line: String) {
        self.0.lock().unwrap().push(line);
    }
}

impl InterruptListener for Log {
    fn entries_invalidated(&self, entries: InvalidatedInterruptEntries) {
        self.push(format!("told {entries}"));
    }
}

impl Observer for Log {
    fn wait_completes(&self, wait: &vtd::spec::descriptor::Wait) {
        self.push(format!("wait {}", wait.status.unwrap().data));
    }

    fn interrupt_remapped(
        &self,
        source_id: SourceId,
        address: u64,
        data: u32,
        answer: &Result<RemappedInterrupt, InterruptError>,
    ) {
        let answer = match answer {
            Ok(interrupt) => {
                let message = interrupt.message();
                format!("{:x} {:x}", message.address, message.data)
            }
            Err(error) => error.to_string(),
        };
        self.push(format!("{source_id} {address:x} {data:x}: {answer}"));
    }

    fn interrupt_entries_invalidated(&self, entries: InvalidatedInterruptEntries) {
        self.push(format!("seen {entries}"));
    }
}

/// A guest and what its listener and its observer hear.
pub(crate) fn heard() -> (Guest, Arc<Log>) {
    let log = Arc::new(Log::default());
    let guest = on(|config| {
        config.interrupt_listener = Some(Arc::clone(&log) as _);
        config.observer = Some(Arc::clone(&log) as _);
    });
    log.take();
    (guest, log)
}
