//! Pages of tables that change: types 2 and 6.

use crate::story::{
    CAP, IOTLB, PASID_CACHE, Story, context_cache, figures, iotlb_domain, iotlb_pages, is_found,
    pasid_cache, pasid_iotlb, pasid_iotlb_pages,
};

/// Tables beside those of the story, in which page 5000 leads to 999000.
fn other_tables(story: &mut Story) {
    story.first_stage(0x11_0000);
    story.second_stage(0x21_0000);
    story.set_all(&[(0x11_3028, 0x99_9067), (0x21_3028, 0x99_9003)]);
}

/// Page 5000 of a PASID, at each level of its tables.
fn each_level(pasid: u64, changes: &[(u64, u64)], invalidation: [u64; 2]) -> bool {
    let request = match pasid {
        0 => "dma 00:03.0 - r 5123 777000 fff rw".to_string(),
        _ => format!("dma 00:03.0 {pasid:x} r 5123 777000 fff rw"),
    };
    let found: Vec<_> = changes
        .iter()
        .map(|change| {
            let change = |story: &mut Story| {
                other_tables(story);
                story.set(change.0, change.1);
            };
            is_found(Story::scalable(), &request, change, &[invalidation])
        })
        .collect();
    // What is covered does not depend on what has changed.
    assert!(found.windows(2).all(|pair| pair[0] == pair[1]), "{invalidation:x?}: {found:?}");
    found[0]
}

const FIRST_STAGE: &[(u64, u64)] = &[
    (0x10_0000, 0x11_1027),
    (0x10_1000, 0x11_2027),
    (0x10_2000, 0x11_3027),
    (0x10_3028, 0x99_9067),
    // Not there any more.
    (0x10_0000, 0),
    (0x10_1000, 0),
    (0x10_2000, 0),
    (0x10_3028, 0),
    // For the supervisor alone.
    (0x10_2000, 0x10_3023),
];

const SECOND_STAGE: &[(u64, u64)] = &[
    (0x20_0000, 0x21_1003),
    (0x20_1000, 0x21_2003),
    (0x20_2000, 0x21_3003),
    (0x20_3028, 0x99_9003),
    (0x20_0000, 0),
    (0x20_1000, 0),
    (0x20_2000, 0),
    (0x20_3028, 0),
    // For writes alone.
    (0x20_1000, 0x20_2002),
];

/// Of both stages, whatever the second leads through.
const NESTED: &[(u64, u64)] = &[
    (0x30_0000, 0),
    (0x30_1000, 0),
    (0x30_2000, 0),
    (0x30_3028, 0),
    (0x30_3028, 0x99_9067),
    (0x40_0000, 0),
    (0x40_1000, 0),
];

#[test]
fn the_first_stage() {
    for (pasid, number) in [(5, 5), (0, 0)] {
        for (invalidation, covers) in [
            (pasid_iotlb(7, number), true),
            (pasid_iotlb(8, number), false),
            (pasid_iotlb(7, 6), false),
            (pasid_iotlb_pages(7, number, 0x5000, 0), true),
            (pasid_iotlb_pages(7, number, 0x4000, 0), false),
            (pasid_iotlb_pages(7, number, 0x6000, 0), false),
            (pasid_iotlb_pages(7, number, 0x4000, 1), true),
            (pasid_iotlb_pages(7, number, 0x6000, 1), false),
            // The address is aligned to the mask.
            (pasid_iotlb_pages(7, number, 0x6000, 2), true),
            (pasid_iotlb_pages(8, number, 0x5000, 0), false),
            (pasid_iotlb_pages(7, number, 0, 33), true),
            (pasid_iotlb_pages(7, number, 0xffff_ffff_ffff_f000, 63), true),
            (pasid_iotlb_pages(7, number, 0xffff_ffff_ffff_f000, 51), false),
            (iotlb_domain(7), true),
            (iotlb_domain(8), false),
            (IOTLB, true),
            // By page it is about the second stage.
            (iotlb_pages(7, 0x5000, 0), false),
            // The entries are the same, and what they lead to is something else.
            (pasid_cache(7, number), false),
            (PASID_CACHE, false),
            (context_cache(7, 0), false),
        ] {
            assert_eq!(each_level(pasid, FIRST_STAGE, invalidation), covers, "{invalidation:x?}");
        }
    }
}

#[test]
fn the_second_stage() {
    for (invalidation, covers) in [
        (iotlb_pages(8, 0x5000, 0), true),
        (iotlb_pages(8, 0x4000, 0), false),
        (iotlb_pages(8, 0x4000, 1), true),
        (iotlb_pages(8, 0x6000, 1), false),
        (iotlb_pages(8, 0x6000, 12), true),
        (iotlb_pages(7, 0x5000, 0), false),
        (iotlb_domain(8), true),
        (iotlb_domain(7), false),
        (IOTLB, true),
        // A second stage is invalidated by domain.
        (pasid_iotlb(8, 6), false),
        (pasid_iotlb_pages(8, 6, 0x5000, 0), false),
        (pasid_cache(8, 6), false),
    ] {
        assert_eq!(each_level(6, SECOND_STAGE, invalidation), covers, "{invalidation:x?}");
    }
}

#[test]
fn both_stages() {
    for (invalidation, covers) in [
        (pasid_iotlb(9, 7), true),
        (pasid_iotlb(9, 6), false),
        (pasid_iotlb_pages(9, 7, 0x5000, 0), true),
        (pasid_iotlb_pages(9, 7, 0x6000, 0), false),
        // By page of the second stage: the page that the first leads to, and those of its tables.
        (iotlb_pages(9, 0x77_7000, 0), true),
        (iotlb_pages(9, 0x77_6000, 1), true),
        (iotlb_pages(9, 0x77_8000, 0), false),
        (iotlb_pages(9, 0x5000, 0), false),
        (iotlb_pages(9, 0x30_0000, 0), true),
        (iotlb_pages(9, 0x30_1000, 0), true),
        (iotlb_pages(9, 0x30_2000, 0), true),
        (iotlb_pages(9, 0x30_3000, 0), true),
        (iotlb_pages(9, 0x30_4000, 0), false),
        (iotlb_pages(8, 0x77_7000, 0), false),
        (iotlb_domain(9), true),
        (iotlb_domain(8), false),
        (IOTLB, true),
    ] {
        assert_eq!(each_level(7, NESTED, invalidation), covers, "{invalidation:x?}");
    }
}

#[test]
fn a_large_page_goes_with_any_page_of_it() {
    for (pasid, place, invalidation) in [
        (
            5,
            0x10_2008,
            [pasid_iotlb_pages(7, 5, 0x2f_f000, 0), pasid_iotlb_pages(7, 5, 0x40_0000, 0)],
        ),
        (6, 0x20_2008, [iotlb_pages(8, 0x3f_f000, 0), iotlb_pages(8, 0x1f_f000, 0)]),
    ] {
        for (invalidation, covers) in invalidation.into_iter().zip([true, false]) {
            let request = format!("dma 00:03.0 {pasid} r 234567 800000 1fffff rw");
            let change = |story: &mut Story| story.set(place, 0);
            let found = is_found(Story::scalable(), &request, change, &[invalidation]);
            assert_eq!(found, covers, "{pasid} {invalidation:x?}");
        }
    }
}

/// One request brings a page of 2 MiB into a cache, another finds it there.
#[test]
fn what_one_request_has_seen_is_held_for_the_whole_page() {
    let mut story = Story::scalable();
    story.line("dma 00:03.0 5 r 200000 800000 1fffff rw");
    story.set(0x10_2008, 0xa0_00e7);
    story.line("dma 00:03.0 5 r 345678 800000 1fffff rw");
    assert_eq!(figures(&story.audit()), [2, 1, 0, 0]);
    story.invalidate(&[pasid_iotlb_pages(7, 5, 0x20_0000, 0)]);
    story.line("dma 00:03.0 5 r 345678 a00000 1fffff rw");
    story.line("dma 00:03.0 5 r 3c0000 800000 1fffff rw");
    assert_eq!(figures(&story.audit()), [4, 1, 1, 0]);
}

#[test]
fn permissions_that_are_taken_away() {
    // (PASID, the leaf, read-only, what has it invalidated)
    for (pasid, place, leaf, invalidation) in [
        (5, 0x10_3028, 0x77_7065, pasid_iotlb_pages(7, 5, 0x5000, 0)),
        (6, 0x20_3028, 0x77_7001, iotlb_pages(8, 0x5000, 0)),
        (7, 0x30_3028, 0x77_7065, pasid_iotlb_pages(9, 7, 0x5000, 0)),
    ] {
        let write = format!("dma 00:03.0 {pasid} w 5123 777000 fff rw");
        let change = |story: &mut Story| story.set(place, leaf);
        assert!(is_found(Story::scalable(), &write, change, &[invalidation]));
        // A read that is granted no more than the tables grant; one whose grant would serve a write too.
        let mut story = Story::scalable();
        story.line(&write);
        story.set(place, leaf);
        story.invalidate(&[invalidation]);
        story.line(&format!("dma 00:03.0 {pasid} r 5123 777000 fff r"));
        assert_eq!(figures(&story.audit()), [2, 0, 0, 0]);
        story.line(&format!("dma 00:03.0 {pasid} r 5123 777000 fff rw"));
        let report = story.audit();
        assert_eq!(figures(&report), [3, 0, 1, 0]);
        assert_eq!(report.uses[0].tables, "777123 r");
        // A write that is refused uses nothing.
        story.line(&format!("dma 00:03.0 {pasid} w 5123 777000 fff r"));
        story.line(&format!("dma 00:03.0 {pasid} w 5123 fault"));
        assert_eq!(figures(&story.audit()), [3, 0, 1, 0]);
    }
}

#[test]
fn a_lazy_guest_has_long_windows() {
    let mut story = Story::scalable();
    let (old, new) = ("dma 00:03.0 5 r 5123 777000 fff rw", "dma 00:03.0 5 r 5123 999000 fff rw");
    story.line(old);
    story.set(0x10_3028, 0x99_9067);
    for _ in 0..20 {
        story.line(old);
        // Another page of the same PASID is invalidated meanwhile.
        story.invalidate(&[pasid_iotlb_pages(7, 5, 0x6000, 0)]);
        story.line(new);
    }
    assert_eq!(figures(&story.audit()), [41, 20, 0, 0]);
    story.invalidate(&[pasid_iotlb(7, 5)]);
    story.line(new);
    assert_eq!(figures(&story.audit()), [42, 20, 0, 0]);
    story.line(old);
    assert_eq!(figures(&story.audit()), [43, 20, 1, 0]);
}

/// The guest asks, and before it is told that it is done the tables say again what they said.
#[test]
fn what_the_tables_say_again_is_right() {
    let request = "dma 00:03.0 5 r 5123 777000 fff rw";
    let mut story = Story::scalable();
    story.line(request);
    story.set(0x10_3028, 0);
    story.queue(pasid_iotlb(7, 5));
    let wait = story.queue_wait();
    story.ring();
    story.set(0x10_3028, 0x77_7067);
    story.line(request);
    story.set(0x10_3028, 0);
    story.status(wait);
    story.line(request);
    assert_eq!(figures(&story.audit()), [3, 1, 0, 0]);
    story.invalidate(&[pasid_iotlb(7, 5)]);
    story.line(request);
    assert_eq!(figures(&story.audit()), [4, 1, 1, 0]);
    story.set(0x10_3028, 0x77_7067);
    story.line(request);
    assert_eq!(figures(&story.audit()), [5, 1, 1, 0]);
}

#[test]
fn an_answer_that_the_tables_never_gave() {
    let mut story = Story::scalable();
    story.line("dma 00:03.0 5 r 5123 abc000 fff rw");
    let report = story.audit();
    assert_eq!(figures(&report), [1, 0, 1, 0]);
    assert_eq!((report.uses[0].valid_until, &report.uses[0].invalidation), (None, &None));
    assert_eq!(report.uses[0].tables, "777123 rw");
}

/// A guest that changes one page without end, and never has it invalidated.
#[test]
fn what_has_changed_too_often_is_not_judged() {
    let mut story = Story::scalable_with(CAP);
    for n in 0..40 {
        story.set(0x10_3028, 0x100_0067 + (n << 12));
        story.line(&format!("dma 00:03.0 5 r 5123 {:x} fff rw", 0x100_0000 + (n << 12)));
    }
    story.line("dma 00:03.0 5 r 5123 1000000 fff rw");
    assert_eq!(figures(&story.audit()), [40, 0, 0, 1]);
    story.invalidate(&[pasid_iotlb(7, 5)]);
    story.line("dma 00:03.0 5 r 5123 1001000 fff rw");
    assert_eq!(figures(&story.audit()), [41, 0, 1, 1]);
}
