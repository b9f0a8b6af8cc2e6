//! The translations that an endpoint keeps.

use std::collections::BTreeMap;

use vtd::spec::Pasid;
use vtd::spec::descriptor::PageRange;
use vtd::{Completion, DeviceTlbPasids};

/// The most translations; one more drops them all.
const CAPACITY: usize = 4096;

/// Translations by PASID and first page. The key's address is that of the first byte of the translated page, as the device sees it.
#[derive(Debug, Default)]
pub(super) struct DeviceTlb {
    entries: BTreeMap<(Option<Pasid>, bool, u64), Completion>,
}

impl DeviceTlb {
    /// Keeps what a translation request came to, if it grants anything that a translated request may use.
    pub(super) fn insert(&mut self, pasid: Option<Pasid>, iova: u64, completion: Completion) {
        if !completion.grants_any() || completion.untranslated_only {
            return;
        }
        if self.entries.len() >= CAPACITY {
            self.entries.clear();
        }
        let first = iova & !(completion.size - 1);
        self.entries.insert((pasid, completion.privileged, first), completion);
    }

    /// The address that `iova` translates to, and the translation.
    pub(super) fn look_up(
        &self,
        pasid: Option<Pasid>,
        privileged: bool,
        iova: u64,
    ) -> Option<(u64, Completion)> {
        let range = (pasid, privileged, 0)..=(pasid, privileged, iova);
        let ((_, _, first), found) = self.entries.range(range).next_back()?;
        let within = iova - first;
        (within < found.size).then_some((found.page.0 + within, *found))
    }

    /// Drops what an invalidation names.
    pub(super) fn invalidate(&mut self, pasids: DeviceTlbPasids, pages: PageRange) {
        self.entries.retain(|(pasid, _, first), found| {
            let named = match pasids {
                DeviceTlbPasids::WithoutPasid => pasid.is_none(),
                DeviceTlbPasids::One(one) => *pasid == Some(one),
                DeviceTlbPasids::All => pasid.is_some(),
            };
            let first = first >> 12;
            let last = first + (found.size >> 12) - 1;
            !(named && first <= pages.last() && pages.first() <= last)
        });
    }

    /// Drops everything.
    pub(super) fn clear(&mut self) {
        self.entries.clear();
    }

    /// Drops what belongs to a PASID.
    pub(super) fn forget(&mut self, pasid: Pasid) {
        self.entries.retain(|(of, ..), _| *of != Some(pasid));
    }

    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }
}
