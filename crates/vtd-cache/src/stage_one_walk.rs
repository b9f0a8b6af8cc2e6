//! Which host bindings a stage-1 invalidation concerns.

use core::ops::Bound;

use vtd_spec::{Binding, DomainId, Pasid, Slot};

use crate::{DeviceKey, Ledger, SlotState};

/// Which held first-stage bindings an invalidation reaches, by held domain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StageOneScope {
    /// All of them.
    All,
    /// Those of a domain.
    Domain(DomainId),
    /// Those of a domain and a PASID; Rid where the PASID is its RID_PASID.
    Pasid(DomainId, Pasid),
}

/// A walk over the held first-stage bindings that an invalidation reaches. It borrows nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StageOneWalk {
    scope: StageOneScope,
    device: Option<DeviceKey>,
    place: Place,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    Rid,
    Pasids(u32),
    Done,
}

/// What a [`StageOneWalk`] finds next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum NextStageOne {
    /// A held first-stage binding.
    Slot(DeviceKey, Slot),
    /// The walk needs another budget.
    More,
    /// There are no more.
    Done,
}

impl StageOneWalk {
    /// A walk at its beginning.
    #[must_use]
    pub fn new(scope: StageOneScope) -> Self {
        Self { scope, device: None, place: Place::Done }
    }

    fn concerns(&self, state: &SlotState) -> bool {
        state.held.is_some_and(|held| {
            matches!(held.binding, Binding::FirstStage(_))
                && match self.scope {
                    StageOneScope::All => true,
                    StageOneScope::Domain(domain) | StageOneScope::Pasid(domain, _) => {
                        held.domain == domain
                    }
                }
        })
    }
}

impl Ledger {
    /// Finds the next binding that an invalidation concerns. Each slot looked at takes one from the budget.
    pub fn next_stage_one(&self, walk: &mut StageOneWalk, budget: &mut u32) -> NextStageOne {
        loop {
            if *budget == 0 {
                return NextStageOne::More;
            }
            *budget -= 1;
            if walk.place == Place::Done {
                let after = walk.device.map_or(Bound::Unbounded, Bound::Excluded);
                let Some((key, _)) = self.devices.range((after, Bound::Unbounded)).next() else {
                    return NextStageOne::Done;
                };
                walk.device = Some(*key);
                walk.place = Place::Rid;
            }
            let Some((key, device)) = walk.device.and_then(|key| self.devices.get_key_value(&key))
            else {
                walk.place = Place::Done;
                continue;
            };
            if walk.place == Place::Rid {
                walk.place = Place::Pasids(0);
                let reached = match walk.scope {
                    StageOneScope::Pasid(_, pasid) => device.rid_pasid == Some(pasid),
                    StageOneScope::All | StageOneScope::Domain(_) => true,
                };
                if reached && device.rid.as_ref().is_some_and(|state| walk.concerns(state)) {
                    return NextStageOne::Slot(*key, Slot::Rid);
                }
                continue;
            }
            let Place::Pasids(from) = walk.place else { continue };
            let found = match walk.scope {
                StageOneScope::Pasid(_, pasid) => {
                    walk.place = Place::Done;
                    device.pasids.get(pasid).map(|state| (pasid, state))
                }
                StageOneScope::All | StageOneScope::Domain(_) => device.pasids.next(from),
            };
            let Some((pasid, state)) = found else {
                walk.place = Place::Done;
                continue;
            };
            if walk.place != Place::Done {
                walk.place = Place::Pasids(pasid.get() + 1);
            }
            if walk.concerns(state) {
                return NextStageOne::Slot(*key, Slot::Pasid(pasid));
            }
        }
    }
}
