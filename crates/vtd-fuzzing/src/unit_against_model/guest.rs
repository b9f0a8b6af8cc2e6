//! The guest and the devices of a program, around a recorded unit.

use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Mutex, PoisonError};

use vtd::{DeviceId, UnitConfig};
use vtd_memory::SparseMemory;
use vtd_recording::format::{Event, FormatVersion, Reader};
use vtd_recording::recorder::RecordedUnit;
use vtd_spec::{Capabilities, Gpa};

use super::pools::{DEVICES, INTERRUPTS, PASIDS, input_address, pick};
use crate::recording_oracle::{Oracle, Report};

/// Second stages of every width, 2 MiB and 1 GiB pages, ZLR, PSI, MAMV 18, FS1GP, FS5LP, PLMR, PHMR, CM, eight fault records
/// at 200, ESRTPS; MGAW 46 bits.
const CAP: u64 = 0x9112_078c_206d_0ee6;
/// IOTLB registers at 500, PSS 19, MHMV f.
const ECAP: u64 = 0x0033_ef9e_e4f0_50df;
/// Bits of the two that a program leaves out.
const OPTIONAL_CAP: [u64; 6] = [1 << 22, 1 << 34, 1 << 35, 1 << 56, 1 << 60, 1 << 63];
const OPTIONAL_ECAP: [u64; 10] =
    [1 << 30, 1 << 31, 1 << 33, 1 << 34, 1 << 45, 1 << 48, 1 << 49, 1 << 53, 1 << 7, 1 << 4];

const QUEUE: u64 = 0x8000;
const STATUS: u64 = 0x9000;
const PAGE_REQUESTS: u64 = 0xa000;
#[derive(Clone, Default)]
struct Output(Arc<Mutex<Vec<u8>>>);

impl io::Write for Output {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Output {
    fn take(&self) -> Vec<u8> {
        std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// A guest, its devices, and the oracle that judges what the unit does for them.
pub(super) struct Guest {
    memory: Arc<SparseMemory>,
    pub(super) unit: RecordedUnit,
    output: Output,
    header: Vec<u8>,
    oracle: Oracle,
    pub(super) devices: BTreeMap<u16, DeviceId>,
    pub(super) root: u64,
    pub(super) command: u64,
    tail: u64,
    waits: u64,
    wide: bool,
    records: u64,
}

impl Guest {
    #[allow(clippy::expect_used, reason = "a configuration that is always good")]
    pub(super) fn new(setup: &[u8]) -> Self {
        let mut raw = [0; 8];
        for (place, byte) in raw.iter_mut().zip(setup) {
            *place = *byte;
        }
        let [mode, cap_bits, ecap_bits, ecap_more, ..] = raw;
        let without = |all: u64, optional: &[u64], bits: u32| {
            (0..).zip(optional).fold(
                all,
                |all, (at, bit)| {
                    if bits >> at & 1 == 1 { all & !bit } else { all }
                },
            )
        };
        let cap = without(CAP, &OPTIONAL_CAP, cap_bits.into());
        let ecap = without(
            ECAP,
            &OPTIONAL_ECAP,
            u32::from(ecap_bits) & u32::from(ecap_more) | u32::from(ecap_more & 3) << 8,
        );
        let caps = Capabilities::new(cap, ecap).expect("good capabilities");
        let memory = Arc::new(SparseMemory::zero_filled());
        let config = UnitConfig::new(caps, memory.clone());
        let output = Output::default();
        let unit = RecordedUnit::in_version(FormatVersion::Two, config, None, output.clone())
            .expect("a header");
        let header = output.take();
        let mut strict =
            Reader::new(header.as_slice()).expect("a header that can be read").header().clone();
        strict.strict = true;
        let records = strict.cap >> 40 & 0xff;
        let mut guest = Self {
            memory,
            unit,
            output,
            oracle: Oracle::new(&strict),
            header,
            devices: BTreeMap::new(),
            root: if mode & 3 == 0 { 0x1000 } else { 0x1400 },
            command: 0,
            tail: 0,
            waits: 0,
            wide: mode & 4 == 0 || mode & 3 != 0,
            records,
        };
        guest.tables();
        guest.start();
        guest
    }

    pub(super) fn differences(&self) -> &[(u64, String)] {
        self.oracle.differences()
    }

    pub(super) fn describe(&self) -> String {
        String::from_utf8_lossy(&self.header).into_owned()
    }

    pub(super) fn finish(self) -> Report {
        self.oracle.finish()
    }

    fn start(&mut self) {
        let queue = QUEUE | if self.wide { 0x800 } else { 0 };
        for (offset, value) in [
            (0x90, queue),
            (0xd0, PAGE_REQUESTS),
            (0xc0, 0x60),
            (0xb8, INTERRUPTS | 1 << 11 | 4),
            (0x20, self.root),
        ] {
            self.write(offset, 8, value);
        }
        for bits in [1 << 26, 1 << 24, 1 << 25, 1 << 30, 1 << 31] {
            self.gcmd(bits);
        }
    }

    pub(super) fn gcmd(&mut self, bits: u64) {
        const ONE_SHOT: u64 = 1 << 30 | 1 << 24;
        self.write(0x18, 4, self.command | bits);
        self.command |= bits & !ONE_SHOT;
    }

    pub(super) fn write(&mut self, offset: u64, size: u8, value: u64) {
        self.unit.write(offset, size, value);
        self.settle();
    }

    pub(super) fn read(&mut self, offset: u64, size: u8) -> u64 {
        let value = self.unit.read(offset, size);
        self.settle();
        value
    }

    /// Feeds what the recorder has written to the oracle. Memory it was told of when it changed.
    #[allow(clippy::expect_used, reason = "the recorder writes what the reader reads")]
    pub(super) fn settle(&mut self) {
        while self.unit.take_effect().is_some() {}
        let mut text = self.header.clone();
        text.extend(self.output.take());
        for item in Reader::new(text.as_slice()).expect("a header") {
            let (_, event) = item.expect("a line");
            if !matches!(event, Event::Mem { .. } | Event::Zero { .. }) {
                self.oracle.take(&event);
            }
        }
    }

    /// Writes qwords within one 64-byte line, at once.
    #[allow(clippy::expect_used, reason = "all memory is there")]
    pub(super) fn set(&mut self, address: u64, qwords: &[u64]) {
        for (at, qword) in (address..).step_by(8).zip(qwords) {
            self.memory.write_u64(Gpa(at), *qword).expect("memory");
        }
        let mut line = [0; 64];
        self.memory.read_bytes(Gpa(address & !63), &mut line).expect("memory");
        self.oracle.take(&Event::Mem { gpa: Gpa(address & !63), bytes: line.to_vec() });
    }

    /// Queues descriptors with a wait behind them, and puts things right where the queue stops.
    pub(super) fn queue(&mut self, first: u64, second: u64) {
        self.waits += 1;
        let size: u64 = if self.wide { 32 } else { 16 };
        for [first, second] in [[first, second], [self.waits << 32 | 0x25, STATUS]] {
            self.put(self.tail, first, second);
            self.tail = (self.tail + size) % 0x1000;
        }
        self.write(0x88, 8, self.tail);
        let _ = self.read(0x80, 8);
        let _ = self.read(0xb0, 8);
        if self.read(0x34, 4) & 0x10 != 0 {
            // A wait that only fences in its place.
            self.put((self.tail + 0x1000 - 2 * size) % 0x1000, 0x45, 0);
            self.write(0x34, 4, 0x10);
            let _ = self.read(0x80, 8);
        }
    }

    /// The domain of an entry of the first PASID table.
    #[allow(clippy::expect_used, reason = "all memory is there")]
    pub(super) fn domain(&self, pasid: u64) -> u64 {
        let mut domain = [0; 2];
        self.memory.read_bytes(Gpa(0x1_1008 + 64 * pasid), &mut domain).expect("memory");
        u16::from_le_bytes(domain).into()
    }

    /// A tail where no descriptor can end, and the right one again.
    pub(super) fn odd_tail(&mut self, tail: u64) {
        self.write(0x88, 8, tail);
        for (offset, size) in [(0x80, 8), (0xb0, 8), (0x34, 4)] {
            let _ = self.read(offset, size);
        }
        self.write(0x88, 8, self.tail);
        self.write(0x34, 4, 0x10);
        let _ = self.read(0x80, 8);
    }

    /// The queue goes off and on. While it is on, its address is what it was.
    pub(super) fn restart_queue(&mut self, queue: u64) {
        self.write(0x90, 8, queue);
        self.queue(0x11, 0);
        self.write(0x90, 8, QUEUE | if self.wide { 0x800 } else { 0 });
        self.command &= !(1 << 26);
        self.gcmd(0);
        self.tail = 0;
        let _ = self.read(0x1c, 4);
        let _ = self.read(0x80, 8);
        self.write(0x88, 8, 0);
        self.gcmd(1 << 26);
        let _ = self.read(0x1c, 4);
    }

    fn put(&mut self, at: u64, first: u64, second: u64) {
        if self.wide {
            self.set(QUEUE + at, &[first, second, 0, 0]);
        } else {
            self.set(QUEUE + at, &[first, second]);
        }
    }

    pub(super) fn descriptor(
        &mut self,
        [kind, granularity, domain, pasid, device, am, address]: [u8; 7],
    ) {
        let domain = (5 + u64::from(domain & 3)) << 16;
        let pasid = u64::from(pick(PASIDS, pasid).unwrap_or(0)) << 32;
        let source_id = u64::from(pick(DEVICES, device));
        let (kind_of, granularity) = (granularity, u64::from(granularity));
        let am = if am & 0xe0 == 0xe0 { u64::from(am & 0x3f) } else { u64::from(am & 0xf) };
        let page = input_address([address & 3, 0, address >> 2 & 3, address >> 4 & 3]) & !0xfff;
        let pages = page | am | u64::from(address & 0xc0 == 0xc0) << 6;
        let (first, second) = match kind & 7 {
            0 => (
                1 | (1 + granularity % 3) << 4
                    | domain
                    | source_id << 32
                    | (granularity >> 4 & 3) << 48,
                0,
            ),
            1 => (2 | (1 + granularity % 3) << 4 | domain, pages),
            2 | 3 => (6 | (2 + granularity % 2) << 4 | domain | pasid, pages),
            4 | 5 => (7 | pick([0, 1, 3, 1], kind_of) << 4 | domain | pasid, 0),
            6 => (4 | (granularity & 1) << 4 | (am & 7) << 27 | (granularity >> 1 & 7) << 32, 0),
            _ if granularity & 1 == 1 => (3 | source_id << 32, page | granularity >> 1 & 1),
            _ => (8 | source_id << 16 | pasid, page),
        };
        self.queue(first, second);
    }

    /// Clears what faults there are, so that the next one has room.
    pub(super) fn clear_faults(&mut self) {
        if self.unit.read(0x34, 4) & 3 != 0 {
            for record in 0..=self.records {
                self.unit.write(0x20c + 16 * record, 4, 1 << 31);
            }
            self.unit.write(0x34, 4, 1);
        }
        self.settle();
    }
}
