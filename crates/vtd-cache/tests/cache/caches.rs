//! What emulated devices' requests are answered from, and what each invalidation leaves of it.

use vtd_cache::{CachedContext, Caches, Capacities, DeviceKey, Tag, Translation};
use vtd_spec::table::{ContextEntry, LegacyContextEntry, PageSize, PasidEntry};
use vtd_spec::{Capabilities, DomainId, Entry, Gpa, Iova, Pasid};
use vtd_walk::{Access, Granted, PasidLookup};

use crate::guest::Numbers;

pub(crate) const READ: Access = Access::READ;
const WRITE: Access = Access::WRITE;

fn caps() -> Capabilities {
    Capabilities::new(0x1000_0000_222f_0686, 0x0002_c99c_a000_0f46).unwrap()
}

pub(crate) fn pasid(number: u32) -> Pasid {
    Pasid::new(number).unwrap()
}

pub(crate) fn lookup(domain: u64) -> PasidLookup {
    let Entry::Present(entry) = PasidEntry::decode(&[0x101, domain, 0, 0, 0, 0, 0, 0], &caps())
    else {
        panic!()
    };
    PasidLookup { entry, fpd: false }
}

fn context() -> ContextEntry {
    let Entry::Present(entry) = ContextEntry::decode([0x5009, 0, 0, 0], &caps()) else { panic!() };
    entry
}

fn legacy(domain: u64) -> LegacyContextEntry {
    let Entry::Present(entry) = LegacyContextEntry::decode([9, domain << 8 | 2], &caps()) else {
        panic!()
    };
    entry
}

pub(crate) fn page(page: u64, size: PageSize) -> Translation {
    Translation { page: Gpa(page), size, granted: Granted::ALL, dirty: true, snoop: false }
}

/// Devices 0 to 2 with PASIDs 0, 3 and 64, of domain 1 + (device + PASID) % 3: context, entry and one translation each.
pub(crate) fn full() -> Caches {
    let mut caches = Caches::new(Capacities::default());
    for device in 0..3 {
        let now = caches.begin();
        caches.fill_context(now, DeviceKey(device), context());
        for number in [0, 3, 64] {
            let domain = domain(device, number);
            let tag = caches
                .fill_pasid(now, DeviceKey(device), pasid(number), lookup(domain.into()))
                .unwrap();
            caches.fill_translation(now, tag, Iova(0x5000), READ, page(0x9000, PageSize::Size4K));
        }
    }
    caches
}

fn domain(device: u32, number: u32) -> u16 {
    u16::try_from(1 + (device + number) % 3).unwrap()
}

/// Whether a translation is found the way that a request goes: through the entry.
pub(crate) fn serves(caches: &mut Caches, device: u32, number: u32, iova: u64) -> bool {
    let Some(entry) = caches.pasid(DeviceKey(device), pasid(number)) else { return false };
    caches.translation(entry.tag, Iova(iova), READ).is_some()
}

/// Which contexts, entries and translations are left, as `c0`, `e0.3`, `t0.3`.
fn left(caches: &mut Caches) -> Vec<String> {
    let mut left = Vec::new();
    for device in 0..3 {
        if caches.context(DeviceKey(device)).is_some() {
            left.push(format!("c{device}"));
        }
        for number in [0, 3, 64] {
            if caches.pasid(DeviceKey(device), pasid(number)).is_some() {
                left.push(format!("e{device}.{number}"));
            }
            if serves(caches, device, number, 0x5000) {
                left.push(format!("t{device}.{number}"));
            }
        }
    }
    left
}

// feature: 3.descriptors: PASID cache (type 7)
#[test]
fn each_invalidation_drops_what_it_should() {
    let all = || (0..3).map(DeviceKey);
    type Row = (&'static str, fn(&mut Caches), fn(char, u32, u32) -> bool);
    // (what, invalidation, which context (c), entry (e) or translation (t) of device and PASID goes)
    let rows: &[Row] = &[
        ("all", Caches::invalidate_all, |_, _, _| true),
        ("none", |caches| caches.invalidate_devices([].into_iter()), |_, _, _| false),
        (
            "device 1",
            |caches| caches.invalidate_devices([DeviceKey(1)].into_iter()),
            |_, device, _| device == 1,
        ),
        (
            "pasid domain 2",
            |caches| caches.invalidate_pasid_domain(DomainId(2)),
            |kind, device, number| kind != 'c' && domain(device, number) == 2,
        ),
        (
            "pasid 3",
            |caches| caches.invalidate_pasid(pasid(3), (0..3).map(DeviceKey)),
            |kind, _, number| kind != 'c' && number == 3,
        ),
        ("translations", Caches::invalidate_translations, |kind, _, _| kind == 't'),
        (
            "translations of domain 2",
            |caches| caches.invalidate_translation_domain(DomainId(2)),
            |kind, device, number| kind == 't' && domain(device, number) == 2,
        ),
        (
            "pages of domain 2",
            |caches| caches.invalidate_domain_pages(DomainId(2), 5, 5),
            |kind, device, number| kind == 't' && domain(device, number) == 2,
        ),
        (
            "other pages",
            |caches| caches.invalidate_domain_pages(DomainId(2), 6, 9),
            |_, _, _| false,
        ),
        (
            "page 5 of device 1, PASID 3",
            |caches| caches.invalidate_page(DeviceKey(1), pasid(3), 5),
            |kind, device, number| kind == 't' && device == 1 && number == 3,
        ),
        (
            "page 6 of device 1, PASID 3",
            |caches| caches.invalidate_page(DeviceKey(1), pasid(3), 6),
            |_, _, _| false,
        ),
        (
            "translations of domain 2, PASID 64",
            |caches| {
                caches.invalidate_pasid_translations(
                    DomainId(2),
                    pasid(64),
                    None,
                    (0..3).map(DeviceKey),
                );
            },
            |kind, device, number| kind == 't' && number == 64 && domain(device, number) == 2,
        ),
        (
            "pages of domain 1, PASID 3",
            |caches| {
                let devices = (0..3).map(DeviceKey);
                caches.invalidate_pasid_translations(DomainId(1), pasid(3), Some((0, 5)), devices);
            },
            |kind, device, number| kind == 't' && number == 3 && domain(device, number) == 1,
        ),
        (
            "other pages of domain 1, PASID 3",
            |caches| {
                let devices = (0..3).map(DeviceKey);
                caches.invalidate_pasid_translations(DomainId(1), pasid(3), Some((6, 7)), devices);
            },
            |_, _, _| false,
        ),
    ];
    for (what, invalidate, goes) in rows {
        let mut caches = full();
        let before = left(&mut caches);
        assert_eq!(before.len(), 3 + 9 + 9);
        invalidate(&mut caches);
        let expected: Vec<_> = before
            .iter()
            .filter(|name| {
                let (kind, rest) = name.split_at(1);
                let (device, number) = rest.split_once('.').unwrap_or((rest, "0"));
                !goes(
                    kind.chars().next().unwrap(),
                    device.parse().unwrap(),
                    number.parse().unwrap(),
                )
            })
            .cloned()
            .collect();
        assert_eq!(left(&mut caches), expected, "{what}");
    }
    assert_eq!(all().count(), 3);
}

#[test]
fn a_fill_is_refused_after_any_invalidation_since_its_beginning() {
    let rows: &[fn(&mut Caches)] = &[
        Caches::invalidate_all,
        |caches| caches.invalidate_devices([].into_iter()),
        |caches| caches.invalidate_pasid_domain(DomainId(9)),
        |caches| caches.invalidate_pasid(pasid(9), [].into_iter()),
        Caches::invalidate_translations,
        |caches| caches.invalidate_translation_domain(DomainId(9)),
        |caches| caches.invalidate_domain_pages(DomainId(9), 1, 1),
        |caches| caches.invalidate_page(DeviceKey(9), pasid(9), 1),
        |caches| caches.invalidate_pasid_translations(DomainId(9), pasid(9), None, [].into_iter()),
        |caches| {
            caches.invalidate_pasid_translations(
                DomainId(9),
                pasid(9),
                Some((1, 1)),
                [].into_iter(),
            );
        },
    ];
    for (at, invalidate) in rows.iter().enumerate() {
        let mut caches = Caches::new(Capacities::default());
        let before = caches.begin();
        let tag = caches.fill_pasid(before, DeviceKey(0), pasid(3), lookup(1)).unwrap();
        invalidate(&mut caches);
        assert_ne!(caches.begin(), before);
        caches.fill_context(before, DeviceKey(1), context());
        assert_eq!(caches.context(DeviceKey(1)), None, "row {at}");
        assert_eq!(caches.fill_legacy(before, DeviceKey(1), legacy(1)), None);
        assert_eq!(caches.fill_pasid(before, DeviceKey(1), pasid(3), lookup(1)), None);
        assert_eq!(caches.pasid(DeviceKey(1), pasid(3)), None);
        caches.fill_translation(before, tag, Iova(0), READ, page(0, PageSize::Size4K));
        assert_eq!(caches.translation(tag, Iova(0), READ), None, "row {at}");
        // What is begun now is taken.
        let now = caches.begin();
        assert!(caches.fill_pasid(now, DeviceKey(1), pasid(3), lookup(1)).is_some());
    }
}

#[test]
fn legacy_translations_go_with_their_domain_and_stay_with_another() {
    for (asked, survives) in [(1, false), (2, true)] {
        for by_page in [false, true] {
            let mut caches = Caches::new(Capacities::default());
            let now = caches.begin();
            let tag = caches.fill_legacy(now, DeviceKey(0), legacy(1)).unwrap();
            caches.fill_translation(now, tag, Iova(0x5000), READ, page(0x9000, PageSize::Size4K));
            if by_page {
                caches.invalidate_domain_pages(DomainId(asked), 0, 5);
            } else {
                caches.invalidate_translation_domain(DomainId(asked));
            }
            let Some(CachedContext::Legacy(_, tag)) = caches.context(DeviceKey(0)) else {
                panic!()
            };
            assert_eq!(caches.translation(tag, Iova(0x5000), READ).is_some(), survives);
        }
    }
}

/// Caches with one entry of domain 1 for device 0 and PASID 3.
fn one(capacities: Capacities) -> (Caches, Tag) {
    let mut caches = Caches::new(capacities);
    let now = caches.begin();
    let tag = caches.fill_pasid(now, DeviceKey(0), pasid(3), lookup(1)).unwrap();
    (caches, tag)
}

/// The translation of device 0 and PASID 3, through its entry, as a request finds it.
fn found(caches: &mut Caches, iova: Iova, access: Access) -> Option<Translation> {
    let entry = caches.pasid(DeviceKey(0), pasid(3))?;
    caches.translation(entry.tag, iova, access)
}

fn fill(caches: &mut Caches, tag: Tag, iova: u64, access: Access, translation: Translation) {
    let now = caches.begin();
    caches.fill_translation(now, tag, Iova(iova), access, translation);
}

// feature: 3.descriptors: PASID-based IOTLB (type 6)
#[test]
fn known_failure_04_every_address_mask_flushes_its_whole_range() {
    let last_page = u64::MAX >> 12;
    let sizes = [(PageSize::Size4K, 0_u32), (PageSize::Size2M, 9), (PageSize::Size1G, 18)];
    for am in (0..64_u32).step_by(if cfg!(miri) { 20 } else { 1 }) {
        // The range of 2^AM pages around each of these, aligned; from 52 on it is everything.
        for around in [0, 1, 0x1234_5678, 1 << 35, last_page >> 1, last_page - 1, last_page] {
            let mask = if am >= 52 { last_page } else { (1 << am) - 1 };
            let (first, last) = (around & !mask, around | mask);
            for (size, shift) in sizes {
                let (mut caches, tag) =
                    one(Capacities { translations: 4096, ..Capacities::default() });
                // Pages within, at the edges of the range, and outside of it
                let places = [
                    first,
                    last,
                    around,
                    first.wrapping_sub(1) & last_page,
                    last.wrapping_add(1) & last_page,
                ];
                for at in places {
                    fill(&mut caches, tag, at << 12, READ, page(0, size));
                }
                let devices = [DeviceKey(0)].into_iter();
                caches.invalidate_pasid_translations(
                    DomainId(1),
                    pasid(3),
                    Some((first, last)),
                    devices,
                );
                for at in places {
                    let (low, high) = (at >> shift << shift, at | ((1 << shift) - 1));
                    let overlaps = low <= last && first <= high;
                    let found = found(&mut caches, Iova(at << 12), READ);
                    // Of more than 256 pages, a 16th of the capacity, all of the entry's go.
                    assert_eq!(
                        found.is_none(),
                        overlaps || am > 8,
                        "AM {am} {around:x} {size:?} {at:x}"
                    );
                }
            }
        }
    }
}

#[test]
fn random_ranges_leave_exactly_what_does_not_overlap() {
    let mut numbers = Numbers(77);
    for _ in 0..if cfg!(miri) { 3 } else { 300 } {
        let (mut caches, tag) = one(Capacities { translations: 4096, ..Capacities::default() });
        let pages: Vec<_> = (0..60)
            .map(|_| {
                (
                    numbers.below(0x8_0000),
                    numbers.of(&[PageSize::Size4K, PageSize::Size2M, PageSize::Size1G]),
                )
            })
            .collect();
        for (at, size) in &pages {
            let access = numbers.of(&[READ, READ.with_privilege(), READ.executing()]);
            fill(&mut caches, tag, at << 12, access, page(0, *size));
        }
        let accesses = [READ, READ.with_privilege(), READ.executing()];
        let served = |caches: &mut Caches| -> Vec<_> {
            pages
                .iter()
                .flat_map(|(at, _)| accesses.map(|access| found(caches, Iova(at << 12), access)))
                .collect()
        };
        let before = served(&mut caches);
        let first = numbers.below(0x8_0000);
        let last = first + numbers.of(&[0, 1, 7, 255, 256, 511, 0x3_ffff, 0x8_0000]);
        let devices = [DeviceKey(0)].into_iter();
        caches.invalidate_pasid_translations(DomainId(1), pasid(3), Some((first, last)), devices);
        let after = served(&mut caches);
        for ((index, before), after) in before.iter().enumerate().zip(&after) {
            let (at, _) = pages[index / 3];
            if let Some(after) = after {
                let shift = after.size.shift() - 12;
                let (low, high) = (at >> shift << shift, at | ((1 << shift) - 1));
                assert!(high < first || last < low, "{at:x} is left of {first:x} to {last:x}");
            } else if let Some(before) = before {
                let shift = before.size.shift() - 12;
                let (low, high) = (at >> shift << shift, at | ((1 << shift) - 1));
                let is_large = last - first >= 256;
                let overlaps = high >= first && low <= last;
                assert!(overlaps || is_large, "{at:x} is gone with {first:x} to {last:x}");
            }
        }
    }
}

// feature: 1.requests to execute, and execute disable (ERE, NXE, XD)
// feature: 1.supervisor requests and write protection (SRE, WPE)
#[test]
fn privileged_and_execute_requests_share_nothing_with_others() {
    let kinds = [READ, READ.with_privilege(), READ.executing(), READ.executing().with_privilege()];
    for filled in kinds {
        let (mut caches, tag) = one(Capacities::default());
        fill(&mut caches, tag, 0x5000, filled, page(0x9000, PageSize::Size4K));
        for asked in kinds {
            let found = caches.translation(tag, Iova(0x5000), asked);
            assert_eq!(found.is_some(), asked == filled, "{filled:?} {asked:?}");
        }
    }
}

#[test]
fn a_write_is_served_only_with_permission_and_a_dirty_bit() {
    // (write granted, dirty, a read is served, a write is)
    for (write, dirty, reads, writes) in [
        (true, true, true, true),
        (true, false, true, false),
        (false, true, true, false),
        (false, false, true, false),
    ] {
        let (mut caches, tag) = one(Capacities::default());
        let granted = Granted { write, ..Granted::ALL };
        let translation = Translation { granted, dirty, ..page(0x9000, PageSize::Size2M) };
        fill(&mut caches, tag, 0x20_0000, READ, translation);
        assert_eq!(caches.translation(tag, Iova(0x20_5000), READ).is_some(), reads);
        assert_eq!(caches.translation(tag, Iova(0x20_5000), WRITE).is_some(), writes);
        // The walk for the write enters what it found in its place.
        fill(&mut caches, tag, 0x20_0000, WRITE, page(0x9000, PageSize::Size2M));
        assert!(caches.translation(tag, Iova(0x20_5000), WRITE).is_some());
    }
}

// feature: 1.interrupt address range (FEE0_0000 to FEEF_FFFF)
#[test]
fn an_interrupt_address_in_a_large_page_is_not_served() {
    for (size, first) in [
        (PageSize::Size1G, 0xc000_0000),
        (PageSize::Size2M, 0xfee0_0000),
        (PageSize::Size2M, 0xfec0_0000),
    ] {
        let (mut caches, tag) = one(Capacities::default());
        fill(&mut caches, tag, 0, READ, page(first, size));
        for offset in (0..size.bytes()).step_by(if cfg!(miri) { 0x8_0000 } else { 0x1000 }) {
            let interrupt = (0xfee0_0000..0xfef0_0000).contains(&(first + offset));
            assert_eq!(
                caches.translation(tag, Iova(offset), READ).is_none(),
                interrupt,
                "{offset:x}"
            );
        }
    }
}

#[test]
fn an_answer_is_the_page_and_the_offset() {
    let translation = page(0x4000_0000, PageSize::Size1G);
    let found = translation.at(Iova(0x1234_5678_9abc));
    assert_eq!((found.page, found.address), (Gpa(0x4000_0000), Gpa(0x4000_0000 | 0x1678_9abc)));
    assert!(found.dirty && found.granted == Granted::ALL);
}

#[test]
fn capacities_bound_what_is_kept() {
    for capacity in [1, 4, 5, 64, 100] {
        let capacities = Capacities {
            contexts: capacity,
            pasids: capacity,
            translations: capacity,
            interrupt_entries: 0,
        };
        let mut caches = Caches::new(capacities);
        let now = caches.begin();
        let mut tags = Vec::new();
        for at in 0..1000 {
            caches.fill_context(now, DeviceKey(at), context());
            let tag = caches.fill_pasid(now, DeviceKey(0), pasid(at), lookup(1)).unwrap();
            caches.fill_translation(now, tag, Iova(0), READ, page(0, PageSize::Size4K));
            tags.push(tag);
        }
        let most = |ways: usize| capacity.div_ceil(ways).next_power_of_two() * ways;
        let contexts = (0..1000).filter(|at| caches.context(DeviceKey(*at)).is_some()).count();
        let pasids =
            (0..1000).filter(|at| caches.pasid(DeviceKey(0), pasid(*at)).is_some()).count();
        let translations =
            tags.iter().filter(|tag| caches.translation(**tag, Iova(0), READ).is_some()).count();
        for (count, ways) in [(contexts, 4), (pasids, 4), (translations, 16)] {
            assert!((1..=most(ways)).contains(&count), "{count} of {capacity}");
        }
        // What was entered last is there.
        assert!(caches.context(DeviceKey(999)).is_some());
        assert!(caches.pasid(DeviceKey(0), pasid(999)).is_some());
    }
}

#[test]
fn caches_of_no_size_keep_nothing() {
    let mut caches = Caches::new(Capacities::NONE);
    let now = caches.begin();
    caches.fill_context(now, DeviceKey(0), context());
    assert_eq!(caches.context(DeviceKey(0)), None);
    assert_eq!(caches.fill_legacy(now, DeviceKey(0), legacy(1)), None);
    assert_eq!(caches.fill_pasid(now, DeviceKey(0), pasid(0), lookup(1)), None);
    let (mut caches, tag) = one(Capacities { translations: 0, ..Capacities::default() });
    fill(&mut caches, tag, 0, READ, page(0, PageSize::Size4K));
    assert_eq!(caches.translation(tag, Iova(0), READ), None);
    caches.invalidate_domain_pages(DomainId(1), 0, u64::MAX >> 12);
    assert_eq!(caches.capacities().translations, 0);
}

#[test]
fn known_failure_19_a_lookup_does_not_depend_on_the_pasids_of_the_device() {
    // As many PASIDs as there is room for, close together and far apart: nearly all are found, so sets are not crowded.
    for (devices, stride) in [(1, 1), (1, 64), (1, 256), (64, 1), (2048, 0)] {
        let mut caches = Caches::new(Capacities::default());
        let now = caches.begin();
        let key = |at: u32| (DeviceKey(7 + at % devices), pasid(at / devices * stride));
        for (device, pasid) in (0..2048).map(key) {
            caches.fill_pasid(now, device, pasid, lookup(1)).unwrap();
        }
        let keys = (0..2048).map(key);
        let found = keys.filter(|(device, pasid)| caches.pasid(*device, *pasid).is_some()).count();
        assert!(found > 1_900, "{found} of {devices} devices with stride {stride}");
    }
}

#[test]
fn contexts_of_many_devices_spread_over_the_sets() {
    for stride in [1, 8, 256] {
        let mut caches = Caches::new(Capacities::default());
        let now = caches.begin();
        let devices = || (0..2048).map(|at| DeviceKey(at * stride));
        devices().for_each(|device| caches.fill_context(now, device, context()));
        let found = devices().filter(|device| caches.context(*device).is_some()).count();
        assert!(found > 1_900, "{found} with stride {stride}");
    }
}

#[test]
fn known_failure_19_translations_of_many_tags_and_pages_spread_over_the_sets() {
    // (tags, pages each, distance of the pages)
    for (tags, pages, stride) in
        [(1, 2048, 1), (2048, 1, 1), (64, 32, 1), (64, 32, 512), (32, 64, 1 << 18)]
    {
        let mut caches = Caches::new(Capacities { translations: 4096, ..Capacities::default() });
        let now = caches.begin();
        let tags: Vec<_> = (0..tags)
            .map(|at| caches.fill_pasid(now, DeviceKey(0), pasid(at), lookup(1)).unwrap())
            .collect();
        let all: Vec<_> = tags
            .iter()
            .flat_map(|tag| (0..pages).map(|at| (*tag, Iova(at * stride << 12))))
            .collect();
        for (tag, iova) in &all {
            caches.fill_translation(now, *tag, *iova, READ, page(0, PageSize::Size4K));
        }
        let found = all
            .iter()
            .filter(|(tag, iova)| caches.translation(*tag, *iova, READ).is_some())
            .count();
        assert!(
            found * 10 > all.len() * 9,
            "{found} of {}: {pages} pages {stride} apart",
            all.len()
        );
    }
}

#[test]
fn nothing_is_kept_of_devices_that_are_gone() {
    let mut caches = Caches::new(Capacities::NONE);
    let new = format!("{caches:?}").len();
    for key in (0..0x1000).map(DeviceKey) {
        caches.invalidate_devices([key].into_iter());
        caches.forget_device(key);
    }
    // A count of the invalidations grows by some digits.
    assert!(format!("{caches:?}").len() < new + 16, "{caches:?}");
}

#[test]
fn hits_and_misses_are_counted() {
    let mut caches = full();
    caches.context(DeviceKey(0));
    caches.context(DeviceKey(9));
    serves(&mut caches, 0, 3, 0x5000);
    serves(&mut caches, 0, 3, 0x6000);
    serves(&mut caches, 0, 4, 0x5000);
    caches.miss_translation();
    let counts = caches.counts();
    assert_eq!((counts.context_hits, counts.context_misses), (1, 1));
    assert_eq!((counts.pasid_hits, counts.pasid_misses), (2, 1));
    assert_eq!((counts.translation_hits, counts.translation_misses), (1, 2));
}
