//! The guest's tables, read in raw integers.
//!
//! This is a second reading, independent of the decoders and walks that the unit uses, so that a mistake in those shows.

use std::collections::BTreeMap;
use std::ops::Range;

use vtd::memory::SparseMemory;
use vtd::spec::table::{SecondStage, SecondStageLevels};
use vtd::spec::{Binding, DomainId, FirstStage, FirstStageLevels, Gpa, Pasid, Slot, SourceId};

/// How the tables are to be read: the capability registers and the host address width decide on reserved bits.
#[derive(Clone, Copy, Debug)]
pub(super) struct GuestTables {
    pub(super) cap: u64,
    pub(super) ecap: u64,
    pub(super) host_address_width: u8,
}

/// The present PASID-table entries of a device, by slot.
#[derive(Debug, Default)]
pub(super) struct DeviceEntries {
    pub(super) rid_pasid: Option<u32>,
    pub(super) entries: BTreeMap<Slot, GuestEntry>,
}

/// A PASID-table entry with P=1: what it asks the host for, nothing where it is malformed, and its domain field.
#[derive(Clone, Copy, Debug)]
pub(super) struct GuestEntry {
    pub(super) binding: Option<Binding>,
    pub(super) domain: DomainId,
}

/// Pages that a second-stage table grants: first input page, pages, address, and R and W as 1 and 2.
pub(super) type Granted = (u64, u64, u64, u64);

/// The interrupt range, which no DMA reaches: from it or by way of a table.
const INTERRUPTS: Range<u64> = 0xf_ee00..0xf_ef00;

const ADDRESS: u64 = 0x000f_ffff_ffff_f000;

impl GuestTables {
    /// Every present entry of a range of a device's PASIDs.
    pub(super) fn entries(
        &self,
        memory: &SparseMemory,
        root: u64,
        source_id: SourceId,
        pasids: &Range<u32>,
    ) -> DeviceEntries {
        let (bus, devfn) = (u64::from(source_id.0 >> 8), u64::from(source_id.0 & 0xff));
        let [half] = load(memory, (root & ADDRESS) + bus * 16 + devfn / 128 * 8);
        if half & 1 == 0 || half & (0xffe | self.beyond()) != 0 {
            return DeviceEntries::default();
        }
        let context: [u64; 4] = load(memory, (half & ADDRESS) + devfn % 128 * 32);
        let [low, high, ..] = context;
        if low & 1 == 0 || self.context_is_malformed(&context) {
            return DeviceEntries::default();
        }
        let rid_pasid = if self.shows(49) { high & 0xf_ffff } else { 0 };
        let rid_pasid = u32::try_from(rid_pasid).unwrap_or(0);
        let mut found = DeviceEntries { rid_pasid: Some(rid_pasid), entries: BTreeMap::new() };
        let with_pasids = low >> 3 & 1 == 1;
        let last = (1_u32 << (7 + (low >> 9 & 7))).min(pasids.end.div_ceil(64));
        for index in pasids.start / 64..last {
            let [directory] = load(memory, (low & ADDRESS) + u64::from(index) * 8);
            if directory & 1 == 0 || directory & (0xffc | self.beyond()) != 0 {
                continue;
            }
            for number in (index * 64..index * 64 + 64).filter(|number| pasids.contains(number)) {
                let slot = match Pasid::new(number) {
                    _ if number == rid_pasid => Slot::Rid,
                    Some(pasid) if with_pasids => Slot::Pasid(pasid),
                    _ => continue,
                };
                let words: [u64; 8] =
                    load(memory, (directory & ADDRESS) + u64::from(number % 64) * 64);
                if words[0] & 1 == 1 {
                    found.entries.insert(slot, self.entry(&words));
                }
            }
        }
        found
    }

    /// The one entry of a device in legacy mode.
    pub(super) fn legacy_entry(
        &self,
        memory: &SparseMemory,
        root: u64,
        source_id: SourceId,
    ) -> DeviceEntries {
        let (bus, devfn) = (u64::from(source_id.0 >> 8), u64::from(source_id.0 & 0xff));
        let [low, high] = load(memory, (root & ADDRESS) + bus * 16);
        if low & 1 == 0 || low & (0xffe | self.beyond()) != 0 || high != 0 {
            return DeviceEntries::default();
        }
        let [low, high] = load(memory, (low & ADDRESS) + devfn * 16);
        if low & 1 == 0 || low & 0xff0 != 0 || high & 0xffff_ffff_ff00_0080 != 0 {
            return DeviceEntries::default();
        }
        let largest = [3, 2, 1].into_iter().find(|aw| self.levels(*aw).is_some());
        let binding = match (low >> 2 & 3, self.levels(high & 7)) {
            (0, Some(levels)) => self.second_stage(low, levels),
            (1, Some(levels)) if self.shows(2) => self.second_stage(low, levels),
            (2, Some(_)) if self.shows(6) && largest == Some(high & 7) => {
                Some(Binding::PassThrough)
            }
            _ => None,
        };
        let domain = DomainId(u16::try_from(high >> 8 & 0xffff).unwrap_or(0));
        let entries = BTreeMap::from([(Slot::Rid, GuestEntry { binding, domain })]);
        DeviceEntries { rid_pasid: None, entries }
    }

    /// The levels that a value of AW means, where SAGAW shows them.
    fn levels(&self, aw: u64) -> Option<SecondStageLevels> {
        let levels = match aw {
            1 => SecondStageLevels::Three,
            2 => SecondStageLevels::Four,
            3 => SecondStageLevels::Five,
            _ => return None,
        };
        (self.cap >> (8 + aw) & 1 == 1).then_some(levels)
    }

    /// The shadow of the table that a pointer names.
    fn second_stage(&self, pointer: u64, levels: SecondStageLevels) -> Option<Binding> {
        let table = Gpa(pointer & ADDRESS);
        let stage = SecondStage { table, levels, accessed_dirty: false };
        (pointer & self.beyond() == 0).then_some(Binding::SecondStage(stage))
    }

    /// What a second-stage table grants of the input pages of a range, in order and in as few pieces as can be.
    pub(super) fn granted(
        &self,
        memory: &SparseMemory,
        stage: &SecondStage,
        pages: &Range<u64>,
    ) -> Vec<Granted> {
        let mut found = Vec::new();
        let root = (stage.table.0, stage.levels.count(), 0, 3);
        self.collect(memory, root, pages, &mut found);
        joined(&found)
    }

    fn collect(
        &self,
        memory: &SparseMemory,
        (table, level, base, granted): (u64, u8, u64, u64),
        pages: &Range<u64>,
        found: &mut Vec<Granted>,
    ) {
        let covers = 1_u64 << (9 * (level - 1));
        let first = pages.start.saturating_sub(base) / covers;
        for index in first..512 {
            let base = base + index * covers;
            if base >= pages.end {
                break;
            }
            let [entry] = load(memory, table + index * 8);
            let granted = granted & entry & 3;
            let large = level > 1 && entry >> 7 & 1 == 1;
            let shown = level < 2 || level < 4 && self.cap >> (32 + level) & 1 == 1;
            let address = entry & ADDRESS;
            let misplaced = large && (!shown || address >> 12 & (covers - 1) != 0);
            // Bit 11 is SNP in a leaf, with ECAP.SC.
            let snoops = (level == 1 || large) && self.shows(7);
            let malformed = misplaced || entry >> 11 & 1 == 1 && !snoops;
            if granted == 0 || entry & 0x000f_ffff_ffff_ffff & self.beyond() != 0 || malformed {
                continue;
            }
            if level > 1 && !large {
                self.collect(memory, (address, level - 1, base, granted), pages, found);
                continue;
            }
            let (from, to) = (base.max(pages.start), (base + covers).min(pages.end));
            let output = |page: u64| (address >> 12) + (page - base);
            // At most four edges of the interrupt range lie within a leaf.
            let on_input = |edge: u64| (base + edge).saturating_sub(address >> 12);
            let mut edges = vec![from, to, INTERRUPTS.start, INTERRUPTS.end];
            edges.extend([on_input(INTERRUPTS.start), on_input(INTERRUPTS.end)]);
            edges.retain(|edge| (from..=to).contains(edge));
            edges.sort_unstable();
            for pair in edges.windows(2) {
                let &[start, end] = pair else { continue };
                let hidden = INTERRUPTS.contains(&start) || INTERRUPTS.contains(&output(start));
                if start < end && !hidden {
                    found.push((start, end - start, output(start) << 12, granted));
                }
            }
        }
    }

    /// Whether an ECAP bit is shown.
    fn shows(&self, bit: u32) -> bool {
        self.ecap >> bit & 1 == 1
    }

    /// Bits 63:52, and those of an address that no host has.
    fn beyond(&self) -> u64 {
        !0 << self.host_address_width.min(52)
    }

    fn context_is_malformed(&self, [low, high, third, fourth]: &[u64; 4]) -> bool {
        let flag_without = |bit: u32, capability| low >> bit & 1 == 1 && !self.shows(capability);
        low & (0x1e0 | self.beyond()) != 0
            || flag_without(2, 2)
            || flag_without(3, 40)
            || flag_without(4, 29)
            || high >> 21 != 0
            || high >> 20 & 1 == 1 && !self.shows(53)
            || third | fourth != 0
    }

    fn entry(&self, [low, tag, first, rest @ ..]: &[u64; 8]) -> GuestEntry {
        let flag_without =
            |word: &u64, bit: u32, capability| word >> bit & 1 == 1 && !self.shows(capability);
        let reserved = low & 0xc20 != 0
            || flag_without(low, 9, 45)
            || tag & 0x7f_0000 != 0
            || flag_without(tag, 23, 48)
            || flag_without(tag, 24, 7)
            || flag_without(first, 0, 31)
            || flag_without(first, 7, 34)
            || first & 0xf00 != 0
            || rest.iter().any(|word| *word != 0);
        let levels = match first >> 2 & 3 {
            0 => Some(FirstStageLevels::Four),
            1 if self.cap >> 60 & 1 == 1 => Some(FirstStageLevels::Five),
            _ => None,
        };
        let binding = match (low >> 6 & 7, levels) {
            _ if reserved => None,
            (1, Some(levels)) if self.shows(47) && first & self.beyond() == 0 => {
                Some(Binding::FirstStage(FirstStage {
                    table: Gpa(first & ADDRESS),
                    levels,
                    supervisor: first & 1 == 1,
                    write_protect: first >> 4 & 1 == 1,
                    extended_accessed: first >> 7 & 1 == 1,
                }))
            }
            (2, _) if self.shows(46) => {
                self.levels(low >> 2 & 7).and_then(|levels| self.second_stage(*low, levels))
            }
            (4, _) if self.shows(6) => Some(Binding::PassThrough),
            _ => None,
        };
        let domain = DomainId(u16::try_from(tag & 0xffff).unwrap_or(0));
        GuestEntry { binding, domain }
    }
}

/// Ranges as few as they can be.
pub(super) fn joined(ranges: &[Granted]) -> Vec<Granted> {
    let mut all: Vec<Granted> = Vec::new();
    for &(first, pages, address, granted) in ranges {
        match all.last_mut() {
            Some(last)
                if (last.0 + last.1, last.2 + (last.1 << 12), last.3)
                    == (first, address, granted) =>
            {
                last.1 += pages;
            }
            _ => all.push((first, pages, address, granted)),
        }
    }
    all
}

/// Reads quadwords, not through the unit's side of the memory, which counts reads of pages that no line names.
fn load<const N: usize>(memory: &SparseMemory, place: u64) -> [u64; N] {
    std::array::from_fn(|index| {
        let mut bytes = [0; 8];
        let read = memory.read_bytes(Gpa(place + 8 * index as u64), &mut bytes);
        read.map_or(0, |()| u64::from_le_bytes(bytes))
    })
}
