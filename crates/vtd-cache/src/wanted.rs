//! What should be bound: the desired side of a reconciliation.

use vtd_memory::GuestMemory;
use vtd_spec::planted::is_planted;
use vtd_spec::table::{ContextEntry, LegacyTranslation, PasidEntry, Translation};
use vtd_spec::{Binding, Capabilities, DomainId, Entry, Gpa, Pasid, SourceId};
use vtd_walk::{
    PasidRange, RangeStep, read_context, read_legacy_context, read_pasid_directory,
    read_pasid_entry, read_stable_entry,
};

use crate::Held;

/// Where the desired side comes from.
#[derive(Clone, Copy)]
pub enum Wanted<'m> {
    /// Translation is off: pass-through for requests without PASID, nothing for others. No memory is read.
    PassThrough,
    /// Nothing: abort mode, an unusable root table, a device that is released. No memory is read.
    Nothing,
    /// What the host held when the unit was saved. No memory is read.
    Restored,
    /// The guest's legacy-mode tables.
    Legacy(Tables<'m>),
    /// The guest's scalable-mode tables.
    Scalable(Tables<'m>),
}

/// Tables in guest memory.
#[derive(Clone, Copy)]
pub struct Tables<'m> {
    /// Guest memory.
    pub memory: &'m dyn GuestMemory,
    /// What decides on reserved bits.
    pub caps: &'m Capabilities,
    /// The latched root table.
    pub root: Gpa,
}

/// The desired side of one slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub(crate) struct Desired {
    pub(crate) binding: Option<Binding>,
    /// The raw field of the guest's entry, even of one that means nothing; `None` for an entry with P=0.
    pub(crate) domain: Option<DomainId>,
}

impl Desired {
    pub(crate) const NOTHING: Self = Self { binding: None, domain: None };

    fn of_entry(raw: &[u64; 8], caps: &Capabilities) -> Self {
        let binding = match PasidEntry::decode(raw, caps) {
            Entry::Present(entry) => match entry.translation {
                Translation::FirstStage(stage) => Some(Binding::FirstStage(stage)),
                Translation::PassThrough => Some(Binding::PassThrough),
                Translation::SecondStage(stage) => Some(Binding::shadow(stage)),
                // A shadow has no place for a first-stage table above it.
                Translation::Nested(..) => None,
            },
            Entry::NotPresent { .. } | Entry::Malformed(_) => None,
        };
        Self { binding, domain: PasidEntry::raw_domain(raw) }
    }

    /// As the ledger keeps it.
    pub(crate) fn as_held(&self) -> Option<Held> {
        Some(Held { binding: self.binding?, domain: self.domain? })
    }
}

impl<'m> Wanted<'m> {
    /// What this says of one device: its root and context entries are read here, once.
    pub(crate) fn of_device(&self, source_id: SourceId) -> DeviceWanted<'m> {
        let pass_through =
            Desired { binding: Some(Binding::PassThrough), domain: Some(DomainId(0)) };
        match self {
            Self::PassThrough => DeviceWanted::fixed(pass_through),
            Self::Nothing | Self::Restored => DeviceWanted::fixed(Desired::NOTHING),
            Self::Legacy(tables) => {
                let entry = read_legacy_context(tables.memory, tables.caps, tables.root, source_id);
                DeviceWanted::fixed(entry.map_or(Desired::NOTHING, |entry| Desired {
                    binding: match entry.translation {
                        LegacyTranslation::PassThrough { .. } => Some(Binding::PassThrough),
                        LegacyTranslation::SecondStage(stage)
                        | LegacyTranslation::SecondStageWithDeviceTlb(stage) => {
                            Some(Binding::shadow(stage))
                        }
                    },
                    domain: Some(entry.domain),
                }))
            }
            Self::Scalable(tables) => {
                match read_context(tables.memory, tables.caps, tables.root, source_id) {
                    Ok(context) => {
                        DeviceWanted { rid: Desired::NOTHING, context: Some((*tables, context)) }
                    }
                    Err(_) => DeviceWanted::fixed(Desired::NOTHING),
                }
            }
        }
    }
}

/// The desired side of one device.
pub(crate) struct DeviceWanted<'m> {
    /// Slot Rid, where no context entry of scalable mode says it.
    rid: Desired,
    context: Option<(Tables<'m>, ContextEntry)>,
}

impl<'m> DeviceWanted<'m> {
    fn fixed(rid: Desired) -> Self {
        Self { rid, context: None }
    }

    /// RID_PASID, where there is a scalable-mode context entry.
    pub(crate) fn rid_pasid(&self) -> Option<Pasid> {
        self.context.as_ref().map(|(_, context)| context.rid_pasid)
    }

    /// Slot Rid.
    pub(crate) fn rid(&self, held: Option<Held>) -> Desired {
        match &self.context {
            Some((_, context)) => self.entry(context.rid_pasid, held),
            None => self.rid,
        }
    }

    /// Slot Pasid(n), looked up by itself.
    pub(crate) fn pasid(&self, pasid: Pasid, held: Option<Held>) -> Desired {
        match &self.context {
            Some((_, context)) if context.pasids && context.rid_pasid != pasid => {
                self.entry(pasid, held)
            }
            _ => Desired::NOTHING,
        }
    }

    /// A walk over the PASIDs from `start` to `end`; `None` where the device has none.
    pub(crate) fn range(&self, start: u32, end: u32) -> Option<WantedRange<'_, 'm>> {
        let (tables, context) = self.context.as_ref()?;
        if !context.pasids {
            return None;
        }
        let walk = PasidRange::new(tables.memory, tables.caps, context, start, end);
        Some(WantedRange { wanted: self, walk })
    }

    fn entry(&self, pasid: Pasid, held: Option<Held>) -> Desired {
        let Some((tables, context)) = &self.context else { return Desired::NOTHING };
        let Ok(directory) = read_pasid_directory(tables.memory, tables.caps, context, pasid) else {
            return Desired::NOTHING;
        };
        match read_pasid_entry(tables.memory, directory.table, pasid) {
            Ok((place, raw)) => self.steady(place, raw, held),
            Err(_) => Desired::NOTHING,
        }
    }

    /// What an entry says, once a copy that differs from what is held has been seen twice.
    fn steady(&self, place: Gpa, raw: [u64; 8], held: Option<Held>) -> Desired {
        let Some((tables, _)) = &self.context else { return Desired::NOTHING };
        let first = Desired::of_entry(&raw, tables.caps);
        // Planted (row 28): the first copy counts, torn or not.
        if first.as_held() == held || is_planted(28) {
            return first;
        }
        match read_stable_entry(tables.memory, place, raw) {
            Some(raw) => Desired::of_entry(&raw, tables.caps),
            None => Desired::NOTHING,
        }
    }
}

/// The desired side of a range of PASIDs.
pub(crate) struct WantedRange<'d, 'm> {
    wanted: &'d DeviceWanted<'m>,
    walk: PasidRange<'m>,
}

/// The next present entry of a [`WantedRange`], not yet compared.
pub(crate) struct Candidate {
    pub(crate) pasid: Pasid,
    place: Gpa,
    raw: [u64; 8],
}

pub(crate) enum CandidateStep {
    Found(Candidate),
    Pause,
    End,
}

impl WantedRange<'_, '_> {
    pub(crate) fn step_below(&mut self, limit: u32, budget: &mut u32) -> CandidateStep {
        match self.walk.step_below(limit, budget) {
            RangeStep::Entry { pasid, place, raw } => {
                CandidateStep::Found(Candidate { pasid, place, raw })
            }
            RangeStep::Pause => CandidateStep::Pause,
            RangeStep::End => CandidateStep::End,
        }
    }

    pub(crate) fn position(&self) -> u32 {
        self.walk.position()
    }

    pub(crate) fn judge(&self, candidate: &Candidate, held: Option<Held>) -> Desired {
        if self.wanted.rid_pasid() == Some(candidate.pasid) {
            return Desired::NOTHING;
        }
        self.wanted.steady(candidate.place, candidate.raw, held)
    }
}
