//! Operations as records of fixed width.

use super::composite::{self, Composite};
use super::operation::{
    Bits, Edit, HostFailure, Lifecycle, Operation, Queued, RequestOperation, Table, Target,
};
use super::pools::{
    CONTEXTS, DATA, DIRECTORIES, DOMAINS, FIRST_STAGE, INDICES, MASKS, PAGES, PASID_TABLES, PASIDS,
    ROOTS, SECOND_STAGE, SOURCES, count, mostly, unusual,
};
use crate::small_memory;

/// The length of an operation in bytes.
pub const RECORD: usize = 16;

const QWORDS: u16 = 512 * small_memory::PAGES.to_le_bytes()[0] as u16;

impl Table {
    fn decode(kind: u8, number: u8) -> Self {
        match kind % 7 {
            0 => Self::Root(number % count(&ROOTS)),
            1 => Self::Context(number % count(&SOURCES)),
            2 => Self::Directory(number % count(&DIRECTORIES)),
            3 => Self::Pasids(number % count(&PASID_TABLES)),
            4 => Self::FirstStage(number % count(&FIRST_STAGE)),
            5 => Self::SecondStage(number % count(&SECOND_STAGE)),
            _ => Self::Interrupts,
        }
    }

    fn encode(self) -> [u8; 2] {
        match self {
            Self::Root(number) => [0, number],
            Self::Context(number) => [1, number],
            Self::Directory(number) => [2, number],
            Self::Pasids(number) => [3, number],
            Self::FirstStage(number) => [4, number],
            Self::SecondStage(number) => [5, number],
            Self::Interrupts => [6, 0],
        }
    }

    /// The address of its first byte.
    #[must_use]
    pub fn place(self) -> u64 {
        use super::pools::{INTERRUPTS, of};
        match self {
            Self::Root(number) => of(&ROOTS, number),
            Self::Context(source) => match of(&SOURCES, source) & 0x80 {
                0 => of(&CONTEXTS, 0),
                _ => of(&CONTEXTS, 1),
            },
            Self::Directory(number) => of(&DIRECTORIES, number),
            Self::Pasids(number) => of(&PASID_TABLES, number),
            Self::FirstStage(number) => of(&FIRST_STAGE, number),
            Self::SecondStage(number) => of(&SECOND_STAGE, number),
            Self::Interrupts => INTERRUPTS,
        }
    }
}

impl Target {
    fn decode(byte: u8) -> Self {
        match byte % 24 {
            0 => Self::Nothing,
            1 => Self::Nowhere,
            number @ 2..=6 => Self::Data(number - 2),
            number @ 7..=8 => Self::Table(Table::Directory(number - 7)),
            number @ 9..=11 => Self::Table(Table::Pasids(number - 9)),
            number @ 12..=18 => Self::Table(Table::FirstStage(number - 12)),
            number => Self::Table(Table::SecondStage((number - 19) % count(&SECOND_STAGE))),
        }
    }

    fn encode(self) -> u8 {
        match self {
            Self::Nothing => 0,
            Self::Nowhere => 1,
            Self::Data(number) => 2 + number,
            Self::Table(Table::Directory(number)) => 7 + number,
            Self::Table(Table::Pasids(number)) => 9 + number,
            Self::Table(Table::FirstStage(number)) => 12 + number,
            Self::Table(Table::SecondStage(number)) => 19 + number,
            // No entry points to these in a program.
            Self::Table(Table::Root(_) | Table::Context(_) | Table::Interrupts) => 0,
        }
    }

    /// The address, page-aligned.
    #[must_use]
    pub fn address(self) -> u64 {
        match self {
            Self::Nothing => 0,
            Self::Nowhere => 0x7f_ffff_f000,
            Self::Data(number) => super::pools::of(&DATA, number),
            Self::Table(table) => table.place(),
        }
    }
}

impl Edit {
    /// `how` says what is unusual about it: of most edits nothing.
    pub(super) fn decode(record: [u8; 8], how: u8) -> Self {
        let [kind, number, index, target, variant, domain, bits, turned] = record;
        let table = Table::decode(kind, number);
        Self {
            table,
            index: index % count(&INDICES),
            target: Target::decode(target),
            kind: variant % 8,
            domain: domain % count(&DOMAINS),
            bits: Bits(if how & 3 == 3 { bits } else { 0xff }),
            turned: if how >> 2 & 7 == 7 { turned % 192 } else { 255 },
        }
    }

    pub(super) fn encode(self) -> ([u8; 8], u8) {
        let [kind, number] = self.table.encode();
        let target = self.target.encode();
        let how = if self.turned == 255 { 3 } else { 31 };
        let Self { index, kind: variant, domain, bits, turned, .. } = self;
        ([kind, number, index, target, variant, domain, bits.0, turned], how)
    }
}

impl Queued {
    fn decode(
        [kind, granularity, domain, pasid, source, page, mask, bits, turned]: [u8; 9],
    ) -> Self {
        Self {
            kind: kind % 16,
            granularity: granularity % 4,
            domain: domain % count(&DOMAINS),
            pasid: pasid % count(&PASIDS),
            source: source % count(&SOURCES),
            page: page % count(&PAGES),
            mask: mask % count(&MASKS),
            bits: Bits(bits),
            turned: if turned < 16 { turned } else { 255 },
        }
    }

    fn encode(self) -> [u8; 9] {
        let Self { kind, granularity, domain, pasid, source, page, mask, bits, turned } = self;
        [kind, granularity, domain, pasid, source, page, mask, bits.0, turned]
    }
}

impl RequestOperation {
    pub(super) fn decode([kind, source, pasid, page, bits]: [u8; 5]) -> Self {
        Self {
            // Half of all are untranslated.
            kind: (kind % 8).saturating_sub(4) % 4,
            source: source % count(&SOURCES),
            pasid: mostly(pasid, 3, count(&PASIDS)),
            page: mostly(page, 4, count(&PAGES)),
            // A read or a write, with PASID or without; and sometimes more.
            bits: Bits(if bits < 160 { bits & 0x31 } else { (bits - 160) & 0x3f }),
        }
    }

    pub(super) fn encode(self) -> [u8; 5] {
        let Self { kind, source, pasid, page, bits: Bits(bits) } = self;
        let kind = if kind == 0 { 0 } else { kind + 4 };
        let bits = if bits & !0x31 == 0 { bits } else { bits + 160 };
        [kind, source, unusual(pasid, 3), unusual(page, 4), bits]
    }
}

impl Lifecycle {
    fn decode([kind, first, second]: [u8; 3]) -> Self {
        let source = first % count(&SOURCES);
        match kind % 16 {
            0..=2 => Self::Attach { source, kind: second % 3 },
            3..=4 => Self::Release { source },
            5 => Self::Renumber { source, new: second % count(&SOURCES) },
            6..=7 => Self::Retry { source },
            8 => Self::Reset { power_on: second & 1 == 1 },
            9..=10 => Self::SaveAndRestore { fresh_host: second & 1 == 1 },
            11..=13 => Self::Step { budget: first },
            _ => Self::Run,
        }
    }

    fn encode(self) -> [u8; 3] {
        match self {
            Self::Attach { source, kind } => [0, source, kind],
            Self::Release { source } => [3, source, 0],
            Self::Renumber { source, new } => [5, source, new],
            Self::Retry { source } => [6, source, 0],
            Self::Reset { power_on } => [8, 0, power_on.into()],
            Self::SaveAndRestore { fresh_host } => [9, 0, fresh_host.into()],
            Self::Step { budget } => [11, budget, 0],
            Self::Run => [14, 0, 0],
        }
    }
}

impl Operation {
    /// The operation of a record. Every record is one.
    #[must_use]
    pub fn decode(record: [u8; RECORD]) -> Self {
        if record[0] >= composite::FIRST_CODE {
            return Self::Composite(Composite::decode(record));
        }
        let [code, a, b, c, d, e, f, g, h, i, j, ..] = record;
        let [.., q, r, s, t, u, v, w, x] = record;
        let value = u64::from_le_bytes([q, r, s, t, u, v, w, x]);
        let place = u16::from_le_bytes([a, b]) % QWORDS;
        match code % 64 {
            1 => super::register::write([a, b, c, d, e, f, g]),
            0 => Self::Write { offset: u16::from_le_bytes([a, b]) % 0x1008, size: c % 16, value },
            2..=3 => Self::Store { place, value },
            4..=13 => Self::Edit(Edit::decode([a, b, c, d, e, f, g, h], i)),
            14..=20 => Self::Queue(Queued::decode([a, b, c, d, e, f, g, h, i])),
            21 => Self::QueueRaw { low: value },
            22..=26 => Self::Doorbell,
            27 => Self::Tail,
            28..=29 => Self::Enable { bits: Bits(a & 0x7f) },
            30 => Self::Translation { on: a & 1 == 1 },
            31..=45 => Self::Request(RequestOperation::decode([a, b, c, d, e])),
            46 => Self::Interrupt {
                source: a % count(&SOURCES),
                address: u32::from_le_bytes([b, c, d, 0]) & 0xf_ffff,
                data: u32::from_le_bytes([e, f, 0, 0]),
            },
            47 => Self::Trap { reads: c % 32, place, value },
            48 => Self::HostFails(HostFailure { call: a % 8 }),
            49..=53 => Self::Lifecycle(Lifecycle::decode([a, b, c])),
            54..=58 => Self::Rebind {
                edit: Edit::decode([3, b, c, d, e, f, g, h], i),
                pasid: mostly(j, 3, count(&PASIDS)),
                old: a & 1 == 1,
            },
            _ => Self::Remap {
                edit: Edit::decode([4 + (a & 1), b, c, d, e, f, g, h], i),
                page: mostly(j, 4, count(&PAGES)),
                pasid: mostly(w, 3, count(&PASIDS)),
                domain: x % count(&DOMAINS),
                guarded: v & 3 == 3,
            },
        }
    }

    /// The record of an operation.
    #[must_use]
    pub fn encode(&self) -> [u8; RECORD] {
        if let Self::Composite(composite) = self {
            return composite.encode();
        }
        let mut record = [0; RECORD];
        let mut put = |at: usize, bytes: &[u8]| {
            for (to, from) in record.iter_mut().skip(at).zip(bytes) {
                *to = *from;
            }
        };
        match *self {
            Self::Composite(_) => {}
            Self::Write { offset, size, value } => {
                put(0, &[0]);
                put(1, &offset.to_le_bytes());
                put(3, &[size]);
                put(8, &value.to_le_bytes());
            }
            Self::Store { place, value } => {
                put(0, &[2]);
                put(1, &place.to_le_bytes());
                put(8, &value.to_le_bytes());
            }
            Self::Edit(edit) => {
                let (edit, how) = edit.encode();
                put(0, &[4]);
                put(1, &edit);
                put(9, &[how]);
            }
            Self::Queue(queued) => {
                put(0, &[14]);
                put(1, &queued.encode());
            }
            Self::QueueRaw { low } => {
                put(0, &[21]);
                put(8, &low.to_le_bytes());
            }
            Self::Doorbell => put(0, &[22]),
            Self::Tail => put(0, &[27]),
            Self::Enable { bits } => put(0, &[28, bits.0]),
            Self::Translation { on } => put(0, &[30, on.into()]),
            Self::Request(request) => {
                put(0, &[31]);
                put(1, &request.encode());
            }
            Self::Interrupt { source, address, data } => {
                put(0, &[46, source]);
                put(2, &address.to_le_bytes()[..3]);
                put(5, &data.to_le_bytes()[..2]);
            }
            Self::Trap { reads, place, value } => {
                put(0, &[47]);
                put(1, &place.to_le_bytes());
                put(3, &[reads]);
                put(8, &value.to_le_bytes());
            }
            Self::HostFails(HostFailure { call }) => put(0, &[48, call]),
            Self::Lifecycle(lifecycle) => {
                put(0, &[49]);
                put(1, &lifecycle.encode());
            }
            Self::Rebind { edit, pasid, old } => {
                let (edit, how) = edit.encode();
                put(0, &[54]);
                put(1, &edit);
                put(1, &[old.into()]);
                put(9, &[how, unusual(pasid, 3)]);
            }
            Self::Remap { edit, page, pasid, domain, guarded } => {
                let second = matches!(edit.table, Table::SecondStage(_));
                let (edit, how) = edit.encode();
                put(0, &[59]);
                put(1, &edit);
                put(1, &[second.into()]);
                put(9, &[how, unusual(page, 4)]);
                put(13, &[3 * u8::from(guarded), unusual(pasid, 3), domain]);
            }
        }
        record
    }
}
