//! Why an answer is wrong: what it came by that the guest was told is invalid. For the report alone.

use vtd::spec::{Gpa, SourceId};

use super::pages::{Page, places};
use super::tables::SeenTables;
use super::versions::Revoked;
use crate::plain_walk::{Context, Entry, Request};

impl SeenTables {
    /// What took away the last way that led a request to this address; `None` where there never was one.
    pub(super) fn revoked_way(&self, request: Request, address: Gpa) -> Option<Revoked> {
        let mut found = None;
        let held = self.contexts.of(request.source_id).map(|(context, _)| (context, None));
        let revoked = self.contexts.revoked(request.source_id);
        let revoked = revoked.map(|(context, gone)| (context, Some(*gone)));
        for (context, gone) in held.chain(revoked) {
            let Ok(request) = context.admit(request) else { continue };
            for (entry, also) in self.entries_behind(context, request) {
                let gone = later(gone, also);
                found = later(found, self.revoked_behind(&entry, gone, request, address));
            }
        }
        found
    }

    /// What took away the context entry by which a device could have a device TLB.
    pub(super) fn revoked_device_tlb(&self, source_id: SourceId) -> Option<Revoked> {
        let revoked = self.contexts.revoked(source_id);
        let allowing = revoked.filter(|(context, _)| context.allows_device_tlb());
        allowing.map(|(_, gone)| *gone).max_by_key(|gone| gone.told.done)
    }

    /// The entries that were found behind a context entry, with what took them away.
    fn entries_behind(&self, context: &Context, request: Request) -> Vec<(Entry, Option<Revoked>)> {
        match (context, request.pasid) {
            (Context::Legacy(context), _) => vec![(Entry::Legacy(*context), None)],
            (Context::Scalable(_), None) => Vec::new(),
            (Context::Scalable(_), Some(pasid)) => {
                let key = (request.source_id, pasid);
                let held = self.entries.of(key).map(|(entry, _)| (*entry, None));
                let revoked = self.entries.revoked(key);
                held.chain(revoked.map(|(entry, gone)| (*entry, Some(*gone)))).collect()
            }
        }
    }

    /// What took away the way behind an entry, which itself is gone or not.
    fn revoked_behind(
        &self,
        entry: &Entry,
        gone: Option<Revoked>,
        request: Request,
        address: Gpa,
    ) -> Option<Revoked> {
        let Request { source_id, pasid, iova, access } = request;
        if entry.passes_through() {
            return gone.filter(|_| address.0 == iova.0);
        }
        let leads =
            |page: &Page| page.domain == entry.domain() && page.lead(iova, access) == Some(address);
        let mut found = None;
        for place in places((source_id, pasid), iova) {
            if self.pages.of(place).any(|(page, _)| leads(page)) {
                found = later(found, gone);
            }
            for (_, page) in self.pages.revoked(place).filter(|(page, _)| leads(page)) {
                found = later(found, Some(*page));
            }
        }
        found
    }
}

fn later(one: Option<Revoked>, other: Option<Revoked>) -> Option<Revoked> {
    let done = |revoked: &Revoked| revoked.told.done;
    [one, other].into_iter().flatten().max_by_key(done)
}
