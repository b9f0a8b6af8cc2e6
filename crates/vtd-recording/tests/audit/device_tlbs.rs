//! Translation requests, and translated requests against what the device was given: types 3 and 8.

use crate::story::{Story, context_cache, figures, is_found, pasid_cache, pasid_iotlb};

/// Type 3, for 00:03.0.
fn device_tlb(address: u64) -> [u64; 2] {
    [0x3 | 0x18 << 32, address]
}

/// Type 8, for 00:03.0.
fn pasid_device_tlb(pasid: u64, address: u64) -> [u64; 2] {
    [0x8 | 0x18 << 16 | pasid << 32, address]
}

/// Everything: S, and ones below.
const ALL: u64 = 0x7fff_ffff_ffff_f000;

#[test]
fn translation_requests() {
    let goes = |story: &mut Story| story.set(0x10_3028, 0);
    let request = "translate 00:03.0 5 w 5123 777000 fff rw";
    assert!(is_found(Story::scalable(), request, goes, &[pasid_iotlb(7, 5)]));
    assert!(!is_found(Story::scalable(), request, goes, &[pasid_iotlb(7, 6)]));
    // What the device holds is one thing, what the unit answers with another.
    assert!(!is_found(Story::scalable(), request, goes, &[pasid_device_tlb(5, 0x5000)]));
    let read_only = |story: &mut Story| story.set(0x10_3028, 0x77_7065);
    assert!(is_found(Story::scalable(), request, read_only, &[pasid_iotlb(7, 5)]));
    let entry_goes = |story: &mut Story| story.pasid(5, [0x40, 7, 0x10_0000]);
    assert!(is_found(Story::scalable(), request, entry_goes, &[pasid_cache(7, 5)]));
    // DTE goes.
    let refused = |story: &mut Story| story.set(0x2300, 0x1_0009);
    assert!(is_found(Story::scalable(), request, refused, &[context_cache(0, 0)]));
    assert!(!is_found(Story::scalable(), request, refused, &[pasid_cache(7, 5)]));
}

#[test]
fn translation_requests_that_are_granted_less() {
    let mut story = Story::scalable();
    story.set(0x10_3028, 0x77_7065);
    story.line("translate 00:03.0 5 w 5123 777000 fff r");
    story.line("translate 00:03.0 5 r 6123 778000 fff r");
    story.line("translate 00:03.0 5 w 7123 none");
    story.line("translate 00:03.0 9 w 5123 0 1fffffff rw");
    // Writes to the interrupt range go untranslated.
    story.line("translate 00:03.0 - w fee00000 fee00000 fff w u");
    assert_eq!(figures(&story.audit()), [3, 0, 0, 0]);
}

#[test]
fn translated_requests() {
    for (given, invalidation, covers) in [
        ("translate 00:03.0 5 w 5123 777000 fff rw", pasid_device_tlb(5, 0x5000), true),
        ("translate 00:03.0 5 w 5123 777000 fff rw", pasid_device_tlb(5, 0x6000), false),
        ("translate 00:03.0 5 w 5123 777000 fff rw", pasid_device_tlb(6, 0x5000), false),
        // S, and one more bit: 16 KiB from 4000 on.
        ("translate 00:03.0 5 w 5123 777000 fff rw", pasid_device_tlb(5, 0x5800), true),
        ("translate 00:03.0 5 w 5123 777000 fff rw", pasid_device_tlb(5, ALL | 0x800), true),
        // G: every PASID, but not requests without one.
        ("translate 00:03.0 5 w 5123 777000 fff rw", pasid_device_tlb(0, ALL | 0x801), true),
        ("translate 00:03.0 - w 5123 777000 fff rw", pasid_device_tlb(0, ALL | 0x801), false),
        ("translate 00:03.0 5 w 5123 777000 fff rw", device_tlb(ALL | 1), false),
        ("translate 00:03.0 - w 5123 777000 fff rw", device_tlb(ALL | 1), true),
        ("translate 00:03.0 - w 5123 777000 fff rw", device_tlb(0x5000), true),
        ("translate 00:03.0 - w 5123 777000 fff rw", device_tlb(0x4001), true),
        ("translate 00:03.0 - w 5123 777000 fff rw", device_tlb(0x6001), false),
        // Of another device.
        ("translate 00:03.0 - w 5123 777000 fff rw", [0x3 | 0x20 << 32, ALL | 1], false),
        // The unit's own caches are none of the device's.
        ("translate 00:03.0 5 w 5123 777000 fff rw", pasid_iotlb(7, 5), false),
    ] {
        let mut story = Story::scalable();
        story.line(given);
        let (first, last) =
            ("translated 00:03.0 - w 777000 ok", "translated 00:03.0 - r 777fff ok");
        story.line(first);
        story.queue(invalidation);
        let wait = story.queue_wait();
        let asked = story.ring();
        story.line(last);
        assert_eq!(figures(&story.audit()), [3, 0, 0, 0], "{given} {invalidation:x?}");
        let done = story.status(wait);
        let line = story.line(last);
        let report = story.audit();
        assert_eq!(figures(&report), [4, 0, u64::from(covers), 0], "{given} {invalidation:x?}");
        if covers {
            let found = &report.uses[0];
            assert_eq!((found.line, found.asked, found.done), (line, Some(asked), Some(done)));
            assert_eq!(found.tables, "the device was told to drop it");
            // The device asks again.
            story.line(given);
            story.line(last);
            assert_eq!(figures(&story.audit()), [6, 0, 1, 0]);
        }
    }
}

#[test]
fn a_large_page_that_the_device_was_given() {
    let mut story = Story::scalable();
    story.line("translate 00:03.0 5 w 234567 800000 1fffff rw");
    story.line("translated 00:03.0 - w 9abcde ok");
    story.invalidate(&[pasid_device_tlb(5, 0x3f_f000)]);
    story.line("translated 00:03.0 - w 812345 ok");
    assert_eq!(figures(&story.audit()), [3, 0, 1, 0]);
}

#[test]
fn what_the_device_was_never_given_is_its_own_business() {
    let mut story = Story::scalable();
    story.line("translated 00:03.0 - w 123000 ok");
    story.line("translate 00:03.0 5 r 5123 777000 fff r");
    // More than it was given.
    story.line("translated 00:03.0 - w 777000 ok");
    story.line("translated 00:03.0 - w 777000 fault");
    assert_eq!(figures(&story.audit()), [1, 0, 0, 2]);
}

#[test]
fn a_device_that_may_have_no_device_tlb_any_more() {
    let mut story = Story::scalable();
    story.line("translate 00:03.0 5 w 5123 777000 fff rw");
    story.line("translated 00:03.0 - w 777000 ok");
    story.set(0x2300, 0x1_0009);
    story.line("translated 00:03.0 - w 777000 ok");
    assert_eq!(figures(&story.audit()), [3, 1, 0, 0]);
    story.invalidate(&[context_cache(0, 0)]);
    story.line("translated 00:03.0 - w 777000 ok");
    let report = story.audit();
    assert_eq!(figures(&report), [4, 1, 1, 0]);
    assert!(report.uses[0].invalidation.is_some());
    // With translation off there are none at all.
    story.set(0x2300, 0x1_000d);
    story.invalidate(&[context_cache(0, 0)]);
    story.write(0x18, 4, 0x400_0000);
    story.read(0x1c, 4, 0x4400_0000);
    story.line("translated 00:03.0 - w 777000 ok");
    assert_eq!(figures(&story.audit()), [5, 1, 2, 0]);
}

#[test]
fn a_device_that_did_not_answer_in_time() {
    let mut story = Story::scalable();
    story.line("endpoint 00:03.0 later");
    story.line("translate 00:03.0 5 w 5123 777000 fff rw");
    story.queue(pasid_device_tlb(5, 0x5000));
    let _aborted = story.queue_wait();
    story.ring();
    story.line("device-tlb 00:03.0 5 5000 1");
    story.line("device-tlb-timeout 00:03.0");
    let wait = story.queue_wait();
    story.ring();
    story.status(wait);
    story.line("translated 00:03.0 - w 777000 ok");
    assert_eq!(figures(&story.audit()), [2, 0, 0, 0]);
    story.invalidate(&[pasid_device_tlb(5, 0x5000)]);
    story.line("translated 00:03.0 - w 777000 ok");
    assert_eq!(figures(&story.audit()), [3, 0, 1, 0]);
}
