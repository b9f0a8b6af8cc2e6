//! The guest's tables at every request, whatever the unit reads of them.
//!
//! A unit that answers from its caches reads nothing, so its accesses alone would not tell that the tables have changed. The
//! recorder therefore walks them itself before each request of a device, so that a recording can be held against what the guest
//! had told the unit by then.

use vtd::memory::GuestMemory;
use vtd::spec::Gpa;
use vtd::{Access, RootTable};

use super::recorded_unit::Recorded;
use super::tape::Tape;
use crate::plain_walk::{PlainWalk, Request};
use crate::watched_memory::{Watch, WatchedMemory};

/// Writes down what is found in memory, and nothing else: what the recorder looks at is no business of the unit's.
struct Onlooker<'t>(&'t Tape);

impl Watch for Onlooker<'_> {
    fn loaded(&self, memory: &dyn GuestMemory, gpa: Gpa, qwords: &[u64]) {
        self.0.loaded(memory, gpa, qwords);
    }

    // A walk that only looks writes nothing.
    fn exchanged(&self, _: Gpa, _: Result<u64, u64>, _: u64) {}
    fn stored_u32(&self, _: Gpa, _: u32) {}
    fn stored(&self, _: Gpa, _: &[u64]) {}
}

impl Recorded {
    /// Has the recording say what the tables hold for an untranslated request.
    pub(super) fn look_at(&self, request: Request) {
        let is_interrupt = request.pasid.is_none() && request.iova.is_interrupt();
        if !is_interrupt {
            self.look(|tables, root| {
                let _leads_to = tables.walk(root, request);
            });
        }
    }

    /// The same for a translation request, which asks for less where it is not granted all.
    pub(super) fn look_at_translation_request(&self, request: Request) {
        self.look_at(request);
        let mut reading = Access::READ;
        reading.privileged = request.access.privileged;
        self.look_at(Request { access: reading, ..request });
    }

    /// The same for a translated request, of which the context entry alone decides.
    pub(super) fn look_at_translated(&self, request: Request) {
        self.look(|tables, root| {
            let _allows = tables.context(root, request.source_id);
        });
    }

    fn look(&self, look: impl Fn(PlainWalk<'_>, RootTable)) {
        let Some(root) = self.unit.root_table().filter(|_| self.tape.is_open()) else { return };
        let watch = Onlooker(&self.tape);
        let caps = self.unit.capabilities();
        self.memory.with_snapshot(&mut |memory| {
            let memory = WatchedMemory { memory, watch: &watch };
            look(PlainWalk { memory: &memory, caps: &caps }, root);
        });
    }
}
