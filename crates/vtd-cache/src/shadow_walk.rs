//! Keeping shadows equal to the guest's second-stage tables: an ordered merge of what is mapped and what the table grants, one
//! call at a time.

use core::ops::Bound;

use smallvec::SmallVec;
use vtd_memory::GuestMemory;
use vtd_spec::planted::is_planted;
use vtd_spec::table::SecondStage;
use vtd_spec::{Binding, Capabilities, DomainId, Gpa, Slot};
use vtd_walk::{LeafStep, SecondStageLeaf, SecondStageRange};

use crate::shadow::{Fill, Shadow};
use crate::{Change, DeviceKey, Ledger, Outcome, ShadowRange, SlotState};

/// FEE0_0000 to FEEF_FFFF in pages: [first, end).
const INTERRUPTS: (u64, u64) = (0xf_ee00, 0xf_ef00);

/// As many entries as a walk has to read to get on, however small the budget: one for each level.
const LEAST_BUDGET: u32 = 5;

/// Which shadows are compared with their tables.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ShadowScope {
    /// Those that a bind, a replace or a restore has left to be filled.
    Unfilled,
    /// All.
    All,
    /// Those of a domain.
    Domain(DomainId),
    /// Those of a domain, over the input pages of 4 KiB from the second field to the third, which is included.
    Pages(DomainId, u64, u64),
}

/// A comparison of shadows with their tables under way. It borrows nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ShadowWalk {
    scope: ShadowScope,
    /// The slot at hand, or the last one that is done.
    place: Option<(DeviceKey, Slot)>,
    window: Option<Window>,
}

/// How far the comparison of one shadow has come, in pages of 4 KiB.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Window {
    next: u64,
    end: u64,
    /// It is all of the shadow.
    full: bool,
    /// Nothing more is mapped: the host refused, or a quota is used up.
    refused: bool,
    /// The shadow that this is about.
    number: u64,
    /// How many of its mappings the host had refused when this began.
    refusals: u64,
}

/// A call that brings a shadow closer to its table, then given to [`Ledger::settle_mapping`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub struct MappingChange {
    /// Whose slot.
    pub device: DeviceKey,
    /// Which slot.
    pub slot: Slot,
    /// What the host is asked to do.
    pub call: MappingCall,
}

/// What the host is asked to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MappingCall {
    /// Map a run of pages, of which none is mapped.
    Map(ShadowRange),
    /// Unmap a run of pages.
    Unmap {
        /// Its first input page, in pages of 4 KiB.
        first: u64,
        /// How many pages of 4 KiB.
        pages: u64,
    },
}

/// What a [`ShadowWalk`] needs next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum NextMapping {
    /// This call on the host, then [`Ledger::settle_mapping`].
    Call(MappingChange),
    /// Another budget.
    More,
    /// Nothing: the shadows agree with their tables, but for mappings that were refused.
    Done,
}

/// What came of looking at a piece of a shadow.
enum Found {
    Call(MappingCall),
    Pause,
    End,
}

impl ShadowWalk {
    /// A comparison at its beginning.
    #[must_use]
    pub fn new(scope: ShadowScope) -> Self {
        Self { scope, place: None, window: None }
    }
}

impl Ledger {
    /// Whether any slot has a shadow, or is to have one again.
    #[must_use]
    pub fn has_shadows(&self) -> bool {
        self.shadows != 0 || self.has_lost
    }

    /// Whether a shadow is to be filled.
    #[must_use]
    pub fn has_unfilled(&self) -> bool {
        !self.unfilled.is_empty()
    }

    /// What the host maps for a slot, in order.
    pub fn mappings(&self, device: DeviceKey, slot: Slot) -> impl Iterator<Item = &ShadowRange> {
        self.shadow(device, slot).map(Shadow::ranges).into_iter().flatten()
    }

    /// Finds the next call that brings a shadow closer to its table.
    ///
    /// Each slot looked at and each table entry read takes one from the budget; any budget but 0 gets on, as the entries on the
    /// way to one page are read whatever is left of it. Tables are read again where the walk goes on.
    pub fn next_mapping(
        &mut self,
        walk: &mut ShadowWalk,
        memory: &dyn GuestMemory,
        caps: &Capabilities,
        budget: &mut u32,
    ) -> NextMapping {
        if walk.scope != ShadowScope::Unfilled && walk.place.is_none() {
            self.give_up_lost();
        }
        loop {
            if *budget == 0 {
                return NextMapping::More;
            }
            *budget -= 1;
            let Some(mut window) = walk.window else {
                let Some((place, window)) = self.next_shadow(walk) else {
                    return NextMapping::Done;
                };
                walk.place = Some(place);
                walk.window = window;
                continue;
            };
            let Some((device, slot)) = walk.place else { return NextMapping::Done };
            let found = self.compare_shadow((device, slot), &mut window, (memory, caps), budget);
            walk.window = Some(window);
            match found {
                Some(Found::Call(call)) => {
                    return NextMapping::Call(MappingChange { device, slot, call });
                }
                Some(Found::Pause) => return NextMapping::More,
                Some(Found::End) => {
                    walk.window = None;
                    self.close_window((device, slot), &window);
                }
                // The slot holds something else by now.
                None => walk.window = None,
            }
        }
    }

    /// The next slot in the scope, with its window if it is to be looked at.
    fn next_shadow(&self, walk: &ShadowWalk) -> Option<((DeviceKey, Slot), Option<Window>)> {
        if walk.scope == ShadowScope::Unfilled {
            let after = walk.place.map_or(Bound::Unbounded, Bound::Excluded);
            let place = *self.unfilled.range((after, Bound::Unbounded)).next()?;
            return Some((place, self.window(place, 0, u64::MAX)));
        }
        let (key, slots) = match walk.place {
            Some((key, slot)) => (key, (Bound::Excluded(slot), Bound::Unbounded)),
            None => (*self.devices.keys().next()?, (Bound::Unbounded, Bound::Unbounded)),
        };
        let own = self.devices.get(&key).and_then(|device| device.shadows.range(slots).next());
        let place = match own {
            Some((slot, _)) => (key, *slot),
            None => self
                .devices
                .range((Bound::Excluded(key), Bound::Unbounded))
                .find_map(|(key, device)| Some((*key, *device.shadows.keys().next()?)))?,
        };
        let domain =
            self.slot(place.0, place.1).and_then(|state| state.held).map(|held| held.domain);
        let window = match walk.scope {
            ShadowScope::Domain(wanted) if domain == Some(wanted) => {
                self.window(place, 0, u64::MAX)
            }
            ShadowScope::Pages(wanted, first, last) if domain == Some(wanted) => {
                self.window(place, first, last.saturating_add(1))
            }
            ShadowScope::Domain(_) | ShadowScope::Pages(..) => None,
            ShadowScope::All | ShadowScope::Unfilled => self.window(place, 0, u64::MAX),
        };
        Some((place, window))
    }

    fn window(&self, (device, slot): (DeviceKey, Slot), first: u64, end: u64) -> Option<Window> {
        let shadow = self.shadow(device, slot)?;
        let full = first == 0 && end == u64::MAX;
        // A host that unmaps only what it has mapped as a whole has to be told of the whole.
        let (mut next, mut end) = (first, end);
        if self.devices.get(&device)?.maps_whole_leaves {
            next = shadow.first_in(next, next + 1).map_or(next, |range| range.first);
            end = shadow.first_in(end - 1, end).map_or(end, |range| range.end().max(end));
        }
        let Shadow { number, refusals, .. } = *shadow;
        Some(Window { next, end, full, refused: false, number, refusals })
    }

    /// Enters what came of a whole window.
    fn close_window(&mut self, (device, slot): (DeviceKey, Slot), window: &Window) {
        if window.full {
            self.unfilled.remove(&(device, slot));
        }
        if let Some(shadow) = self.shadow_mut(device, slot) {
            let fill = match &shadow.fill {
                _ if window.refused => Fill::Refused,
                Fill::Lost(lost) => lost.fill(),
                _ if window.full => Fill::Complete,
                _ => return,
            };
            shadow.fill = fill;
        }
    }

    /// The next call for one shadow; `None` where the slot has another by now, or none.
    fn compare_shadow(
        &mut self,
        (device, slot): (DeviceKey, Slot),
        window: &mut Window,
        (memory, caps): (&dyn GuestMemory, &Capabilities),
        budget: &mut u32,
    ) -> Option<Found> {
        if self.slot(device, slot).is_some_and(SlotState::contradicts) {
            // The host keeps what it should not, so that nothing can be said of what it maps until that is settled. Should it
            // then be right again, it is compared as a whole.
            self.unfilled.remove(&(device, slot));
            self.shadow_mut(device, slot)?.fill = Fill::Refused;
            return None;
        }
        let shadow = self.shadow(device, slot)?;
        if shadow.number != window.number {
            return None;
        }
        window.refused |= shadow.refusals != window.refusals;
        if let Fill::Lost(lost) = &shadow.fill {
            return Some(match lost.ranges.last() {
                Some(range) if !window.refused => Found::Call(MappingCall::Map(*range)),
                _ => Found::End,
            });
        }
        let Some(Binding::SecondStage(stage)) =
            self.slot(device, slot)?.held.map(|held| held.binding)
        else {
            return None;
        };
        let whole = self.devices.get(&device)?.maps_whole_leaves;
        let space = self.has_space_to_map(device);
        let mut merge = Merge { shadow, whole, window, open: None, moved: None, space };
        let least = (*budget).max(LEAST_BUDGET);
        let mut left = least;
        let found = merge.run(Leaves::new(memory, caps, stage, merge.window), &mut left);
        *budget = budget.saturating_sub(least - left);
        let starved = merge.space == Space::Missed;
        if starved {
            self.refuse_mapping_for_space(device);
        }
        Some(found)
    }

    /// Enters what came of a call. An unmap that failed yields the unbind that must follow it.
    pub fn settle_mapping(&mut self, change: &MappingChange, outcome: Outcome) -> Option<Change> {
        let MappingChange { device, slot, call } = *change;
        let before = self.shadow(device, slot).map_or(0, Shadow::len);
        let shadow = self.shadow_mut(device, slot)?;
        match (call, outcome) {
            (MappingCall::Map(range), outcome) => {
                if let Fill::Lost(lost) = &mut shadow.fill {
                    lost.ranges.pop();
                }
                match outcome {
                    Outcome::Done => shadow.insert(range),
                    Outcome::Failed { .. } => shadow.refusals += 1,
                }
            }
            (MappingCall::Unmap { first, pages }, Outcome::Done) => {
                shadow.remove(first, first.saturating_add(pages));
            }
            // Planted (row 27): they count as gone.
            (MappingCall::Unmap { first, pages }, Outcome::Failed { .. }) if is_planted(227) => {
                shadow.remove(first, first.saturating_add(pages));
            }
            (MappingCall::Unmap { .. }, Outcome::Failed { errno }) => {
                return self.distrust(device, slot, errno);
            }
        }
        let after = self.shadow(device, slot).map_or(0, Shadow::len);
        self.count_mappings(device, before, after);
        None
    }
}

/// Whether one more range may be mapped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Space {
    Left,
    Used,
    /// There is none, and a range would have been mapped.
    Missed,
}

/// The merge of one shadow with its table, up to the next call.
struct Merge<'a> {
    shadow: &'a Shadow,
    /// Each leaf is a mapping of its own, mapped and unmapped as a whole.
    whole: bool,
    window: &'a mut Window,
    /// What is to be mapped: it grows while leaves continue it.
    open: Option<ShadowRange>,
    /// What is to be unmapped, [first, end), since the table says otherwise now: it grows while the same holds of what follows.
    moved: Option<(u64, u64)>,
    space: Space,
}

impl Merge<'_> {
    fn run(&mut self, mut leaves: Leaves<'_>, budget: &mut u32) -> Found {
        loop {
            let pending = self.open.is_some() || self.moved.is_some();
            if self.window.refused && !pending && leaves.pieces.is_empty() {
                // Only what is mapped matters any more.
                let reached = leaves.position().min(self.window.end);
                if let Some(call) = self.clear_gap(reached) {
                    return Found::Call(call);
                }
                self.window.next = self.window.next.max(reached);
                let Some(range) = self.shadow.first_in(self.window.next, self.window.end) else {
                    return Found::End;
                };
                if range.first > self.window.next {
                    self.window.next = range.first;
                    leaves.go_to(self.window);
                }
            }
            let piece = match leaves.next(budget) {
                Step::Piece(piece) if self.whole => Some(piece),
                Step::Piece(piece) => match piece.within(self.window.next, self.window.end) {
                    Some(piece) => Some(piece),
                    None => continue,
                },
                Step::End => None,
                Step::Pause if self.open.is_some() || self.moved.is_some() => None,
                Step::Pause => {
                    let reached = leaves.position().min(self.window.end);
                    if let Some(call) = self.clear_gap(reached) {
                        return Found::Call(call);
                    }
                    self.window.next = self.window.next.max(reached);
                    return Found::Pause;
                }
            };
            let call = match piece {
                Some(piece) => self.take(piece),
                None => self.close().or_else(|| self.clear_gap(self.window.end)),
            };
            if let Some(call) = call {
                return Found::Call(call);
            }
            if piece.is_none() {
                return Found::End;
            }
        }
    }

    /// What is open becomes a call. After an unmap the merge is where it was: what is mapped there instead comes next.
    fn close(&mut self) -> Option<MappingCall> {
        if let Some((first, end)) = self.moved.take() {
            return Some(MappingCall::Unmap { first, pages: end - first });
        }
        let open = self.open.take()?;
        self.window.next = open.end();
        Some(MappingCall::Map(open))
    }

    /// The table grants nothing from where the merge is up to `end`: what is mapped there goes.
    fn clear_gap(&mut self, end: u64) -> Option<MappingCall> {
        let next = self.window.next;
        let shadow = self.shadow;
        let range = shadow.first_in(next, end)?;
        let (first, mut last) = self.unmapped_of(range, next, end);
        while let Some(more) = shadow.first_in(last, end).filter(|more| more.first == last) {
            last = self.unmapped_of(more, last, end).1;
        }
        Some(MappingCall::Unmap { first, pages: last - first })
    }

    /// The part of a mapped range in [first, end) as it is unmapped: [first, end).
    fn unmapped_of(&mut self, range: &ShadowRange, first: u64, end: u64) -> (u64, u64) {
        if self.whole {
            return (range.first, range.end());
        }
        // A hole makes two ranges of one. Without space for the second it goes too.
        if range.first < first && end < range.end() && self.space != Space::Left {
            self.note_missing_space();
            return (first, range.end());
        }
        (range.first.max(first), range.end().min(end))
    }

    fn note_missing_space(&mut self) {
        if !self.window.refused {
            self.space = Space::Missed;
            self.window.refused = true;
        }
    }

    /// Adds what is mapped in the place of a piece that differs to what is to be unmapped, if that goes on with it.
    fn move_on(&mut self, piece: &ShadowRange) -> bool {
        let shadow = self.shadow;
        let Some((_, reached)) = self.moved else { return false };
        let range = shadow.first_in(piece.first, piece.end());
        let Some(range) = range.filter(|range| !range.agrees(piece)) else { return false };
        let (first, end) = self.unmapped_of(range, piece.first, piece.end());
        // What is left of the piece is looked at when the merge goes on from here.
        let whole_piece = first == piece.first && end >= piece.end();
        if first == reached && whole_piece {
            self.moved = self.moved.map(|(first, _)| (first, end));
        }
        first == reached && whole_piece
    }

    /// Takes a piece that the table grants.
    fn take(&mut self, piece: ShadowRange) -> Option<MappingCall> {
        if self.moved.is_some() {
            return if self.move_on(&piece) { None } else { self.close() };
        }
        if let Some(open) = &mut self.open {
            let free = self.shadow.first_in(piece.first, piece.end()).is_none();
            if free && !self.whole && open.continues_with(&piece) {
                open.pages += piece.pages;
                return None;
            }
            return self.close();
        }
        if let Some(call) = self.clear_gap(piece.first) {
            return Some(call);
        }
        let mut rest = Some(piece);
        while let Some(piece) = rest {
            let end = piece.end();
            let Some(range) = self.shadow.first_in(piece.first, end) else {
                self.open(piece);
                return None;
            };
            if self.whole {
                if *range == piece {
                    break;
                }
                self.moved = Some((range.first, range.end()));
                return if range.end() == piece.end() { None } else { self.close() };
            }
            if let Some(hole) = piece.within(piece.first, range.first) {
                self.open(hole);
                if self.open.is_some() {
                    return self.close();
                }
                rest = piece.within(range.first, end);
                continue;
            }
            if !range.agrees(&piece) {
                let (first, last) = self.unmapped_of(range, piece.first, end);
                self.moved = Some((first, last));
                return if last == end { None } else { self.close() };
            }
            rest = piece.within(range.end(), end);
        }
        self.window.next = self.window.next.max(piece.end());
        None
    }

    /// Begins a range to be mapped, if more may be.
    fn open(&mut self, piece: ShadowRange) {
        if self.space != Space::Left {
            self.note_missing_space();
        }
        if self.window.refused {
            self.window.next = self.window.next.max(piece.end());
        } else {
            self.open = Some(piece);
        }
    }
}

/// The pieces that a table grants: its leaves without what belongs to interrupts.
struct Leaves<'m> {
    memory: &'m dyn GuestMemory,
    caps: &'m Capabilities,
    stage: SecondStage,
    walk: SecondStageRange<'m>,
    /// The pieces of a leaf that has some, in order, last first.
    pieces: SmallVec<[ShadowRange; 4]>,
}

enum Step {
    Piece(ShadowRange),
    Pause,
    End,
}

impl<'m> Leaves<'m> {
    fn new(
        memory: &'m dyn GuestMemory,
        caps: &'m Capabilities,
        stage: SecondStage,
        window: &Window,
    ) -> Self {
        let walk = SecondStageRange::new(memory, caps, &stage, window.next, window.end);
        Self { memory, caps, stage, walk, pieces: SmallVec::new() }
    }

    /// Goes on from where the window begins by now.
    fn go_to(&mut self, window: &Window) {
        let Self { memory, caps, stage, .. } = *self;
        *self = Self::new(memory, caps, stage, window);
    }

    fn position(&self) -> u64 {
        self.walk.position()
    }

    fn next(&mut self, budget: &mut u32) -> Step {
        loop {
            if let Some(piece) = self.pieces.pop() {
                return Step::Piece(piece);
            }
            match self.walk.step(budget) {
                LeafStep::Leaf(leaf) => self.pieces = pieces(&leaf),
                LeafStep::Pause => return Step::Pause,
                LeafStep::End => return Step::End,
            }
        }
    }
}

/// What of a leaf is to be mapped: requests to the interrupt range are no DMA, and translations that yield it are blocked.
fn pieces(leaf: &SecondStageLeaf) -> SmallVec<[ShadowRange; 4]> {
    let whole = ShadowRange {
        first: leaf.first,
        pages: leaf.pages,
        address: leaf.address,
        read: leaf.permissions.read,
        write: leaf.permissions.write,
    };
    // The interrupt range of the output side, in input pages; it may begin before the leaf.
    let Gpa(address) = leaf.address;
    let output = address >> 12;
    let hidden = |(first, end): (u64, u64)| {
        let first = (leaf.first + first.saturating_sub(output)).min(whole.end());
        let end = (leaf.first + end.saturating_sub(output)).min(whole.end());
        (first, end)
    };
    let mut pieces: SmallVec<[ShadowRange; 4]> = SmallVec::new();
    pieces.push(whole);
    for (first, end) in [INTERRUPTS, hidden(INTERRUPTS)] {
        pieces = pieces
            .iter()
            // Last first, as they are taken.
            .flat_map(|piece| [piece.within(end, u64::MAX), piece.within(0, first)])
            .flatten()
            .collect();
    }
    pieces
}
