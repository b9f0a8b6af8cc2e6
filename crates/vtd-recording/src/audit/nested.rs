//! Which pages of the second stage a nested translation uses.

use std::sync::{Mutex, PoisonError};

use vtd::Access;
use vtd::memory::{AccessError, GuestMemory};
use vtd::spec::descriptor::PageRange;
use vtd::spec::table::{PasidEntry, SecondStage};
use vtd::spec::{Capabilities, FirstStage, Gpa, Iova};
use vtd_walk::{
    FirstStageRules, SecondStageCodes, TableUpdates, walk_first_stage, walk_second_stage,
};

use crate::plain_walk::{PlainWalk, Request};

/// The pages of the second stage that a nested translation leads through: those of the first stage's tables, and its own, of
/// which there are two to the power of `order`.
pub(super) fn pages_under(
    walk: PlainWalk<'_>,
    (entry, first, second): (&PasidEntry, FirstStage, &SecondStage),
    request: Request,
    order: u32,
) -> Vec<PageRange> {
    let Request { iova, access, .. } = request;
    let PlainWalk { memory, caps } = walk;
    let under = UnderSecondStage { memory, caps, second, pages: Mutex::default() };
    let rules = FirstStageRules {
        stage: first,
        no_execute: entry.no_execute,
        prevent_supervisor_execute: entry.prevent_supervisor_execute,
    };
    let own = walk_first_stage(&under, caps, &rules, iova, access, TableUpdates::Withheld);
    let mut pages = under.pages.into_inner().unwrap_or_else(PoisonError::into_inner);
    if let Ok(own) = own {
        pages.push(PageRange::around(Iova(own.address.0), order));
    }
    pages
}

/// Memory as the tables of a nested first stage are found in it: by way of the second stage.
struct UnderSecondStage<'m> {
    memory: &'m dyn GuestMemory,
    caps: &'m Capabilities,
    second: &'m SecondStage,
    /// The pages that were asked for.
    pages: Mutex<Vec<PageRange>>,
}

impl UnderSecondStage<'_> {
    fn place(&self, gpa: Gpa, bytes: usize) -> Result<Gpa, AccessError> {
        let iova = Iova(gpa.0);
        let found = walk_second_stage(
            self.memory,
            self.caps,
            self.second,
            SecondStageCodes::Scalable,
            iova,
            Access::READ,
            TableUpdates::Withheld,
        );
        let found = found.map_err(|_| AccessError::not_backed(gpa, bytes))?;
        let mut pages = self.pages.lock().unwrap_or_else(PoisonError::into_inner);
        pages.push(PageRange::around(iova, 0));
        Ok(found.address)
    }
}

impl GuestMemory for UnderSecondStage<'_> {
    fn load_u64(&self, gpa: Gpa) -> Result<u64, AccessError> {
        self.memory.load_u64(self.place(gpa, 8)?)
    }

    fn load_qwords(&self, gpa: Gpa, out: &mut [u64]) -> Result<(), AccessError> {
        for (place, out) in (gpa.0..=u64::MAX).step_by(8).zip(out) {
            *out = self.load_u64(Gpa(place))?;
        }
        Ok(())
    }

    // A walk that only looks writes nothing.
    fn compare_exchange_u64(
        &self,
        gpa: Gpa,
        _: u64,
        _: u64,
    ) -> Result<Result<u64, u64>, AccessError> {
        Err(AccessError::not_backed(gpa, 8))
    }

    fn store_u32_release(&self, gpa: Gpa, _: u32) -> Result<(), AccessError> {
        Err(AccessError::not_backed(gpa, 4))
    }

    fn store_qwords_release(&self, gpa: Gpa, values: &[u64]) -> Result<(), AccessError> {
        Err(AccessError::not_backed(gpa, 8 * values.len()))
    }

    fn with_snapshot(&self, walk: &mut dyn FnMut(&dyn GuestMemory)) {
        walk(self);
    }
}
