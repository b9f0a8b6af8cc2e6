//! A host that maps what a ledger asks for and refuses what is illegal, and what second-stage tables say, worked out naively in
//! raw integers.

use std::collections::BTreeMap;

use vtd_cache::{
    Call, Change, DeviceKey, Ledger, MappingCall, MappingChange, Next, NextMapping, Outcome,
    Quotas, Reconciliation, Scope, ShadowRange, ShadowScope, ShadowWalk, Wanted,
};
use vtd_memory::{GuestMemory, SparseMemory};
use vtd_spec::{Binding, Capabilities, Gpa, Slot, SourceId};

use crate::guest::Guest;

/// First input page, pages, address, and R and W as 1 and 2.
pub(crate) type Range = (u64, u64, u64, u64);

/// The table and its levels.
type Table = (u64, u8);

/// Whether the call of this text fails.
pub(crate) type FailsCall = Box<dyn FnMut(&str) -> bool>;

#[derive(Default)]
pub(crate) struct ShadowHost {
    /// It unmaps parts of what one call has mapped.
    pub(crate) cuts: bool,
    pub(crate) held: BTreeMap<(u32, Slot), Option<Table>>,
    /// By first page, as mapped.
    pub(crate) mapped: BTreeMap<(u32, Slot), BTreeMap<u64, Range>>,
    /// What was asked: `bind`, `map 5+1`, with `!` before it where it failed.
    pub(crate) calls: Vec<String>,
    /// Which calls fail.
    pub(crate) fails: Option<FailsCall>,
}

pub(crate) fn raw(range: &ShadowRange) -> Range {
    let granted = u64::from(range.read) | u64::from(range.write) << 1;
    (range.first, range.pages, range.address.0, granted)
}

/// A guest with 2 MiB and 1 GiB pages and tables of 3, 4 and 5 levels.
pub(crate) fn guest() -> Guest {
    let mut guest = Guest::new();
    guest.caps = Capabilities::new(0x1000_000c_222f_0e86, 0x0002_c99c_a000_0f46).unwrap();
    guest
}

/// A PASID-table entry for a second-stage table: its first three quadwords.
pub(crate) fn second_stage(table: u64, levels: u64, domain: u64) -> (u64, u64, u64) {
    (table | (levels - 2) << 2 | 0x81, domain, 0)
}

/// A ledger with devices of source-ids 0, 8, 10 …, for a host that cuts or not.
pub(crate) fn shadow_ledger(devices: u32, quotas: Quotas, cuts: bool) -> Ledger {
    let mut ledger = Ledger::new(quotas);
    for device in 0..devices {
        let source_id = SourceId(u16::try_from(device * 8).unwrap());
        ledger.add_device(DeviceKey(device), source_id, 1 << 20);
        if !cuts {
            ledger.map_whole_leaves(DeviceKey(device));
        }
    }
    ledger
}

/// Ranges without the pages in [first, end).
fn without(ranges: Vec<Range>, (first, end): (u64, u64)) -> Vec<Range> {
    let mut kept = Vec::new();
    for range in ranges {
        kept.extend(within(&[range], (0, first)));
        kept.extend(within(&[range], (end.max(range.0), u64::MAX)));
    }
    kept
}

/// The parts of ranges in [first, end).
pub(crate) fn within(ranges: &[Range], (first, end): (u64, u64)) -> Vec<Range> {
    let part = |(start, pages, address, granted): &Range| {
        let (from, to) = ((*start).max(first), (start + pages).min(end));
        (from < to).then(|| (from, to - from, address + ((from - start) << 12), *granted))
    };
    ranges.iter().filter_map(part).collect()
}

/// Ranges as few as they can be.
pub(crate) fn joined(ranges: &[Range]) -> Vec<Range> {
    let mut all: Vec<Range> = Vec::new();
    for range in ranges {
        match all.last_mut() {
            Some(last)
                if last.0 + last.1 == range.0
                    && last.2 + (last.1 << 12) == range.2
                    && last.3 == range.3 =>
            {
                last.1 += range.1;
            }
            _ => all.push(*range),
        }
    }
    all
}

/// Every leaf that grants something, in order, for a host of 52 bits. Only entries with these indices are looked at.
pub(crate) fn leaves(memory: &SparseMemory, (table, levels): Table, indices: &[u64]) -> Vec<Range> {
    let mut found = Vec::new();
    collect(memory, (table, levels, 0, 3), indices, &mut found);
    found
}

fn collect(
    memory: &SparseMemory,
    (table, level, first, granted): (u64, u8, u64, u64),
    indices: &[u64],
    found: &mut Vec<Range>,
) {
    let pages = 1 << (9 * (level - 1));
    for index in indices {
        let entry = memory.load_u64(Gpa(table + index * 8)).unwrap_or(0);
        let granted = granted & entry;
        let address = entry & 0x000f_ffff_ffff_f000;
        let first = first + index * pages;
        let leaf = level == 1 || entry & 0x80 != 0;
        let malformed = leaf && (level > 3 || address >> 12 & (pages - 1) != 0);
        if granted == 0 || malformed {
            continue;
        }
        if leaf {
            found.push((first, pages, address, granted));
        } else {
            collect(memory, (address, level - 1, first, granted), indices, found);
        }
    }
}

/// What of leaves a device may reach: neither from nor to FEE0_0000 to FEEF_FFFF.
pub(crate) fn reachable(leaves: &[Range]) -> Vec<Range> {
    let pieces = leaves.iter().flat_map(|leaf| {
        let hidden = (0xf_ee00 + leaf.0, 0xf_ef00 + leaf.0);
        let output = leaf.2 >> 12;
        let hidden = (hidden.0.saturating_sub(output), hidden.1.saturating_sub(output));
        let hidden = (hidden.0.max(leaf.0), hidden.1.max(leaf.0));
        without(without(vec![*leaf], (0xf_ee00, 0xf_ef00)), hidden)
    });
    pieces.collect()
}

impl ShadowHost {
    pub(crate) fn new(cuts: bool) -> Self {
        Self { cuts, ..Self::default() }
    }

    fn asked(&mut self, text: String) -> Outcome {
        let fails = self.fails.as_mut().is_some_and(|fails| fails(&text));
        self.calls.push(if fails { format!("!{text}") } else { text });
        if fails { Outcome::Failed { errno: Some(12) } } else { Outcome::Done }
    }

    pub(crate) fn take_calls(&mut self) -> Vec<String> {
        std::mem::take(&mut self.calls)
    }

    pub(crate) fn ranges(&self, device: u32, slot: Slot) -> Vec<Range> {
        self.mapped.get(&(device, slot)).into_iter().flat_map(|all| all.values().copied()).collect()
    }

    /// All ranges of a device.
    pub(crate) fn count(&self, device: u32) -> usize {
        self.mapped
            .iter()
            .filter(|((holder, _), _)| *holder == device)
            .map(|(_, all)| all.len())
            .sum()
    }

    fn change(&mut self, change: &Change) -> Outcome {
        let slot = (change.device.0, change.slot);
        let bound = self.held.contains_key(&slot);
        let (name, legal) = match change.call {
            Call::Bind(_) => ("bind", !bound),
            Call::Replace(_) => ("replace", bound),
            Call::Unbind => ("unbind", bound),
        };
        assert!(legal, "{name} of {slot:?}");
        let outcome = self.asked(name.to_owned());
        if outcome == Outcome::Done {
            self.mapped.remove(&slot);
            self.held.remove(&slot);
            if let Some(binding) = change.binding() {
                let table = match binding {
                    Binding::SecondStage(stage) => Some((stage.table.0, stage.levels.count())),
                    _ => None,
                };
                self.held.insert(slot, table);
            }
        }
        outcome
    }

    /// A call of map or unmap, with a look at what is unmapped.
    fn map_or_unmap(
        &mut self,
        change: &MappingChange,
        unmapped: &mut dyn FnMut(u32, Slot, &[Range]),
    ) -> Outcome {
        let slot = (change.device.0, change.slot);
        assert!(matches!(self.held.get(&slot), Some(Some(_))), "{change:?} of another binding");
        match change.call {
            MappingCall::Map(range) => {
                let range = raw(&range);
                let there = within(&self.ranges(slot.0, slot.1), (range.0, range.0 + range.1));
                assert_eq!(there, [], "mapped twice");
                assert!(range.1 > 0 && range.3 > 0 && range.2 & 0xfff == 0, "{range:x?}");
                let outcome = self.asked(format!("map {:x}+{:x}", range.0, range.1));
                if outcome == Outcome::Done {
                    self.mapped.entry(slot).or_default().insert(range.0, range);
                }
                outcome
            }
            MappingCall::Unmap { first, pages } => {
                let all = self.ranges(slot.0, slot.1);
                let window = (first, first + pages);
                let gone = within(&all, window);
                assert_ne!(gone, [], "an unmap of nothing, {first:x}+{pages:x}");
                assert!(
                    self.cuts || gone.iter().all(|part| all.contains(part)),
                    "a mapping is cut: {first:x}+{pages:x}"
                );
                let outcome = self.asked(format!("unmap {first:x}+{pages:x}"));
                if outcome == Outcome::Done {
                    unmapped(slot.0, slot.1, &gone);
                    let left = without(all, window);
                    let left = left.into_iter().map(|range| (range.0, range)).collect();
                    self.mapped.insert(slot, left);
                }
                outcome
            }
        }
    }

    fn follow(&mut self, ledger: &mut Ledger, first: Option<Change>) {
        let mut next = first;
        while let Some(change) = next {
            let outcome = self.change(&change);
            next = ledger.settle(&change, outcome);
        }
    }

    /// One call of map or unmap, and what must follow.
    pub(crate) fn map_one(&mut self, ledger: &mut Ledger, change: &MappingChange) {
        let outcome = self.map_or_unmap(change, &mut |_, _, _| {});
        let follow_up = ledger.settle_mapping(change, outcome);
        self.follow(ledger, follow_up);
    }

    /// A whole comparison, with budgets of this size.
    pub(crate) fn sync_watched(
        &mut self,
        ledger: &mut Ledger,
        guest: &Guest,
        scope: ShadowScope,
        size: u32,
        unmapped: &mut dyn FnMut(u32, Slot, &[Range]),
    ) {
        let mut walk = ShadowWalk::new(scope);
        let mut budget = size;
        for _ in 0..4_000_000 {
            match ledger.next_mapping(&mut walk, guest, &guest.caps, &mut budget) {
                NextMapping::Call(change) => {
                    let outcome = self.map_or_unmap(&change, unmapped);
                    let follow_up = ledger.settle_mapping(&change, outcome);
                    self.follow(ledger, follow_up);
                }
                NextMapping::More => budget = size,
                NextMapping::Done => return self.check(ledger),
            }
        }
        panic!("{walk:?} for ever");
    }

    pub(crate) fn sync(
        &mut self,
        ledger: &mut Ledger,
        guest: &Guest,
        scope: ShadowScope,
        size: u32,
    ) {
        self.sync_watched(ledger, guest, scope, size, &mut |_, _, _| {});
    }

    /// Bindings and what is to be filled, with budgets of this size.
    pub(crate) fn reconcile(
        &mut self,
        ledger: &mut Ledger,
        guest: &Guest,
        scope: &Scope,
        wanted: &Wanted<'_>,
        size: u32,
    ) {
        self.bind(ledger, scope, wanted, size);
        self.sync(ledger, guest, ShadowScope::Unfilled, size);
    }

    pub(crate) fn bind(
        &mut self,
        ledger: &mut Ledger,
        scope: &Scope,
        wanted: &Wanted<'_>,
        size: u32,
    ) {
        let mut cursor = Reconciliation::new(scope.clone());
        let mut budget = size;
        loop {
            match ledger.next_change(&mut cursor, wanted, &|_, _, _| true, &mut budget) {
                Next::Change(change) => self.follow(ledger, Some(change)),
                Next::More => budget = size,
                Next::Done => break,
            }
        }
    }

    /// The ledger knows exactly what is mapped.
    pub(crate) fn check(&self, ledger: &Ledger) {
        let mut count = 0;
        for (device, slot) in self.held.keys() {
            let known: Vec<_> = ledger.mappings(DeviceKey(*device), *slot).map(raw).collect();
            assert_eq!(known, self.ranges(*device, *slot), "{device} {slot:?}");
            count += known.len();
        }
        assert_eq!(ledger.counts().mapped, count);
        assert_eq!(ledger.counts().held, self.held.len());
    }
}
