//! What the tables have said at the requests of devices, as far as a unit may still hold it.

use std::collections::BTreeSet;

use vtd::spec::{FaultReason, Gpa, Pasid, SourceId};
use vtd::{Granted, RootTable};
use vtd_walk::Translated;

use super::pages::{Page, Place, Reach, Space, places};
use super::registers::{Mode, Registers};
use super::versions::Held;
use crate::plain_walk::{Context, Entry, PlainWalk, Request};

/// Context entries, PASID-table entries and pages.
#[derive(Debug, Default)]
pub(super) struct SeenTables {
    pub(super) contexts: Held<SourceId, Context>,
    pub(super) entries: Held<(SourceId, Pasid), Entry>,
    pub(super) pages: Held<Place, Page>,
    /// Whose pages there may be.
    pub(super) spaces: BTreeSet<Space>,
    /// There are nested translations.
    pub(super) has_nested: bool,
}

/// Where a request may lead: the address, and what is granted there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Way {
    pub(super) address: Gpa,
    pub(super) granted: Granted,
}

/// What is known of a request.
#[derive(Debug)]
pub(super) struct Ways {
    /// What the tables say now.
    pub(super) now: Result<Way, FaultReason>,
    /// Everything that may be answered.
    pub(super) allowed: Vec<Way>,
    /// So much has changed that anything may be answered.
    pub(super) is_crowded: bool,
}

/// What stands for a request that is blocked without a reason.
const NO_REASON: FaultReason = FaultReason::RootTablePointer;

impl Default for Ways {
    fn default() -> Self {
        Self { now: Err(NO_REASON), allowed: Vec::new(), is_crowded: false }
    }
}

impl From<&Translated> for Way {
    fn from(found: &Translated) -> Self {
        Self { address: found.address, granted: found.granted }
    }
}

/// A request that is looked at.
#[derive(Clone, Copy)]
pub(super) struct Look<'m> {
    pub(super) walk: PlainWalk<'m>,
    pub(super) request: Request,
    pub(super) line: u64,
}

impl SeenTables {
    /// Looks where an untranslated request leads now, keeps that in mind, and says where it may lead.
    pub(super) fn untranslated(&mut self, look: Look<'_>, registers: &Registers) -> Ways {
        self.ways(registers, |tables, mode, ways| match mode {
            Some(root) => tables.through_root(look, root, false, ways),
            None if look.request.pasid.is_none() => {
                let way = Way { address: Gpa(look.request.iova.0), granted: Granted::ALL };
                ways.allowed.push(way);
                Ok(way)
            }
            None => Err(NO_REASON),
        })
    }

    /// The same for a translation request, which only a device gets an answer to that may have a device TLB.
    pub(super) fn translation(&mut self, look: Look<'_>, registers: &Registers) -> Ways {
        self.ways(registers, |tables, mode, ways| {
            let root = mode.ok_or(NO_REASON)?;
            tables.through_root(look, root, true, ways)
        })
    }

    /// The same for a translated request, which a device may make that may have a device TLB.
    pub(super) fn translated(&mut self, look: Look<'_>, registers: &Registers) -> Ways {
        self.ways(registers, |tables, mode, ways| {
            let root = mode.ok_or(NO_REASON)?;
            let now = tables.see_context(look, root, ways);
            let way = Way { address: Gpa(look.request.iova.0), granted: Granted::ALL };
            let contexts = tables.contexts.of(look.request.source_id);
            let mut allowing = contexts.filter(|held| held.is_of(root) && held.allows_device_tlb());
            ways.allowed.extend(allowing.next().map(|_| way));
            match now?.allows_device_tlb() {
                true => Ok(way),
                false => Err(FaultReason::TranslationRequestDisabled),
            }
        })
    }

    /// Looks in each mode that the request may be answered in.
    fn ways(
        &mut self,
        registers: &Registers,
        mut through: impl FnMut(&mut Self, Mode, &mut Ways) -> Result<Way, FaultReason>,
    ) -> Ways {
        let mut ways = Ways { is_crowded: registers.is_crowded(), ..Ways::default() };
        for mode in registers.modes() {
            // What the guest wants is the last, so that it is what counts as now.
            ways.now = through(self, *mode, &mut ways);
        }
        ways
    }

    fn through_root(
        &mut self,
        look: Look<'_>,
        root: RootTable,
        to_keep: bool,
        ways: &mut Ways,
    ) -> Result<Way, FaultReason> {
        let source_id = look.request.source_id;
        let now = self.see_context(look, root, ways);
        let contexts: Vec<_> =
            self.contexts.of(source_id).filter(|context| context.is_of(root)).copied().collect();
        let mut leads_now = now.map_or_else(Err, |_| Err(FaultReason::ContextNotPresent));
        for context in contexts {
            let found = match to_keep && !context.allows_device_tlb() {
                true => Err(FaultReason::TranslationRequestDisabled),
                false => self.through_context(look, &context, ways),
            };
            if now == Ok(context) {
                leads_now = found;
            }
        }
        leads_now
    }

    /// Reads the context entry of a device, and keeps it in mind.
    fn see_context(
        &mut self,
        look: Look<'_>,
        root: RootTable,
        ways: &mut Ways,
    ) -> Result<Context, FaultReason> {
        let source_id = look.request.source_id;
        let now = look.walk.context(root, source_id);
        if let Ok(context) = &now {
            self.contexts.see(source_id, context, look.line);
        }
        ways.is_crowded |= self.contexts.is_crowded(source_id);
        now
    }

    fn through_context(
        &mut self,
        look: Look<'_>,
        context: &Context,
        ways: &mut Ways,
    ) -> Result<Way, FaultReason> {
        let request = context.admit(look.request)?;
        let look = Look { request, ..look };
        let now = look.walk.entry(context, request.pasid);
        let Some(pasid) = request.pasid else {
            return now.and_then(|entry| self.through_entry(look, &entry, ways));
        };
        let key = (request.source_id, pasid);
        if let Ok(entry) = &now {
            self.entries.see(key, entry, look.line);
        }
        ways.is_crowded |= self.entries.is_crowded(key);
        let entries: Vec<_> = self.entries.of(key).copied().collect();
        let mut leads_now = now.map_or_else(Err, |_| Err(FaultReason::PasidEntryNotPresent));
        for entry in entries {
            let found = self.through_entry(look, &entry, ways);
            if now == Ok(entry) {
                leads_now = found;
            }
        }
        leads_now
    }

    /// Walks from an entry, keeps the page in mind, and adds what may be held of the entry's domain.
    fn through_entry(
        &mut self,
        look: Look<'_>,
        entry: &Entry,
        ways: &mut Ways,
    ) -> Result<Way, FaultReason> {
        let Request { source_id, pasid, iova, access } = look.request;
        let found = look.walk.page(entry, look.request);
        if entry.passes_through() {
            // That is in no table of pages.
            ways.allowed.extend(found.as_ref().ok().map(Way::from));
            return found.map(|found| Way::from(&found));
        }
        let space = (source_id, pasid);
        if let Ok(found) = &found {
            let reach = Reach::of(look.walk, entry, look.request, found);
            self.has_nested |= matches!(reach, Reach::Nested(_));
            let page = Page::new((iova, access), found, entry.domain(), reach);
            self.pages.see(page.place(space), &page, look.line);
            self.spaces.insert(space);
        }
        for place in places(space, iova) {
            ways.is_crowded |= self.pages.is_crowded(place);
            let pages = self.pages.of(place).filter(|page| page.domain == entry.domain());
            ways.allowed.extend(pages.filter_map(|page| {
                let address = page.lead(iova, access)?;
                Some(Way { address, granted: page.granted })
            }));
        }
        found.map(|found| Way::from(&found))
    }
}
