//! What guest memory has held, and what has been invalidated since.

use crate::bits::low16;
use crate::capabilities::Capabilities;
use crate::coverage::{Held, Rule};
use crate::invalidation::Invalidation;
use crate::past::Past;
use crate::path::Update;

/// A moment: how many writes and invalidations have been before.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Moment(pub(crate) u64);

/// Present: a value that has no end yet.
pub(crate) const NOW: u64 = u64::MAX;

/// What guest memory has held and which invalidations have been completed, in their order. It says whether an answer can have
/// come from caches that were kept as they should be.
///
/// It is told of every write to guest memory (by the guest or by the unit) and of every invalidation when it is complete. What no
/// cache can hold any more is forgotten, so a request is judged before the next reset.
#[derive(Clone, Debug)]
pub struct History {
    pub(crate) rule: Rule,
    pub(crate) capabilities: Capabilities,
    moment: u64,
    past: Past,
    /// The newest comes last.
    invalidations: Vec<(u64, Invalidation)>,
    /// The last invalidations that drop all of the context cache, of the IOTLB, of the interrupt entry cache.
    global: [u64; 3],
}

impl History {
    /// No history, judged by what the architecture asks of every unit: IOTLB and paging-structure caches are dropped by IOTLB
    /// invalidations alone.
    #[must_use]
    pub fn new(capabilities: Capabilities) -> Self {
        Self {
            rule: Rule::Architecture,
            capabilities,
            moment: 1,
            past: Past::default(),
            invalidations: Vec::new(),
            global: [0; 3],
        }
    }

    /// No history, judged by what this project decided beyond that: an invalidation of a context or PASID-table entry drops
    /// the translations that were made through it.
    #[must_use]
    pub fn with_dependents(capabilities: Capabilities) -> Self {
        Self { rule: Rule::Dependents, ..Self::new(capabilities) }
    }

    /// Begins anew with what the guest is shown by now; memory that was taken stays.
    pub fn restart(&mut self, capabilities: Capabilities) {
        self.capabilities = capabilities;
        self.moment = 1;
        self.past.clear();
        self.invalidations.clear();
        self.global = [0; 3];
    }

    /// The present moment. What was in memory, or was not yet invalidated, at some time since then may be what a request saw.
    #[must_use]
    pub const fn moment(&self) -> Moment {
        Moment(self.moment)
    }

    /// Qwords were overwritten, all at once: no request can have seen some of them changed and others not yet.
    pub fn wrote(&mut self, updates: &[Update]) {
        let floor = self.floor();
        let mut changed = false;
        for &Update { address, old, new } in updates {
            if old != new {
                self.past.push(address, old, self.moment, floor);
                changed = true;
            }
        }
        self.moment += u64::from(changed);
    }

    /// An invalidation is complete.
    pub fn invalidated(&mut self, invalidation: Invalidation) {
        let at = self.moment;
        self.moment += 1;
        let [context, iotlb, interrupt] = &mut self.global;
        match invalidation {
            Invalidation::Everything => self.global = [at; 3],
            Invalidation::Translations => (*context, *iotlb) = (at, at),
            Invalidation::ContextGlobal => *context = at,
            Invalidation::IotlbGlobal => *iotlb = at,
            Invalidation::InterruptGlobal => *interrupt = at,
            _ => {}
        }
        self.invalidations.push((at, invalidation));
        if self.invalidations.len().is_multiple_of(1024) || self.past.is_large() {
            let floor = self.floor();
            self.invalidations.retain(|&(at, _)| at >= floor);
            self.past.forget(floor);
        }
    }

    /// Values that ended by then are in no cache any more: what was dropped since by one invalidation of everything in each.
    fn floor(&self) -> u64 {
        let [context, iotlb, interrupt] = self.global;
        let interrupt = if self.capabilities.ir() { interrupt } else { NOW };
        // The PASID cache goes with the context cache.
        context.min(iotlb).min(interrupt)
    }

    /// Whether an entry that was last in memory just before `end` may be held: nothing that drops it has been since. An
    /// invalidation that was completed from `since` on does not count, as the request may have been under way.
    pub(crate) fn may_hold(&self, held: &Held, end: u64, since: Moment) -> bool {
        let invalidations = self.invalidations.iter().rev();
        end >= since.0
            || !invalidations.take_while(|&&(at, _)| at > end).any(|(at, what)| {
                *at < since.0 && held.is_dropped_by(what, self.rule, self.renamed(held, *at))
            })
    }

    /// The domain that a PASID-table entry named in memory at a moment.
    fn renamed(&self, held: &Held, at: u64) -> Option<u16> {
        let (address, [first, second]) = held.in_memory?;
        let first = self.before(address, at).unwrap_or(first);
        let second = self.before(address.wrapping_add(8), at).unwrap_or(second);
        (first & 1 == 1).then(|| low16(second))
    }

    /// The moments at which one of the qwords from an address on was overwritten, the newest first.
    pub(crate) fn ends(&self, address: u64, qwords: usize, ends: &mut Vec<u64>) {
        ends.clear();
        for at in addresses(address, qwords) {
            ends.extend(self.past.of(at).map(|(_, end)| end));
        }
        ends.sort_unstable_by(|a, b| b.cmp(a));
        ends.dedup();
    }

    /// Whether nothing of these qwords was ever overwritten.
    pub(crate) fn is_unchanged(&self, address: u64, qwords: usize) -> bool {
        addresses(address, qwords).all(|at| !self.past.contains(at))
    }

    /// What a qword held just before a moment, where it has been overwritten since.
    pub(crate) fn before(&self, address: u64, end: u64) -> Option<u64> {
        let later = self.past.of(address).take_while(|&(_, until)| until >= end);
        later.last().map(|(value, _)| value)
    }
}

/// The addresses of qwords.
pub(crate) fn addresses(address: u64, qwords: usize) -> impl Iterator<Item = u64> {
    (0..).take(qwords).map(move |index: u64| address.wrapping_add(8 * index))
}
