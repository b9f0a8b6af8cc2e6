//! What emulated devices' requests are answered from: context cache, PASID cache and IOTLB.

use alloc::collections::BTreeMap;
use alloc::vec::Vec;

use vtd_spec::planted::is_planted;
use vtd_spec::table::Translation::Nested;
use vtd_spec::table::{ContextEntry, LegacyContextEntry};
use vtd_spec::{DomainId, Iova, Pasid};
use vtd_walk::{Access, PasidLookup};

use crate::DeviceKey;
use crate::domain_generations::DomainGenerations;
use crate::iotlb::{Iotlb, Tag, Translation};
use crate::set_cache::{Place, SetCache};

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
#[derive(Clone, Debug)]
pub struct Caches {
    capacities: Capacities,
    contexts: SetCache<ContextKey, Filled<CachedContext>>,
    pasids: SetCache<PasidKey, Filled<CachedPasid>>,
    iotlb: Iotlb,
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
            iotlb: Iotlb::new(capacities.translations),
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
        self.counts
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

    /// The context entry of a device, if it is cached.
    pub fn context(&mut self, device: DeviceKey) -> Option<CachedContext> {
        let valid = self.device_generation(device);
        let found = self.contexts.get(&ContextKey(device)).filter(|entry| entry.at >= valid);
        let found = found.copied();
        let Some(entry) = found else {
            self.counts.context_misses += 1;
            return None;
        };
        self.counts.context_hits += 1;
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
        self.contexts.insert(ContextKey(device), Filled { value, at: self.now });
        Some(tag)
    }

    /// Enters a scalable-mode context entry, unless something was invalidated meanwhile.
    pub fn fill_context(&mut self, lookup: Lookup, device: DeviceKey, context: ContextEntry) {
        if lookup.0 == self.now && self.capacities.contexts != 0 {
            let value = CachedContext::Scalable(context);
            self.contexts.insert(ContextKey(device), Filled { value, at: self.now });
        }
    }

    /// The PASID-table entry of a device and PASID, if it is cached. The cost does not depend on how many the device has.
    pub fn pasid(&mut self, device: DeviceKey, pasid: Pasid) -> Option<CachedPasid> {
        let key = PasidKey { device, pasid };
        let valid = self.device_generation(device);
        let found = self.pasids.get(&key).copied().filter(|entry| {
            let domain = entry.value.lookup.entry.domain;
            // Planted (row 1): a context-cache invalidation leaves PASID entries cached.
            (entry.at >= valid || is_planted(101)) && entry.at >= self.pasid_domains.get(domain)
        });
        let Some(entry) = found else {
            self.counts.pasid_misses += 1;
            return None;
        };
        self.counts.pasid_hits += 1;
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
        self.pasids.insert(PasidKey { device, pasid }, Filled { value, at: self.now });
        Some(tag)
    }

    /// A translation that serves this access, if it is cached.
    pub fn translation(&mut self, tag: Tag, iova: Iova, access: Access) -> Option<Translation> {
        // A large page may hold the interrupt range beside what was asked for: the walk says which fault that is.
        let found = self.iotlb.get(tag, iova, access);
        let found =
            found.filter(|found| found.serves(access) && !found.at(iova).address.is_interrupt());
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
            self.iotlb.insert(tag, iova, access, translation);
        }
    }

    fn translation_generation(&self, domain: DomainId) -> u64 {
        self.translations.max(self.translation_domains.get(domain))
    }

    /// Drops everything: root table changed, translation switched, reset.
    pub fn invalidate_all(&mut self) {
        self.now += 1;
        self.all = self.now;
    }

    /// Context-cache invalidation of some devices: their context and PASID entries and translations go.
    pub fn invalidate_devices(&mut self, devices: impl Iterator<Item = DeviceKey>) {
        self.now += 1;
        self.devices.extend(devices.map(|device| (device, self.now)));
    }

    /// A device is gone for good: its key is never used again, so what it left in the caches is never found.
    pub fn forget_device(&mut self, device: DeviceKey) {
        self.devices.remove(&device);
    }

    /// PASID-cache invalidation by domain, with the translations made through what it drops.
    pub fn invalidate_pasid_domain(&mut self, domain: DomainId) {
        self.now += 1;
        self.pasid_domains.set(domain, self.now);
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
        }
    }

    /// Drops every translation.
    pub fn invalidate_translations(&mut self) {
        self.now += 1;
        self.translations = self.now;
    }

    /// Drops the translations of a domain.
    pub fn invalidate_translation_domain(&mut self, domain: DomainId) {
        self.now += 1;
        self.translation_domains.set(domain, self.now);
    }

    /// Drops the translations of a domain that overlap the 4 KiB pages `first` to `last` of the second stage.
    ///
    /// A nested translation is found by its first-stage address, so all of an entry's go: any of them may have used the pages.
    pub fn invalidate_domain_pages(&mut self, domain: DomainId, first: u64, last: u64) {
        self.now += 1;
        let mut next_tag = self.next_tag;
        self.pasids.for_each_mut(|entry| {
            let lookup = &entry.value.lookup.entry;
            // Planted (65): by page nested translations stay.
            let stays = is_planted(65);
            if lookup.domain == domain && matches!(lookup.translation, Nested(..)) && !stays {
                next_tag += 1;
                entry.value.tag = Tag(next_tag);
            }
        });
        self.next_tag = next_tag;
        let of_contexts = self.contexts.iter().filter_map(|(_, entry)| match entry.value {
            CachedContext::Legacy(context, tag) => (context.domain == domain).then_some(tag),
            CachedContext::Scalable(_) => None,
        });
        let of_pasids = self.pasids.iter().filter_map(|(_, entry)| {
            (entry.value.lookup.entry.domain == domain).then_some(entry.value.tag)
        });
        let mut tags: Vec<_> = of_contexts.chain(of_pasids).collect();
        tags.sort_unstable();
        self.iotlb.remove_pages(&tags, first, last);
    }

    /// Drops the translation of one 4 KiB page of a device and PASID, whatever the domain.
    pub fn invalidate_page(&mut self, device: DeviceKey, pasid: Pasid, page: u64) {
        self.now += 1;
        if let Some(entry) = self.pasids.get_mut(&PasidKey { device, pasid }) {
            let tag = entry.value.tag;
            self.iotlb.remove_pages(&[tag], page, page);
        }
    }

    /// Drops the translations of a domain and PASID: all of them, or those that overlap the 4 KiB pages of a range.
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
        for device in devices {
            let key = PasidKey { device, pasid };
            let new_tag = Tag(self.next_tag + 1);
            let Some(entry) = self.pasids.get_mut(&key) else { continue };
            if entry.value.lookup.entry.domain != domain {
                continue;
            }
            match pages {
                Some((first, last)) => {
                    let tag = entry.value.tag;
                    self.iotlb.remove_pages(&[tag], first, last);
                }
                None => {
                    entry.value.tag = new_tag;
                    self.next_tag += 1;
                }
            }
        }
    }
}
