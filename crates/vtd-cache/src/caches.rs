//! What emulated devices' requests are answered from: context cache, PASID cache and IOTLB.

use alloc::collections::BTreeMap;
use alloc::sync::Arc;
use alloc::vec::Vec;

use vtd_spec::planted::is_planted;
use vtd_spec::table::Translation::{Nested, PassThrough};
use vtd_spec::table::{ContextEntry, LegacyContextEntry, LegacyTranslation};
use vtd_spec::{DomainId, Iova, Pasid};
use vtd_walk::{Access, PasidLookup};

use crate::DeviceKey;
use crate::domain_epochs::DomainEpochs;
use crate::domain_generations::DomainGenerations;
use crate::handle_cache::{HandleCache, Moment, Resolution};
use crate::iotlb::Iotlb;
use crate::set_cache::{Place, SetCache};
use crate::translation::{Tag, Translation};
use crate::watch::Watches;

/// How much the caches hold at most. Zero everywhere means that every lookup walks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Capacities {
    /// Context entries.
    pub contexts: usize,
    /// PASID-table entries.
    pub pasids: usize,
    /// Translations.
    pub translations: usize,
    /// Interrupt remapping entries.
    pub interrupt_entries: usize,
}

impl Capacities {
    /// No caches at all.
    pub const NONE: Self = Self { contexts: 0, pasids: 0, translations: 0, interrupt_entries: 0 };
}

impl Default for Capacities {
    /// 4,096 context entries, 4,096 PASID-table entries, 65,536 translations and 4,096 interrupt remapping entries.
    fn default() -> Self {
        Self { contexts: 4_096, pasids: 4_096, translations: 65_536, interrupt_entries: 4_096 }
    }
}

/// A cached context entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CachedContext {
    /// Of legacy mode; its translations have this tag.
    Legacy(LegacyContextEntry, Tag),
    /// Of scalable mode.
    Scalable(ContextEntry),
}

/// A cached PASID-table entry; its translations have this tag.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CachedPasid {
    /// The entry, with FPD of the path.
    pub lookup: PasidLookup,
    /// What its translations are found by.
    pub tag: Tag,
}

/// A moment. What was walked since is inserted only if nothing has been invalidated after it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lookup(u64);

/// Hits and misses of each cache.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CacheCounts {
    /// Context entries found.
    pub context_hits: u64,
    /// Context entries walked for.
    pub context_misses: u64,
    /// PASID-table entries found.
    pub pasid_hits: u64,
    /// PASID-table entries walked for.
    pub pasid_misses: u64,
    /// Translations found.
    pub translation_hits: u64,
    /// Translations walked for.
    pub translation_misses: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct PasidKey {
    device: DeviceKey,
    pasid: Pasid,
}

impl Place for PasidKey {
    fn place(&self) -> u64 {
        u64::from(self.device.0) << 20 | u64::from(self.pasid.get())
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct ContextKey(DeviceKey);

impl Place for ContextKey {
    fn place(&self) -> u64 {
        u64::from(self.0.0)
    }
}

#[derive(Clone, Copy, Debug)]
struct Filled<T> {
    value: T,
    /// The generation at which it was read.
    at: u64,
}

/// The caches of emulated devices. Matching entries are dropped, never compared; not-present results are not kept.
///
/// Unit-wide, device-wide and domain-wide invalidations advance 64-bit generations, so their cost does not depend on what is
/// cached; others remove exactly what matches, and may remove more.
///
/// Who has them to itself changes them. [`HandleCache`]s look translations up beside that, without a lock, and are told by counters
/// of what is dropped.
#[derive(Debug)]
pub struct Caches {
    capacities: Capacities,
    contexts: SetCache<ContextKey, Filled<CachedContext>>,
    pasids: SetCache<PasidKey, Filled<CachedPasid>>,
    iotlb: Arc<Iotlb>,
    epochs: Arc<DomainEpochs>,
    watches: Watches,
    counts: CacheCounts,
    next_tag: u64,
    /// Advances with every invalidation of any kind.
    now: u64,
    all: u64,
    /// When each device was last invalidated, for those that were.
    devices: BTreeMap<DeviceKey, u64>,
    pasid_domains: DomainGenerations,
    /// When all translations, or those of a domain, were last invalidated.
    translations: u64,
    translation_domains: DomainGenerations,
}

impl Caches {
    /// Empty caches.
    #[must_use]
    pub fn new(capacities: Capacities) -> Self {
        Self {
            capacities,
            contexts: SetCache::new(capacities.contexts),
            pasids: SetCache::new(capacities.pasids),
            iotlb: Arc::new(Iotlb::new(capacities.translations)),
            epochs: DomainEpochs::new(),
            watches: Watches::default(),
            counts: CacheCounts::default(),
            next_tag: 0,
            now: 0,
            all: 0,
            devices: BTreeMap::new(),
            pasid_domains: DomainGenerations::default(),
            translations: 0,
            translation_domains: DomainGenerations::default(),
        }
    }

    /// What the caches hold at most.
    #[must_use]
    pub fn capacities(&self) -> Capacities {
        self.capacities
    }

    /// Hits and misses so far.
    #[must_use]
    pub fn counts(&self) -> CacheCounts {
        let translation_hits = self.counts.translation_hits + self.watches.hits();
        CacheCounts { translation_hits, ..self.counts }
    }

    /// The cache of a new handle, for requests of a device with a PASID or without. To be [given back](Self::close_handle).
    pub fn open_handle(&mut self, device: DeviceKey, pasid: Option<Pasid>) -> HandleCache {
        let watch = self.watches.add(device);
        HandleCache::new(watch, pasid, Arc::clone(&self.epochs), Arc::clone(&self.iotlb))
    }

    /// A handle is no more.
    pub fn close_handle(&mut self, handle: &HandleCache) {
        self.watches.remove(&handle.watch);
    }

    /// What a handle goes through, if all of it is cached, to be used until some of it is dropped.
    ///
    /// `untranslated` says that nothing is translated: no entry stands behind its requests.
    pub fn resolve(&mut self, handle: &HandleCache, untranslated: bool) -> Option<Resolution> {
        let watch = &handle.watch;
        let (entry, domain, tag, privileged) = match untranslated {
            true => (None, DomainId(0), None, None),
            false => match (self.find_context(watch.device)?, handle.pasid()) {
                (CachedContext::Legacy(_, _), Some(_)) => return None,
                (CachedContext::Legacy(context, tag), None) => {
                    let passes =
                        matches!(context.translation, LegacyTranslation::PassThrough { .. });
                    (None, context.domain, (!passes).then_some(tag), None)
                }
                (CachedContext::Scalable(context), pasid) => {
                    let privileged = pasid.is_none().then_some(context.rid_privileged);
                    if pasid.is_some() && !context.pasids {
                        return None;
                    }
                    let pasid = pasid.unwrap_or(context.rid_pasid);
                    let found = self.find_pasid(PasidKey { device: watch.device, pasid })?;
                    let entry = found.lookup.entry;
                    let tag = (entry.translation != PassThrough).then_some(found.tag);
                    (Some(pasid), entry.domain, tag, privileged)
                }
            },
        };
        watch.resolve(entry);
        let moment = Moment::now(&self.epochs, watch, domain);
        Some(Resolution { moment, tag, privileged })
    }

    /// The present moment, to be taken before a walk whose result is to be inserted.
    #[must_use]
    pub fn begin(&self) -> Lookup {
        Lookup(self.now)
    }

    fn new_tag(&mut self) -> Tag {
        self.next_tag += 1;
        Tag(self.next_tag)
    }

    fn device_generation(&self, device: DeviceKey) -> u64 {
        let own = self.devices.get(&device).copied().unwrap_or(0);
        own.max(self.all)
    }

    /// Nothing is dropped, but handles have to resolve anew what they go through: it is admitted differently.
    pub fn unresolve(&mut self) {
        self.watches.tell_all();
    }

    /// As [`unresolve`](Self::unresolve), for the handles of one device.
    pub fn unresolve_device(&mut self, device: DeviceKey) {
        self.watches.tell_device(device);
    }

    /// The context entry of a device, if it is cached.
    pub fn context(&mut self, device: DeviceKey) -> Option<CachedContext> {
        let found = self.find_context(device);
        match found {
            Some(_) => self.counts.context_hits += 1,
            None => self.counts.context_misses += 1,
        }
        found
    }

    fn find_context(&mut self, device: DeviceKey) -> Option<CachedContext> {
        let valid = self.device_generation(device);
        let entry = *self.contexts.get(&ContextKey(device)).filter(|entry| entry.at >= valid)?;
        let CachedContext::Legacy(context, _) = entry.value else { return Some(entry.value) };
        // Planted (61): translations of legacy mode outlive an invalidation of everything.
        if entry.at < self.translation_generation(context.domain) && !is_planted(61) {
            let value = CachedContext::Legacy(context, self.new_tag());
            let at = self.now;
            self.contexts.insert(ContextKey(device), Filled { value, at });
            return Some(value);
        }
        Some(entry.value)
    }

    /// Enters a legacy-mode context entry and gives it a tag; `None` where something was invalidated meanwhile.
    pub fn fill_legacy(
        &mut self,
        lookup: Lookup,
        device: DeviceKey,
        context: LegacyContextEntry,
    ) -> Option<Tag> {
        if lookup.0 != self.now || self.capacities.contexts == 0 {
            return None;
        }
        let tag = self.new_tag();
        let value = CachedContext::Legacy(context, tag);
        self.enter_context(device, value);
        Some(tag)
    }

    /// Enters a scalable-mode context entry, unless something was invalidated meanwhile.
    pub fn fill_context(&mut self, lookup: Lookup, device: DeviceKey, context: ContextEntry) {
        if lookup.0 == self.now && self.capacities.contexts != 0 {
            self.enter_context(device, CachedContext::Scalable(context));
        }
    }

    /// A tag that is in use has to be here for invalidations to find it, so who uses that of an entry which gives way is told.
    fn enter_context(&mut self, device: DeviceKey, value: CachedContext) {
        let replaced = self.contexts.insert(ContextKey(device), Filled { value, at: self.now });
        if let Some(ContextKey(device)) = replaced {
            self.watches.tell_device(device);
        }
    }

    /// The PASID-table entry of a device and PASID, if it is cached. The cost does not depend on how many the device has.
    pub fn pasid(&mut self, device: DeviceKey, pasid: Pasid) -> Option<CachedPasid> {
        let found = self.find_pasid(PasidKey { device, pasid });
        match found {
            Some(_) => self.counts.pasid_hits += 1,
            None => self.counts.pasid_misses += 1,
        }
        found
    }

    fn find_pasid(&mut self, key: PasidKey) -> Option<CachedPasid> {
        let valid = self.device_generation(key.device);
        let entry = self.pasids.get(&key).copied().filter(|entry| {
            let domain = entry.value.lookup.entry.domain;
            // Planted (row 1): a context-cache invalidation leaves PASID entries cached.
            (entry.at >= valid || is_planted(101)) && entry.at >= self.pasid_domains.get(domain)
        })?;
        if entry.at < self.translation_generation(entry.value.lookup.entry.domain) {
            let value = CachedPasid { tag: self.new_tag(), ..entry.value };
            let at = self.now;
            self.pasids.insert(key, Filled { value, at });
            return Some(value);
        }
        Some(entry.value)
    }

    /// Enters a PASID-table entry and gives it a tag; `None` where something was invalidated meanwhile.
    pub fn fill_pasid(
        &mut self,
        lookup: Lookup,
        device: DeviceKey,
        pasid: Pasid,
        entry: PasidLookup,
    ) -> Option<Tag> {
        // Planted (76): a PASID-table entry read before an invalidation is entered after it.
        if (lookup.0 != self.now && !is_planted(76)) || self.capacities.pasids == 0 {
            return None;
        }
        let tag = self.new_tag();
        let value = CachedPasid { lookup: entry, tag };
        let replaced =
            self.pasids.insert(PasidKey { device, pasid }, Filled { value, at: self.now });
        // As for contexts.
        if let Some(PasidKey { device, pasid }) = replaced {
            self.watches.tell_pasid(device, pasid);
        }
        Some(tag)
    }

    /// A translation that serves this access, if it is cached.
    pub fn translation(&mut self, tag: Tag, iova: Iova, access: Access) -> Option<Translation> {
        let found = self.iotlb.get(tag, iova, access);
        let found = found.filter(|found| found.serves_at(iova, access));
        match found {
            Some(_) => self.counts.translation_hits += 1,
            None => self.counts.translation_misses += 1,
        }
        found
    }

    /// Counts a translation that could not be looked up, since the entry that it belongs to was not cached itself.
    pub fn miss_translation(&mut self) {
        self.counts.translation_misses += 1;
    }

    /// Enters a translation, unless something was invalidated meanwhile.
    pub fn fill_translation(
        &mut self,
        lookup: Lookup,
        tag: Tag,
        iova: Iova,
        access: Access,
        translation: Translation,
    ) {
        // Planted (57 for fuzzing, 1003 for model checking): what was walked before an invalidation is entered after it.
        let in_time = lookup.0 == self.now || is_planted(57) || is_planted(1003);
        if in_time && self.capacities.translations != 0 {
            self.iotlb.insert(tag, iova, access, &translation);
        }
    }

    fn translation_generation(&self, domain: DomainId) -> u64 {
        self.translations.max(self.translation_domains.get(domain))
    }

    /// Drops everything: root table changed, translation switched, reset.
    pub fn invalidate_all(&mut self) {
        self.now += 1;
        self.all = self.now;
        self.watches.tell_all();
    }

    /// Context-cache invalidation of some devices: their context and PASID entries and translations go.
    pub fn invalidate_devices(&mut self, devices: impl Iterator<Item = DeviceKey>) {
        self.now += 1;
        for device in devices {
            self.devices.insert(device, self.now);
            self.watches.tell_device(device);
        }
    }

    /// A device is gone for good: its key is never used again, so what it left in the caches is never found.
    pub fn forget_device(&mut self, device: DeviceKey) {
        self.devices.remove(&device);
    }

    /// PASID-cache invalidation by domain, with the translations made through what it drops.
    pub fn invalidate_pasid_domain(&mut self, domain: DomainId) {
        self.now += 1;
        self.pasid_domains.set(domain, self.now);
        self.epochs.drop_tags(domain);
    }

    /// PASID-cache invalidation by PASID, whatever the domain, with the translations made through what it drops.
    ///
    /// `devices` are all that may have entries.
    pub fn invalidate_pasid(&mut self, pasid: Pasid, devices: impl Iterator<Item = DeviceKey>) {
        self.now += 1;
        for (index, device) in devices.enumerate() {
            // Planted (60): one device's entry goes, and the others' stay.
            if is_planted(60) && index > 0 {
                continue;
            }
            self.pasids.remove(&PasidKey { device, pasid });
            self.watches.tell_pasid(device, pasid);
        }
    }

    /// Drops every translation.
    pub fn invalidate_translations(&mut self) {
        self.now += 1;
        self.translations = self.now;
        self.watches.tell_all();
    }

    /// Drops the translations of a domain.
    pub fn invalidate_translation_domain(&mut self, domain: DomainId) {
        self.now += 1;
        self.translation_domains.set(domain, self.now);
        self.epochs.drop_tags(domain);
    }

    /// Drops the translations of a domain that overlap the 4 KiB pages `first` to `last` of the second stage, or all of them where
    /// the range is large.
    ///
    /// A nested translation is found by its first-stage address, so all of an entry's go: any of them may have used the pages.
    pub fn invalidate_domain_pages(&mut self, domain: DomainId, first: u64, last: u64) {
        self.now += 1;
        let mut next_tag = self.next_tag;
        let mut tags = Vec::new();
        self.contexts.for_each_mut(|entry| {
            if let CachedContext::Legacy(context, tag) = &entry.value
                && context.domain == domain
            {
                tags.push(*tag);
            }
        });
        let mut nested = false;
        self.pasids.for_each_mut(|entry| {
            let lookup = &entry.value.lookup.entry;
            if lookup.domain != domain {
                return;
            }
            // Planted (65): by page nested translations stay.
            if matches!(lookup.translation, Nested(..)) && !is_planted(65) {
                nested = true;
                next_tag += 1;
                entry.value.tag = Tag(next_tag);
            } else {
                tags.push(entry.value.tag);
            }
        });
        self.next_tag = next_tag;
        if !self.iotlb.remove_pages(&tags, first, last) {
            self.translation_domains.set(domain, self.now);
            nested = true;
        }
        match nested {
            true => self.epochs.drop_tags(domain),
            false => self.epochs.drop_pages(domain),
        }
    }

    /// Drops the translation of one 4 KiB page of a device and PASID, whatever the domain.
    pub fn invalidate_page(&mut self, device: DeviceKey, pasid: Pasid, page: u64) {
        self.now += 1;
        let new_tag = Tag(self.next_tag + 1);
        if let Some(entry) = self.pasids.get_mut(&PasidKey { device, pasid }) {
            if !self.iotlb.remove_pages(&[entry.value.tag], page, page) {
                entry.value.tag = new_tag;
                self.next_tag += 1;
            }
            self.epochs.drop_tags(entry.value.lookup.entry.domain);
        }
    }

    /// Drops the translations of a domain and PASID: all of them, or those that overlap the 4 KiB pages of a range, or all where
    /// that is large.
    ///
    /// `devices` are all that may have entries.
    pub fn invalidate_pasid_translations(
        &mut self,
        domain: DomainId,
        pasid: Pasid,
        pages: Option<(u64, u64)>,
        devices: impl Iterator<Item = DeviceKey>,
    ) {
        self.now += 1;
        let mut retagged = false;
        for device in devices {
            let key = PasidKey { device, pasid };
            let new_tag = Tag(self.next_tag + 1);
            let Some(entry) = self.pasids.get_mut(&key) else { continue };
            if entry.value.lookup.entry.domain != domain {
                continue;
            }
            let removed = pages.is_some_and(|(first, last)| {
                self.iotlb.remove_pages(&[entry.value.tag], first, last)
            });
            if !removed {
                entry.value.tag = new_tag;
                self.next_tag += 1;
                retagged = true;
            }
        }
        match retagged {
            true => self.epochs.drop_tags(domain),
            false => self.epochs.drop_pages(domain),
        }
    }
}
