//! The reconciliation: an ordered merge of what is held and what is desired, one change at a time.

use core::ops::Bound;

use vtd_spec::planted::is_planted;
use vtd_spec::{Binding, Pasid, Slot, SourceId};

use crate::domain_filter::DomainFilter;
use crate::shadow::Fill;
use crate::wanted::{CandidateStep, Desired, DeviceWanted, WantedRange};
use crate::{
    Call, Change, DeviceKey, FailureKind, Held, Ledger, RangeRequests, Scope, SlotScope, SlotState,
    Wanted,
};

/// A reconciliation under way: over what it runs and how far it has come. It borrows nothing and keeps no copy of any table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reconciliation {
    over: Over,
    /// The device at hand, or the last one that is done.
    device: Option<DeviceKey>,
    place: Place,
}

/// Over what a reconciliation runs.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Over {
    Scope(Scope),
    Requests(RangeRequests),
}

impl Over {
    fn slots(&self) -> &SlotScope {
        match self {
            Self::Scope(scope) => &scope.slots,
            Self::Requests(_) => &SlotScope::All,
        }
    }

    /// Which pairs of a device are compared, if any.
    fn filter(&self, device: DeviceKey, source: SourceId) -> Option<DomainFilter> {
        match self {
            Self::Scope(scope) => {
                scope.devices.contains(device, source).then(|| scope.domain.into())
            }
            Self::Requests(requests) => requests.filter(source),
        }
    }
}

/// How far a reconciliation has come within a device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    /// The slot of the PASID that has become RID_PASID: it is emptied before Rid takes it over.
    Handover,
    Rid,
    /// PASIDs from this one on.
    Pasids(u32),
    Done,
}

/// What a reconciliation needs next.
#[derive(Debug, PartialEq, Eq)]
#[must_use]
pub enum Next {
    /// This call on the host, then [`Ledger::settle`].
    Change(Change),
    /// Another budget.
    More,
    /// Nothing: held and desired agree over the whole scope, but for slots whose calls failed.
    Done,
}

impl Reconciliation {
    /// A reconciliation over a scope, at its beginning.
    #[must_use]
    pub fn new(scope: Scope) -> Self {
        Self { over: Over::Scope(scope), device: None, place: Place::Done }
    }

    /// One reconciliation for several requests, at its beginning. It makes the calls that one after the other would.
    #[must_use]
    pub fn of_requests(requests: RangeRequests) -> Self {
        Self { over: Over::Requests(requests), device: None, place: Place::Done }
    }
}

/// The held and the desired side of one slot.
struct Pair<'a> {
    state: Option<&'a SlotState>,
    desired: Desired,
}

/// What a pair calls for.
enum Verdict {
    /// The pair is not of a domain asked for.
    Elsewhere,
    /// Nothing.
    Agree,
    /// Nothing is held and nothing is desired: the state of the slot goes, if a failure has left it one.
    Forget,
    /// The entry differs in what the host is not told of.
    Note(Held),
    Call(Call),
}

impl Pair<'_> {
    /// The table of the reconciliation. The domain filters the pair, never one side alone.
    fn judge(&self, filter: &DomainFilter) -> Verdict {
        if !filter.is_open()
            && !self.desired.domain.is_some_and(|domain| filter.takes(domain))
            // Planted (row 26): the domain of what is held does not lead to it.
            && (is_planted(26)
                || !self.state.is_some_and(|state| state.domains().any(|domain| filter.takes(domain))))
        {
            return Verdict::Elsewhere;
        }
        let held = self.state.and_then(|state| state.held);
        let (mut held, mut wanted) = (held, self.desired.as_held());
        // Planted (75): each side is filtered by its own domain, not the pair.
        if is_planted(75) {
            held = held.filter(|held| filter.takes(held.domain));
            wanted = wanted.filter(|wanted| filter.takes(wanted.domain));
        }
        match (held, wanted) {
            (None, None) => Verdict::Forget,
            (None, Some(wanted)) => Verdict::Call(Call::Bind(wanted)),
            (Some(_), None) => Verdict::Call(Call::Unbind),
            (Some(held), Some(wanted)) => {
                let stale = self.state.is_some_and(SlotState::is_stale);
                let failed = self.state.is_some_and(|state| state.failure.is_some());
                if stale || held.binding != wanted.binding {
                    Verdict::Call(Call::Replace(wanted))
                } else if failed || held.domain != wanted.domain {
                    Verdict::Note(wanted)
                } else {
                    Verdict::Agree
                }
            }
        }
    }
}

/// What came of comparing a pair.
enum Compared {
    /// No call is needed.
    Settled,
    /// A bind is, and there is no space for it.
    Refused,
    Call(Change),
}

/// What the host can take: a binding that it cannot is nothing.
pub(crate) type Takes<'a> = &'a dyn Fn(DeviceKey, Slot, &Binding) -> bool;

impl Ledger {
    /// Finds the next call that brings what is held closer to what is desired.
    ///
    /// `takes` says whether the host can hold a binding. Each device, each entry walked over and each slot compared takes one
    /// from the budget, which bounds the work of one call; any budget but 0 gets on. The walk keeps its place in `cursor`;
    /// tables are read again where it goes on.
    pub fn next_change(
        &mut self,
        cursor: &mut Reconciliation,
        wanted: &Wanted<'_>,
        takes: Takes<'_>,
        budget: &mut u32,
    ) -> Next {
        loop {
            if *budget == 0 {
                return Next::More;
            }
            if cursor.place == Place::Done {
                *budget -= 1;
                let after = cursor.device.map_or(Bound::Unbounded, Bound::Excluded);
                let next = self
                    .devices
                    .range((after, Bound::Unbounded))
                    .find(|(key, device)| cursor.over.filter(**key, device.source_id).is_some());
                let Some((key, _)) = next else { return Next::Done };
                cursor.device = Some(*key);
                cursor.place = Place::Handover;
            }
            let Some(key) = cursor.device else { return Next::Done };
            let Some(device) = self.devices.get(&key) else {
                cursor.place = Place::Done;
                continue;
            };
            // A device that has another source-id by now has been reconciled for that.
            let Some(filter) = cursor.over.filter(key, device.source_id) else {
                cursor.place = Place::Done;
                continue;
            };
            let step = match wanted {
                Wanted::Restored => self.restore_step(key, cursor, budget),
                _ => {
                    let wanted = wanted.of_device(device.source_id);
                    self.device_step(key, cursor, &filter, &wanted, takes, budget)
                }
            };
            if let Some(next) = step {
                return next;
            }
        }
    }

    /// Walks on within one device; `None` once it is done.
    fn device_step(
        &mut self,
        key: DeviceKey,
        cursor: &mut Reconciliation,
        filter: &DomainFilter,
        wanted: &DeviceWanted<'_>,
        takes: Takes<'_>,
        budget: &mut u32,
    ) -> Option<Next> {
        if cursor.place == Place::Handover {
            cursor.place = Place::Rid;
            if let Some(pasid) = wanted.rid_pasid()
                && cursor.over.slots().contains(pasid.get())
                && self.devices.get(&key)?.pasids.get(pasid).is_some()
            {
                // The entry has a domain of its own, and Rid is about to hold it.
                let desired = Desired { binding: None, domain: wanted.rid(None).domain };
                let slot = Slot::Pasid(pasid);
                if let Compared::Call(call) = self.compare(key, slot, desired, filter, wanted) {
                    return Some(Next::Change(call));
                }
            }
        }
        if cursor.place == Place::Rid {
            let bounds = cursor.over.slots().bounds();
            cursor.place = Place::Pasids(bounds.start);
            let device = self.devices.get(&key)?;
            // A Rid without state has no RID_PASID of its own, as it has none after a save and restore.
            let held_rid_pasid = device.rid.as_ref().and(device.rid_pasid);
            let in_scope = [held_rid_pasid, wanted.rid_pasid()]
                .into_iter()
                .flatten()
                .any(|pasid| cursor.over.slots().contains(pasid.get()))
                || *cursor.over.slots() == SlotScope::All;
            if in_scope {
                let held = device.rid.as_ref().and_then(|state| state.held);
                let desired = acceptable(wanted.rid(held), takes, key, Slot::Rid);
                if let Compared::Call(call) = self.compare(key, Slot::Rid, desired, filter, wanted)
                {
                    return Some(Next::Change(call));
                }
            }
        }
        self.pasid_step(key, cursor, filter, wanted, takes, budget)
    }

    /// The ordered merge over the PASIDs of one device; `None` once it is done.
    fn pasid_step(
        &mut self,
        key: DeviceKey,
        cursor: &mut Reconciliation,
        filter: &DomainFilter,
        wanted: &DeviceWanted<'_>,
        takes: Takes<'_>,
        budget: &mut u32,
    ) -> Option<Next> {
        let Place::Pasids(start) = cursor.place else { return None };
        let end = cursor.over.slots().bounds().end;
        if start + 1 == end {
            return self.only_pasid_step(key, cursor, filter, wanted, takes, budget);
        }
        let mut range = wanted.range(start, end);
        let mut position = start;
        loop {
            let device = self.devices.get(&key)?;
            if *budget == 0 {
                cursor.place = Place::Pasids(position);
                return Some(Next::More);
            }
            let held = device.pasids.next(position).filter(|(pasid, _)| pasid.get() < end);
            let held_at = held.map(|(pasid, _)| pasid);
            // The walk goes no further than the held slot at hand: after a call it would read all of that again.
            let limit = held_at.map_or(end, |pasid| pasid.get() + 1);
            let found = match range.as_mut().map(|walk| walk.step_below(limit, budget)) {
                Some(CandidateStep::Found(found)) => Some(found),
                Some(CandidateStep::Pause) => {
                    position = range.as_ref().map_or(position, WantedRange::position);
                    continue;
                }
                Some(CandidateStep::End) | None => None,
            };
            let Some(pasid) = found.as_ref().map(|found| found.pasid).or(held_at) else {
                cursor.place = Place::Done;
                return None;
            };
            *budget = budget.saturating_sub(1);
            let held = device.pasids.get(pasid).and_then(|state| state.held);
            let desired = match (&found, &range) {
                (Some(found), Some(range)) => range.judge(found, held),
                _ => wanted.pasid(pasid, held),
            };
            position = pasid.get() + 1;
            cursor.place = Place::Pasids(position);
            let slot = Slot::Pasid(pasid);
            let desired = acceptable(desired, takes, key, slot);
            match self.compare(key, slot, desired, filter, wanted) {
                Compared::Settled => {}
                Compared::Call(call) => return Some(Next::Change(call)),
                // Nothing more can be bound, so from here on only what is held matters: the rest waits for space.
                Compared::Refused => range = None,
            }
        }
    }

    /// The same where there is but one PASID to look at, which takes no walk.
    fn only_pasid_step(
        &mut self,
        key: DeviceKey,
        cursor: &mut Reconciliation,
        filter: &DomainFilter,
        wanted: &DeviceWanted<'_>,
        takes: Takes<'_>,
        budget: &mut u32,
    ) -> Option<Next> {
        let Place::Pasids(number) = cursor.place else { return None };
        if *budget == 0 {
            return Some(Next::More);
        }
        *budget -= 1;
        cursor.place = Place::Done;
        let pasid = Pasid::new(number)?;
        let slot = Slot::Pasid(pasid);
        let held = self.devices.get(&key)?.pasids.get(pasid).and_then(|state| state.held);
        let desired = acceptable(wanted.pasid(pasid, held), takes, key, slot);
        match self.compare(key, slot, desired, filter, wanted) {
            Compared::Call(call) => Some(Next::Change(call)),
            Compared::Settled | Compared::Refused => None,
        }
    }

    /// Compares one pair, enters what needs no call, and yields the call where one is needed.
    fn compare(
        &mut self,
        key: DeviceKey,
        slot: Slot,
        desired: Desired,
        filter: &DomainFilter,
        wanted: &DeviceWanted<'_>,
    ) -> Compared {
        let Some(device) = self.devices.get(&key) else { return Compared::Settled };
        let state = device.slot(slot);
        let rid_pasid = wanted.rid_pasid();
        match (Pair { state, desired }).judge(filter) {
            Verdict::Elsewhere => return Compared::Settled,
            Verdict::Call(call) => {
                let takes_space = state.is_none() && matches!(slot, Slot::Pasid(_));
                if takes_space && !self.has_space(device) {
                    self.refuse_for_space(key);
                    return Compared::Refused;
                }
                let after = None;
                let change = Change { device: key, slot, call, rid_pasid, after, restores: false };
                return Compared::Call(change);
            }
            Verdict::Agree => {}
            Verdict::Forget => self.set(key, slot, None),
            Verdict::Note(held) => {
                self.set(key, slot, Some(SlotState { held: Some(held), failure: None }));
            }
        }
        // What a host refused to map, or a quota left out, is tried again.
        if let Some(shadow) = self.shadow(key, slot)
            && shadow.fill == Fill::Refused
        {
            self.unfilled.insert((key, slot));
        }
        if slot == Slot::Rid
            && let Some(device) = self.devices.get_mut(&key)
        {
            device.rid_pasid = rid_pasid;
        }
        Compared::Settled
    }

    /// Binds what a saved unit held and a fresh host does not; `None` once the device is done.
    fn restore_step(
        &mut self,
        key: DeviceKey,
        cursor: &mut Reconciliation,
        budget: &mut u32,
    ) -> Option<Next> {
        let device = self.devices.get(&key)?;
        let lost = |state: &SlotState| {
            let failure = state.failure.as_deref()?;
            (failure.kind == FailureKind::Unrestored).then_some(failure.attempted).flatten()
        };
        let bind = |slot, held| {
            let call = Call::Bind(held);
            let rid_pasid = device.rid_pasid;
            Change { device: key, slot, call, rid_pasid, after: None, restores: true }
        };
        if matches!(cursor.place, Place::Handover | Place::Rid) {
            cursor.place = Place::Pasids(0);
            if let Some(held) = device.rid.as_ref().and_then(lost) {
                return Some(Next::Change(bind(Slot::Rid, held)));
            }
        }
        let Place::Pasids(mut position) = cursor.place else { return None };
        while let Some((pasid, state)) = device.pasids.next(position) {
            if *budget == 0 {
                cursor.place = Place::Pasids(position);
                return Some(Next::More);
            }
            *budget -= 1;
            position = pasid.get() + 1;
            if let Some(held) = lost(state) {
                cursor.place = Place::Pasids(position);
                return Some(Next::Change(bind(Slot::Pasid(pasid), held)));
            }
        }
        cursor.place = Place::Done;
        None
    }
}

/// A binding that the host cannot take is nothing; its domain still stands.
fn acceptable(desired: Desired, takes: Takes<'_>, device: DeviceKey, slot: Slot) -> Desired {
    match desired.binding {
        Some(binding) if !takes(device, slot, &binding) => Desired { binding: None, ..desired },
        _ => desired,
    }
}
