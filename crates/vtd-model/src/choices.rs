//! Tables as caches may hold them: for each entry that is read, one of the values that it had.

use crate::bits::{bit, field, low16};
use crate::coverage::{Held, page};
use crate::history::{History, Moment, NOW};
use crate::memory::Memory;
use crate::path::{EntryKind, Read};
use crate::tables::{Place, Tables, Tag};

/// One way through the tables out of all that caches may hold. Which it is says the script: one number for each entry that has
/// more than one value, 0 for the newest.
pub(crate) struct Choices<'a, M: ?Sized> {
    pub(crate) history: &'a History,
    pub(crate) memory: &'a M,
    pub(crate) since: Moment,
    pub(crate) reads: &'a mut Vec<Read>,
    /// What was chosen, and out of how many.
    pub(crate) script: &'a mut Vec<(usize, usize)>,
    /// Accessed and dirty bits that an entry may have had when it was cached.
    pub(crate) set: &'a mut Vec<(u64, u64)>,
    pub(crate) scratch: &'a mut Scratch,
    /// How far the script is used up.
    at: usize,
    /// Until when the root entry, then the directory entry, was what was chosen.
    above: u64,
    above_tag: Option<(EntryKind, Tag)>,
    /// Until when the entry that was read last was what was chosen.
    last: u64,
    /// Page-table entries above the leaf whose values are of the past.
    stale_tables: Vec<(Held, u64)>,
    /// An entry has no value that goes with those chosen above it.
    impossible: bool,
}

/// Memory that is used again.
#[derive(Default)]
pub(crate) struct Scratch {
    ends: Vec<u64>,
    candidates: Vec<Candidate>,
}

/// A value that an entry may have.
struct Candidate {
    entry: [u64; 8],
    /// Until when it was in memory.
    end: u64,
    /// Accessed and dirty bits of values that differ in nothing else.
    set: u64,
}

impl<'a, M: Memory + ?Sized> Choices<'a, M> {
    #[allow(clippy::too_many_arguments, reason = "memory that is used again comes from outside")]
    pub(crate) fn new(
        history: &'a History,
        memory: &'a M,
        since: Moment,
        reads: &'a mut Vec<Read>,
        script: &'a mut Vec<(usize, usize)>,
        set: &'a mut Vec<(u64, u64)>,
        scratch: &'a mut Scratch,
    ) -> Self {
        Self {
            history,
            memory,
            since,
            reads,
            script,
            set,
            scratch,
            at: 0,
            above: NOW,
            above_tag: None,
            last: NOW,
            stale_tables: Vec::new(),
            impossible: false,
        }
    }

    /// Whether what was chosen goes together.
    pub(crate) const fn is_possible(&self) -> bool {
        !self.impossible
    }

    /// Whether the entry that was read last may be one that is never cached: one that is in memory now.
    pub(crate) fn last_is_fresh(&self) -> bool {
        self.last >= self.since.0
    }

    /// The entry as memory has it now.
    fn present(&self, address: u64, qwords: &mut [u64]) -> bool {
        let mut at = address;
        for qword in qwords {
            let Some(value) = self.memory.qword(at) else { return false };
            *qword = value;
            at = at.wrapping_add(8);
        }
        true
    }

    /// Gathers all values that the entry may have, the newest first; says whether there is none.
    fn gather(&mut self, place: Place, present: &[u64]) -> bool {
        let mut scratch = std::mem::take(self.scratch);
        let none = self.gather_into(place, present, &mut scratch);
        *self.scratch = scratch;
        none
    }

    fn gather_into(&self, place: Place, present: &[u64], scratch: &mut Scratch) -> bool {
        let Scratch { ends, candidates } = scratch;
        candidates.clear();
        let mut entry = [0; 8];
        fill(&mut entry, present);
        let caps = self.history.capabilities;
        let hidden = invisible(place.kind, caps.smpwcs());
        self.history.ends(place.address, present.len(), ends);
        for end in std::iter::once(NOW).chain(ends.iter().copied()) {
            if end != NOW {
                let addresses = crate::history::addresses(place.address, present.len());
                for (qword, at) in entry.iter_mut().zip(addresses) {
                    if let Some(value) = self.history.before(at, end) {
                        *qword = value;
                    }
                }
            }
            let [first, ..] = entry;
            let repeated = candidates.iter_mut().find(|candidate| {
                let [other, other_rest @ ..] = &candidate.entry;
                let [_, rest @ ..] = &entry;
                (other ^ first) & !hidden == 0 && other_rest == rest
            });
            let allowed = if is_present(place.kind, first) {
                let held = held(place, &entry, present);
                self.history.may_hold(&held, end, self.since)
                    && self.above_fits(&held)
                    && self.tables_fit(&held)
            } else {
                // What is not present is never cached.
                end >= self.since.0
            };
            match repeated {
                Some(candidate) if allowed => candidate.set |= first & hidden,
                None if allowed => candidates.push(Candidate { entry, end, set: first & hidden }),
                _ => {}
            }
        }
        candidates.is_empty()
    }

    /// A leaf says how large its page is, and what drops the page drops the tables above it.
    fn tables_fit(&self, held: &Held) -> bool {
        let fits = |&(table, end): &(Held, u64)| {
            let table = Held { page: held.page, ..table };
            table.kind.is_first_stage() != held.kind.is_first_stage()
                || table.tag != held.tag
                || self.history.may_hold(&table, end, self.since)
        };
        !held.leaf || held.page.1 - held.page.0 < 0x1000 || self.stale_tables.iter().all(fits)
    }

    /// The entry above has no domain of its own and goes with this one's.
    fn above_fits(&self, held: &Held) -> bool {
        let Some((kind, tag)) = self.above_tag else { return true };
        let below = matches!(
            (kind, held.kind),
            (EntryKind::Root, EntryKind::Context) | (EntryKind::Directory, EntryKind::PasidEntry)
        );
        let above = Held { kind, tag, ..*held };
        !below || self.history.may_hold(&above, self.above, self.since)
    }
}

impl<M: Memory + ?Sized> Tables for Choices<'_, M> {
    fn read(&mut self, place: Place, qwords: &mut [u64]) -> bool {
        if !self.present(place.address, qwords) {
            self.last = NOW;
            return false;
        }
        self.last = NOW;
        let is_above = matches!(place.kind, EntryKind::Root | EntryKind::Directory);
        let has_below = matches!(place.kind, EntryKind::Context | EntryKind::PasidEntry);
        if !self.history.is_unchanged(place.address, qwords.len())
            || has_below && self.above != NOW
            || !self.stale_tables.is_empty()
        {
            self.impossible |= self.gather(place, qwords);
            let count = self.scratch.candidates.len();
            let mut chosen = 0;
            if count > 1 {
                if self.at == self.script.len() {
                    self.script.push((0, count));
                }
                chosen = self.script.get(self.at).map_or(0, |&(chosen, _)| chosen);
                self.at += 1;
            }
            if let Some(Candidate { entry, end, set }) = self.scratch.candidates.get(chosen) {
                for (qword, value) in qwords.iter_mut().zip(entry) {
                    *qword = *value;
                }
                self.last = *end;
                self.set.push((place.address, *set));
                let is_table = matches!(
                    place.kind,
                    EntryKind::FirstStage { .. } | EntryKind::SecondStage { .. }
                );
                if is_table && *end != NOW {
                    self.stale_tables.push((held(place, entry, &[]), *end));
                }
            }
        }
        if is_above {
            self.above = self.last;
            self.above_tag = Some((place.kind, place.tag));
        }
        let addresses = crate::history::addresses(place.address, qwords.len());
        self.reads.extend(qwords.iter().zip(addresses).map(|(&value, address)| Read {
            address,
            value: Some(value),
            kind: place.kind,
        }));
        true
    }

    fn writable(&mut self, address: u64) -> bool {
        self.memory.writable(address)
    }
}

/// The entry, as a cache that holds it knows it.
fn held(place: Place, entry: &[u64; 8], present: &[u64]) -> Held {
    let &[first, second, ..] = entry;
    let domain = match place.kind {
        EntryKind::Context if place.tag.legacy => Some(low16(field(second, 23, 8))),
        EntryKind::PasidEntry => Some(low16(second)),
        EntryKind::FirstStage { .. } | EntryKind::SecondStage { .. } => Some(place.tag.domain),
        _ => None,
    };
    let (leaf, page) = match place.kind {
        EntryKind::FirstStage { level } | EntryKind::SecondStage { level } => {
            let leaf = level == 1 || level <= 3 && bit(first, 7);
            // Whatever page comes of a table, the one of 4 KiB is within it.
            (leaf, page(place.tag.address, if leaf { level } else { 1 }))
        }
        _ => (false, (0, 0)),
    };
    let in_memory = match (place.kind, present) {
        (EntryKind::PasidEntry, &[first, second, ..]) => Some((place.address, [first, second])),
        _ => None,
    };
    Held { kind: place.kind, tag: place.tag, domain, leaf, page, in_memory }
}

/// What is not present is never cached.
const fn is_present(kind: EntryKind, first: u64) -> bool {
    match kind {
        EntryKind::SecondStage { .. } => first & 3 != 0,
        _ => bit(first, 0),
    }
}

/// Bits that make no difference to an answer: accessed and dirty bits, where the unit sets them.
const fn invisible(kind: EntryKind, coherent: bool) -> u64 {
    match kind {
        EntryKind::FirstStage { .. } if coherent => 1 << 5 | 1 << 6 | 1 << 10,
        EntryKind::SecondStage { .. } if coherent => 1 << 8 | 1 << 9,
        _ => 0,
    }
}

fn fill(entry: &mut [u64; 8], qwords: &[u64]) {
    for (place, qword) in entry.iter_mut().zip(qwords) {
        *place = *qword;
    }
}
