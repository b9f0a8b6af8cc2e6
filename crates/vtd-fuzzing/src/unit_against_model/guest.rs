//! The guest and the devices of a program, around a recorded unit.

use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Mutex, PoisonError};

use vtd::{Access, Attachment, DeviceId, TranslationRequest, UnitConfig};
use vtd_memory::SparseMemory;
use vtd_recording::format::{Event, FormatVersion, Reader};
use vtd_recording::recorder::{RecordedDma, RecordedUnit};
use vtd_spec::{Capabilities, Gpa, Iova, PageRequest, Pasid, SourceId};

use super::operation::Operation;
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
const INTERRUPTS: u64 = 0xb000;
const DEVICES: [u16; 4] = [0x18, 0x19, 0x20, 0x98];
const PASIDS: [Option<u32>; 8] =
    [None, Some(0), Some(1), Some(2), Some(3), Some(1), Some(64), Some(0x1fff)];
const INDEXES: [u64; 4] = [0, 1, 5, 511];

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

pub(super) struct Guest {
    memory: Arc<SparseMemory>,
    unit: RecordedUnit,
    output: Output,
    header: Vec<u8>,
    oracle: Oracle,
    devices: BTreeMap<u16, DeviceId>,
    root: u64,
    command: u64,
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

    /// Good tables: first and second stages that lead to each other and to pages.
    fn tables(&mut self) {
        let root = if self.root == 0x1000 { [0x2001, 0] } else { [0x2001, 0x3001] };
        self.set(0x1000, &root);
        self.set(0x4000, &[0x2001, if self.root == 0x1000 { 0 } else { 0x2001 }]);
        for device in 0..4 {
            self.context(device, 1, 0, device);
        }
        for directory in [0x1_0000, 0x1_4000] {
            self.set(directory, &[0x1_1001, 0x1_2001]);
            self.set(directory + 127 * 8, &[0x1_2001]);
        }
        for pasid in 0..8 {
            self.pasid_entry(0, pasid, pasid, pasid, pasid, 0);
        }
        for index in 0..32 {
            self.set(INTERRUPTS + index * 16, &[index << 16 | index << 40 | 1, 0]);
        }
        for table in 0..8 {
            for (index, target) in [(0, table + 1), (1, table + 2), (2, 2), (3, 3)] {
                for second in [false, true] {
                    let kind = if index < 2 { 1 } else { 3 };
                    self.page(second, table, index, kind, u16::from(target) << 8 | 7);
                }
            }
        }
    }

    fn start(&mut self) {
        let queue = QUEUE | if self.wide { 0x800 } else { 0 };
        for (offset, value) in [
            (0x90, queue),
            (0xd0, PAGE_REQUESTS),
            (0xb8, INTERRUPTS | 1 << 11 | 4),
            (0x20, self.root),
        ] {
            self.write(offset, 8, value);
        }
        for bits in [1 << 26, 1 << 24, 1 << 25, 1 << 30, 1 << 31] {
            self.gcmd(bits);
        }
    }

    fn gcmd(&mut self, bits: u64) {
        const ONE_SHOT: u64 = 1 << 30 | 1 << 24;
        self.write(0x18, 4, self.command | bits);
        self.command |= bits & !ONE_SHOT;
    }

    fn write(&mut self, offset: u64, size: u8, value: u64) {
        self.unit.write(offset, size, value);
        self.settle();
    }

    fn read(&mut self, offset: u64, size: u8) -> u64 {
        let value = self.unit.read(offset, size);
        self.settle();
        value
    }

    /// Feeds what the recorder has written to the oracle. Memory it was told of when it changed.
    #[allow(clippy::expect_used, reason = "the recorder writes what the reader reads")]
    fn settle(&mut self) {
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
    fn set(&mut self, address: u64, qwords: &[u64]) {
        for (at, qword) in (address..).step_by(8).zip(qwords) {
            self.memory.write_u64(Gpa(at), *qword).expect("memory");
        }
        let mut line = [0; 64];
        self.memory.read_bytes(Gpa(address & !63), &mut line).expect("memory");
        self.oracle.take(&Event::Mem { gpa: Gpa(address & !63), bytes: line.to_vec() });
    }

    fn page(&mut self, second: bool, table: u8, index: u8, kind: u8, flags: u16) {
        let base = if second { 0x3_0000 } else { 0x2_0000 };
        let [low, high] = flags.to_le_bytes().map(u64::from);
        let permissions = if second { 3 } else { 7 };
        let target = base + (high & 7) * 0x1000;
        let value = match kind & 7 {
            0 => low & !permissions,
            1 | 4 | 5 => target | permissions,
            // In a second stage tables of the first are mapped as well.
            2 => (0x2_0000 + high % 16 * 0x1000) | low & 7,
            3 => 0x4000_0000 * (1 + high % 4) | low & 7 | 1 << 7,
            6 => 0x70_0000 | (high & 0xf) << 12 | low & 7 | 1 << 5 | 1 << 8,
            _ => target | permissions | 1 << (low & 63),
        };
        let index = INDEXES[usize::from(index & 3)];
        self.set(base + u64::from(table & 7) * 0x1000 + index * 8, &[value]);
    }

    fn pasid_entry(&mut self, device: u8, pasid: u8, kind: u8, domain: u8, tables: u8, flags: u8) {
        let table = if device & 1 == 0 { 0x1_1000 } else { 0x1_2000 };
        let index = [0, 1, 2, 3, 63, 1, 2, 3][usize::from(pasid & 7)];
        let width = [2, 2, 2, 1, 3, 2, 2, 0][usize::from(tables >> 3 & 7)];
        let pgtt = [1, 1, 2, 3, 4, 1, 2, 3][usize::from(kind & 7)];
        let table_of = u64::from(tables & 7) * 0x1000;
        let flags = u64::from(flags);
        let present = u64::from(kind & 0xf0 != 0xf0);
        let first = 0x3_0000 + table_of | width << 2 | pgtt << 6 | present;
        let with_bits = if kind & 8 == 8 {
            (flags & 1) << 9 | (flags >> 1 & 1) << 1 | u64::from(flags == 0x55) << 10
        } else {
            0
        };
        // SRE, ERE, WPE, NXE, SMEP, EAFE.
        let third =
            if kind & 8 == 8 { flags & 0xf3 | u64::from(flags & 0x44 == 0x44) << 2 } else { 0 };
        let entry = [
            first | with_bits,
            5 + u64::from(domain & 3),
            0x2_0000 + table_of | third,
            u64::from(flags == 0xaa),
            0,
            0,
            0,
            0,
        ];
        self.set(table + index * 64, &entry);
    }

    fn context(&mut self, device: u8, kind: u8, flags: u8, table: u8) {
        let source_id = u64::from(DEVICES[usize::from(device & 3)]);
        let flags = u64::from(flags);
        if self.root & 0xc00 == 0 {
            let translation = [0, 1, 2, 0][usize::from(kind >> 1 & 3)];
            let width = [2, 2, 3, 1][usize::from(flags as u8 & 3)];
            let width = if translation == 2 { 3 } else { width };
            let low = 0x3_0000 + u64::from(table & 7) * 0x1000
                | translation << 2
                | u64::from(kind & 0x79 != 0x78)
                | (flags >> 7) << 1;
            let domain = 5 + (flags >> 4 & 3);
            self.set(0x2000 + source_id * 16, &[low, domain << 8 | width]);
        } else {
            let half = if source_id >= 0x80 { 0x3000 } else { 0x2000 };
            let directory = if table & 1 == 0 { 0x1_0000 } else { 0x1_4000 };
            let low = directory
                | u64::from(kind & 0x79 != 0x78)
                | if flags & 0x13 == 0x13 { 0 } else { 8 }
                | if flags & 0x2c == 0x2c { 0 } else { 0x14 }
                | (flags >> 7) << 1
                | (flags >> 6 & 1) << 9;
            let rid_pasid = u64::from(flags & 0xc == 0xc);
            let entry = [low, rid_pasid, u64::from(flags == 0x5a), 0];
            self.set(half + (source_id & 0x7f) * 32, &entry);
        }
    }

    fn above(&mut self, directory: bool, index: u8, kind: u8) {
        let value = |good: u64| match kind & 0x37 {
            0 => 0,
            1 => good | 4,
            2 => good | 2,
            _ => good,
        };
        if directory {
            let base = if index & 1 == 0 { 0x1_0000 } else { 0x1_4000 };
            let good = if kind & 8 == 0 { 0x1_1001 } else { 0x1_2001 };
            self.set(base + u64::from(index >> 1 & 1) * 8, &[value(good)]);
        } else {
            let legacy = self.root & 0xc00 == 0;
            let good = if kind & 8 == 0 { 0x2001 } else { 0x3001 };
            let root = if index & 1 == 0 { 0x1000 } else { 0x4000 };
            let half = if legacy { 0 } else { u64::from(index >> 1 & 1) * 8 };
            self.set(root + half, &[value(if legacy { 0x2001 } else { good })]);
        }
    }

    /// Queues descriptors with a wait behind them, and puts things right where the queue stops.
    fn queue(&mut self, first: u64, second: u64) {
        self.waits += 1;
        let size = if self.wide { 32 } else { 16 };
        for [first, second] in [[first, second], [self.waits << 32 | 0x25, STATUS]] {
            let qwords = [first, second, 0, 0];
            self.set(QUEUE + self.tail, &qwords[..size / 8]);
            self.tail = (self.tail + size as u64) % 0x1000;
        }
        self.write(0x88, 8, self.tail);
        let _ = self.read(0x80, 8);
        let _ = self.read(0xb0, 8);
        if self.read(0x34, 4) & 0x10 != 0 {
            let bad = (self.tail + 0x1000 - 2 * size as u64) % 0x1000;
            let wait = [0x40_u64 | 5, 0, 0, 0];
            self.set(QUEUE + bad, &wait[..size / 8]);
            self.write(0x34, 4, 0x10);
            let _ = self.read(0x80, 8);
        }
    }

    fn descriptor(&mut self, [kind, granularity, domain, pasid, device, am, address]: [u8; 7]) {
        let domain = (5 + u64::from(domain & 3)) << 16;
        let pasid = u64::from(PASIDS[usize::from(pasid & 7)].unwrap_or(0)) << 32;
        let source_id = u64::from(DEVICES[usize::from(device & 3)]);
        let granularity = u64::from(granularity);
        let am = if am & 0xe0 == 0xe0 { u64::from(am & 0x3f) } else { u64::from(am & 0xf) };
        let page = self.address([address & 3, 0, address >> 2 & 3, address >> 4 & 3]) & !0xfff;
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
            4 | 5 => {
                (7 | [0, 1, 3, 1][usize::from(granularity as u8 & 3)] << 4 | domain | pasid, 0)
            }
            6 => (4 | (granularity & 1) << 4 | (am & 7) << 27 | (granularity >> 1 & 7) << 32, 0),
            _ if granularity & 1 == 1 => (3 | source_id << 32, page | granularity >> 1 & 1),
            _ => (8 | source_id << 16 | pasid, page),
        };
        self.queue(first, second);
    }

    fn address(&self, indexes: [u8; 4]) -> u64 {
        let index = |at: u8| INDEXES[usize::from(at & 3)];
        let [a, b, c, d] = indexes;
        let address = index(a) << 39 | index(b) << 30 | index(c) << 21 | index(d) << 12;
        let offset = u64::from(d >> 2) * 8;
        match a >> 4 {
            14 => 0xfee0_0000 | offset,
            13 => 1 << (a & 63),
            0..8 => index(b) << 30 | index(c) << 21 | index(d) << 12 | offset,
            // Canonical.
            _ if index(a) == 511 && a & 8 == 0 => address | offset | 0xffff_0000_0000_0000,
            _ => address | offset,
        }
    }

    fn device(&mut self, device: u8) -> DeviceId {
        let source_id = DEVICES[usize::from(device & 3)];
        if let Some(device) = self.devices.get(&source_id) {
            return *device;
        }
        #[allow(clippy::expect_used, reason = "there are four")]
        let device =
            self.unit.attach(SourceId(source_id), Attachment::Emulated).expect("a free device");
        self.devices.insert(source_id, device);
        device
    }

    /// A handle for requests: in legacy mode mostly for those without PASID.
    fn request(&mut self, device: u8, pasid: u8) -> Option<RecordedDma> {
        let device = self.device(device);
        let pasid = if self.root & 0xc00 == 0 && pasid & 0x70 != 0x70 { 0 } else { pasid };
        let pasid = PASIDS[usize::from(pasid & 7)].map(|pasid| Pasid::from_low_bits(pasid.into()));
        self.unit.dma(device, pasid).ok()
    }

    pub(super) fn perform(&mut self, operation: Operation) {
        match operation {
            Operation::Page { second, table, index, kind, flags } => {
                self.page(second, table, index, kind, flags);
            }
            Operation::PasidEntry { device, pasid, kind, domain, tables, flags } => {
                self.pasid_entry(device, pasid, kind, domain, tables, flags);
            }
            Operation::Context { device, kind, flags, table } => {
                self.context(device, kind, flags, table);
            }
            Operation::Above { directory, index, kind } => self.above(directory, index, kind),
            Operation::Descriptor { kind, granularity, domain, pasid, device, am, address } => {
                self.descriptor([kind, granularity, domain, pasid, device, am, address]);
            }
            Operation::Raw { kind, bit, second_bit } => {
                let bit_of = |bit: u8| if bit & 0xc0 == 0 { 1_u64 << (bit & 63) } else { 0 };
                self.queue(u64::from(kind & 0x7f) | bit_of(bit), bit_of(second_bit));
            }
            Operation::Dma { device, pasid, access, indexes } => {
                let with_pasid = pasid & 7 != 0;
                let address = self.address(indexes);
                let mut asked = if access & 1 == 1 { Access::WRITE } else { Access::READ };
                asked.privileged = with_pasid && access & 0x86 == 0x86;
                asked.execute = with_pasid && access & 0x19 == 0x18;
                asked.zero_length = access & 0x61 == 0x60;
                if let Some(dma) = self.request(device, pasid) {
                    dma.with_guard(|guard| {
                        let _ = guard.translate(Iova(address), asked);
                    });
                }
            }
            Operation::Translate { device, pasid, access, indexes } => {
                let with_pasid = pasid & 7 != 0;
                let address = self.address(indexes);
                let mut asked = TranslationRequest::READ_WRITE;
                asked.no_write = access & 1 == 1;
                asked.privileged = with_pasid && access & 0x86 == 0x86;
                asked.execute = with_pasid && access & 0x18 == 0x18;
                if let Some(dma) = self.request(device, pasid) {
                    dma.with_guard(|guard| {
                        let _ = guard.translation_request(Iova(address), asked);
                    });
                }
            }
            Operation::Translated { device, pasid, address } => {
                let pasid = if pasid & 0xf0 == 0xf0 { pasid } else { 0 };
                let address = match address & 3 {
                    0 => 0xfee0_1000,
                    1 => 1 << 50,
                    _ => 0x70_0000,
                };
                if let Some(dma) = self.request(device, pasid) {
                    dma.with_guard(|guard| {
                        let _ = guard.translated(Gpa(address), Access::READ);
                    });
                }
            }
            Operation::PageRequest { device, pasid, bits, indexes } => {
                let request = PageRequest {
                    source_id: SourceId(DEVICES[usize::from(device & 3)]),
                    pasid: PASIDS[usize::from(pasid & 7)]
                        .map(|pasid| Pasid::from_low_bits(pasid.into())),
                    address: Iova(self.address(indexes) & !0xfff),
                    read: bits & 1 == 1,
                    write: bits & 2 == 2,
                    execute: bits & 4 == 4,
                    privileged: bits & 8 == 8,
                    last_in_group: bits & 16 == 16,
                    group_index: u16::from(bits),
                };
                let device = self.device(device);
                let _ = self.unit.page_request(device, request);
                if bits & 0x80 == 0x80 {
                    self.settle();
                    self.write(0xdc, 4, 3);
                    let tail = self.read(0xc8, 8);
                    self.write(0xc0, 8, tail);
                }
            }
            Operation::Interrupt { device, handle, data, flags } => {
                let address = 0xfee0_0000
                    | u64::from(handle & 0x1f | u8::from(handle & 0xe0 == 0xe0) << 5) << 5
                    | if flags & 0x70 == 0x70 { 0 } else { 0x10 }
                    | u64::from(flags & 1) << 3
                    | u64::from(flags & 0xe == 0xe) << 2;
                let data = u32::from(data & 0xf) | u32::from(flags & 0xcc == 0xcc) << 16;
                let source_id = SourceId(DEVICES[usize::from(device & 3)]);
                let _ = self.unit.remap_interrupt(source_id, address, data);
            }
            Operation::InterruptEntry { index, kind, flags, source } => {
                let flags = u64::from(flags);
                let low = u64::from(kind & 7 != 0)
                    | (flags & 0x3f) << 2
                    | u64::from(kind & 0xf8 == 0x08) << 12
                    | u64::from(source) << 16
                    | u64::from(kind) << 40
                    | u64::from(kind & 0xf8 == 0x10) << 1;
                let high = u64::from(DEVICES[usize::from(source & 3)])
                    | u64::from(source >> 2 & 3) << 16
                    | u64::from(source >> 4 & 1) << 18;
                self.set(INTERRUPTS + u64::from(index & 0x1f) * 16, &[low, high]);
            }
            Operation::Command { kind, root } => match kind & 7 {
                0 => {
                    let mode = self.root & 0xc00;
                    let base = if root & 1 == 0 { 0x1000 } else { 0x4000 };
                    self.write(0x20, 8, base | mode);
                    self.gcmd(1 << 30);
                }
                1 if root & 0xc0 == 0 => {
                    self.command &= !(1 << 31);
                    self.gcmd(0);
                }
                2 => {
                    self.command ^= 1 << 23;
                    self.gcmd(0);
                }
                _ => self.gcmd(1 << 31),
            },
            Operation::Registers { iotlb, granularity, domain, device, am, address } => {
                let granularity = 1 + u64::from(granularity % 3);
                let domain = 5 + u64::from(domain & 3);
                if iotlb {
                    let page = self.address([0, 0, address >> 2 & 3, address >> 4 & 3]) & !0xfff;
                    self.write(0x500, 8, page | u64::from(am & 0x1f));
                    self.write(0x508, 8, 1 << 63 | granularity << 60 | domain << 32);
                } else {
                    let source_id = u64::from(DEVICES[usize::from(device & 3)]);
                    self.write(0x28, 8, 1 << 63 | granularity << 61 | source_id << 16 | domain);
                }
            }
        }
        self.settle();
        self.clear_faults();
    }

    /// Clears what faults there are, so that the next one has room.
    fn clear_faults(&mut self) {
        if self.unit.read(0x34, 4) & 3 != 0 {
            for record in 0..=self.records {
                self.unit.write(0x20c + 16 * record, 4, 1 << 31);
            }
            self.unit.write(0x34, 4, 1);
        }
        self.settle();
    }
}
