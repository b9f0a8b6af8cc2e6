//! What the tables have said at the requests of devices, as far as a unit may still hold it.

use std::collections::BTreeSet;

use vtd::Granted;
use vtd::spec::table::PageSize;
use vtd::spec::{FaultReason, Gpa, Pasid, SourceId};
use vtd_walk::Translated;

use super::pages::{Page, Place, Reach, Space, places};
use super::registers::Registers;
use super::versions::{Held, Times};
use crate::plain_walk::{Context, Entry, PlainWalk, Request};

/// Context entries, PASID-table entries and pages.
#[derive(Debug, Default)]
pub(super) struct SeenTables {
    pub(super) contexts: Held<SourceId, Context>,
    pub(super) entries: Held<(SourceId, Pasid), Entry>,
    pub(super) pages: Held<Place, Page>,
    /// Whose pages there may be.
    pub(super) spaces: BTreeSet<Space>,
    /// The largest page that was seen.
    pub(super) largest: Option<PageSize>,
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

/// Requests that the tables are walked for.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Walked {
    Untranslated,
    /// Only a device gets an answer that may have a device TLB.
    Translation,
}

impl SeenTables {
    /// Looks where a request leads now, keeps that in mind, and says where it may lead.
    pub(super) fn ways(&mut self, look: Look<'_>, registers: &Registers, walked: Walked) -> Ways {
        let mut ways = Ways { is_crowded: registers.is_crowded(), ..Ways::default() };
        let wanted = self.see_contexts(look, registers, &mut ways);
        let passes = walked == Walked::Untranslated && look.request.pasid.is_none();
        if passes && registers.modes().any(|(mode, _)| mode.is_none()) {
            let way = Way { address: Gpa(look.request.iova.0), granted: Granted::ALL };
            ways.allowed.push(way);
            if registers.mode().is_none() {
                ways.now = Ok(way);
            }
        }

        let mut starts = Vec::new();
        let mut admitted = Vec::new();
        // Where the tables have the walk begin now.
        let mut now = wanted.map_or_else(Err, |_| Err(FaultReason::ContextNotPresent));
        for (context, times) in self.contexts_of(look, registers) {
            let begins = match walked {
                Walked::Translation if !context.allows_device_tlb() => {
                    Err(FaultReason::TranslationRequestDisabled)
                }
                _ => context.admit(look.request),
            };
            let begins = begins.and_then(|request| {
                let entry = self.see_entry(look, &context, request, times, &mut ways);
                match request.pasid {
                    None => starts.extend(entry.ok().map(|entry| (request, entry, times))),
                    Some(_) if !admitted.contains(&request) => admitted.push(request),
                    Some(_) => {}
                }
                entry.map(|entry| (request, entry))
            });
            if wanted == Ok(context) {
                now = begins;
            }
        }
        for request in admitted {
            let key = (request.source_id, request.pasid.unwrap_or(Pasid::ZERO));
            let entries = self.entries.of(key);
            starts.extend(entries.map(|(entry, times)| (request, *entry, *times)));
        }
        if let Err(reason) = now
            && registers.mode().is_some()
        {
            ways.now = Err(reason);
        }
        for (request, entry, times) in starts {
            let found = self.through_entry(Look { request, ..look }, &entry, times, &mut ways);
            if now == Ok((request, entry)) {
                ways.now = found;
            }
        }
        ways
    }

    /// The same for a translated request, which a device may make that may have a device TLB.
    pub(super) fn ways_of_translated(&mut self, look: Look<'_>, registers: &Registers) -> Ways {
        let mut ways = Ways { is_crowded: registers.is_crowded(), ..Ways::default() };
        let wanted = self.see_contexts(look, registers, &mut ways);
        let way = Way { address: Gpa(look.request.iova.0), granted: Granted::ALL };
        let contexts = self.contexts_of(look, registers);
        let mut allowing = contexts.iter().filter(|(context, _)| context.allows_device_tlb());
        ways.allowed.extend(allowing.next().map(|_| way));
        ways.now = wanted.and_then(|context| match context.allows_device_tlb() {
            true => Ok(way),
            false => Err(FaultReason::TranslationRequestDisabled),
        });
        ways
    }

    /// Reads the context entry of a device in each mode that it may be answered in, and keeps it in mind; the one that the guest
    /// wants.
    fn see_contexts(
        &mut self,
        look: Look<'_>,
        registers: &Registers,
        ways: &mut Ways,
    ) -> Result<Context, FaultReason> {
        let (line, source_id) = (look.line, look.request.source_id);
        let mut wanted = Err(NO_REASON);
        for (mode, replaced) in registers.modes() {
            let context = mode.map_or(Err(NO_REASON), |root| look.walk.context(root, source_id));
            if let Ok(context) = &context {
                let root = replaced.unwrap_or(line);
                self.contexts.see(source_id, context, Times { root, context: line, own: line });
            }
            if replaced.is_none() {
                wanted = context;
            }
        }
        ways.is_crowded |= self.contexts.is_crowded(source_id);
        wanted
    }

    /// The context entries that may be held for a request.
    fn contexts_of(&self, look: Look<'_>, registers: &Registers) -> Vec<(Context, Times)> {
        let contexts = self.contexts.of(look.request.source_id);
        let is_used = |(context, _): &&(Context, Times)| {
            registers.modes().any(|(mode, _)| mode.is_some_and(|root| context.is_of(root)))
        };
        contexts.filter(is_used).copied().collect()
    }

    /// Reads the entry behind a context entry, and keeps it in mind.
    fn see_entry(
        &mut self,
        look: Look<'_>,
        context: &Context,
        request: Request,
        times: Times,
        ways: &mut Ways,
    ) -> Result<Entry, FaultReason> {
        let now = look.walk.entry(context, request.pasid);
        if let Some(pasid) = request.pasid {
            let key = (request.source_id, pasid);
            if let Ok(entry) = &now {
                self.entries.see(key, entry, Times { own: look.line, ..times });
            }
            ways.is_crowded |= self.entries.is_crowded(key);
        }
        now
    }

    /// Walks from an entry, keeps the page in mind, and adds what may be held of the entry's domain.
    fn through_entry(
        &mut self,
        look: Look<'_>,
        entry: &Entry,
        times: Times,
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
            self.largest = self.largest.max(Some(found.size));
            self.has_nested |= matches!(reach, Reach::Nested(_));
            let page = Page::new((iova, access), found, entry.domain(), reach);
            self.pages.see(page.place(space), &page, Times { own: look.line, ..times });
            self.spaces.insert(space);
        }
        for place in places(space, iova) {
            ways.is_crowded |= self.pages.is_crowded(place);
            let pages = self.pages.of(place).filter(|(page, _)| page.domain == entry.domain());
            ways.allowed.extend(pages.filter_map(|(page, _)| {
                let address = page.lead(iova, access)?;
                Some(Way { address, granted: page.granted })
            }));
        }
        found.map(|found| Way::from(&found))
    }
}
