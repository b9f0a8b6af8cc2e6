//! PASID-table entries and what leads to them: types 1 and 7.

use crate::story::{
    IOTLB, PASID_CACHE, Story, context_cache, figures, iotlb_domain, is_found, pasid_cache,
    pasid_cache_domain, pasid_iotlb,
};

const REQUEST: &str = "dma 00:03.0 5 r 5123 777000 fff rw";

fn found(change: impl FnOnce(&mut Story), invalidation: &[[u64; 2]]) -> bool {
    is_found(Story::scalable(), REQUEST, change, invalidation)
}

#[test]
fn an_entry_that_goes() {
    // P alone, and everything.
    for low in [0x40, 0] {
        let goes = |story: &mut Story| story.pasid(5, [low, 7, 0x10_0000]);
        for (invalidation, covers) in [
            (pasid_cache(7, 5), true),
            (pasid_cache(7, 6), false),
            // The domain is the one that the unit holds.
            (pasid_cache(8, 5), false),
            (pasid_cache_domain(7), true),
            (pasid_cache_domain(8), false),
            (PASID_CACHE, true),
            // Linux tells of nothing else where it takes a device away.
            (context_cache(0, 0), true),
            ([0x11, 0], true),
            // A context entry of scalable mode has no domain.
            ([0x21 | 7 << 16, 0], false),
            // While the entry may be held, so may what is behind it.
            (pasid_iotlb(7, 5), false),
            (IOTLB, false),
        ] {
            assert_eq!(found(goes, &[invalidation]), covers, "{invalidation:x?}");
        }
    }
}

#[test]
fn an_entry_that_names_another_table() {
    let other = |story: &mut Story| story.first_stage(0x11_0000);
    let moved = |domain| {
        move |story: &mut Story| {
            other(story);
            story.set(0x11_3028, 0x99_9067);
            story.pasid(5, [0x41, domain, 0x11_0000]);
        }
    };
    // Under another domain nothing leads to what is held any more.
    assert!(found(moved(8), &[pasid_cache(7, 5)]));
    // Under the same the translations themselves have to go.
    assert!(!found(moved(7), &[pasid_cache(7, 5)]));
    assert!(found(moved(7), &[pasid_cache(7, 5), pasid_iotlb(7, 5)]));
    assert!(found(moved(7), &[pasid_cache(7, 5), iotlb_domain(7)]));
    // It is what is asked for together that counts, in any order.
    assert!(found(moved(7), &[pasid_iotlb(7, 5), pasid_cache(7, 5)]));
    assert!(!found(moved(7), &[pasid_iotlb(7, 5)]));
}

#[test]
fn an_entry_in_place_by_another_kind() {
    for words in [[0x20_0089, 8, 0], [0x101, 8, 0], [0x40_00c9, 8, 0x30_0000], [0x41, 8, 0x11_0000]]
    {
        let change = |story: &mut Story| {
            story.set_all(&[(0x20_3028, 0x99_9003), (0x30_3028, 0x99_9067)]);
            story.pasid(5, words);
        };
        assert!(found(change, &[pasid_cache(7, 5)]), "{words:x?}");
        assert!(!found(change, &[pasid_cache(8, 5)]), "{words:x?}");
    }
    let passed = "dma 00:03.0 9 r 5123 5000 fff rw";
    for words in [[0x41, 0xa, 0x10_0000], [0, 0, 0]] {
        let change = |story: &mut Story| story.pasid(9, words);
        let found = |invalidation| is_found(Story::scalable(), passed, change, &[invalidation]);
        assert!(found(pasid_cache(0xa, 9)));
        assert!(found(context_cache(0, 0)));
        assert!(!found(pasid_cache(0xa, 5)));
        assert!(!found(pasid_iotlb(0xa, 9)), "what passes through is in the entry alone");
    }
}

#[test]
fn what_leads_to_the_entry() {
    // A directory, a PASID table and a context table beside those of the story, with PASID 5 in another domain.
    let others = |story: &mut Story| {
        story.set_all(&[
            (0x1_2000, 0x1_3001),
            (0x1_3140, 0x41),
            (0x1_3148, 0xb),
            (0x1_3150, 0x11_0000),
            (0x3300, 0x1_200d),
        ]);
        story.first_stage(0x11_0000);
        story.set(0x11_3028, 0x99_9067);
    };
    for (place, value) in [
        (0x1000, 0x3001),
        (0x1000, 0),
        (0x2300, 0x1_200d),
        (0x2300, 0),
        // PASIDE is gone.
        (0x2300, 0x1_0005),
        (0x1_0000, 0x1_3001),
        (0x1_0000, 0),
    ] {
        let change = |story: &mut Story| {
            others(story);
            story.set(place, value);
        };
        for (invalidation, covers) in [
            (context_cache(0, 0), true),
            (context_cache(9, 0), true),
            (context_cache(0, 3), true),
            // Of function 4, as it is, and with the mask that leaves out bit 2.
            ([0x31 | 0x1c << 32, 0], false),
            ([0x31 | 0x1c << 32 | 1 << 48, 0], true),
            ([0x31 | 0x20 << 32 | 3 << 48, 0], false),
            ([0x11, 0], true),
            (pasid_iotlb(7, 5), false),
        ] {
            assert_eq!(found(change, &[invalidation]), covers, "{place:x} {invalidation:x?}");
        }
        // Of the directory entry a unit holds nothing but what is behind it.
        assert_eq!(found(change, &[PASID_CACHE]), place == 0x1_0000, "{place:x}");
    }
}

#[test]
fn requests_without_pasid() {
    let request = "dma 00:03.0 - r 5123 777000 fff rw";
    let goes = |story: &mut Story| story.pasid(0, [0x40, 7, 0x10_0000]);
    for (invalidation, covers) in
        [(pasid_cache(7, 0), true), (pasid_cache(7, 5), false), (PASID_CACHE, true)]
    {
        assert_eq!(is_found(Story::scalable(), request, goes, &[invalidation]), covers);
    }
    // RID_PASID is 6 from here on, which leads to the same place by other tables.
    let moved = |story: &mut Story| {
        story.set(0x20_3028, 0x99_9003);
        story.set(0x2308, 6);
    };
    assert!(is_found(Story::scalable(), request, moved, &[context_cache(0, 0)]));
    assert!(!is_found(Story::scalable(), request, moved, &[PASID_CACHE]));
}

/// The unit still holds the entry, and walks the tables that it names: whatever they say is right.
#[test]
fn a_walk_through_an_entry_that_is_held() {
    let mut story = Story::scalable();
    story.line(REQUEST);
    story.first_stage(0x11_0000);
    story.pasid(5, [0x41, 7, 0x11_0000]);
    // A page that nobody asked for before, and that the new table has elsewhere.
    story.set(0x11_3030, 0x99_9067);
    story.line("dma 00:03.0 5 r 6123 778000 fff rw");
    assert_eq!(figures(&story.audit()), [2, 1, 0, 0]);
    story.invalidate(&[pasid_cache(7, 5), pasid_iotlb(7, 5)]);
    story.line("dma 00:03.0 5 r 6123 778000 fff rw");
    assert_eq!(figures(&story.audit()), [3, 1, 1, 0]);
}

/// What a request has brought by way of a context entry that goes, goes with it; what it brings by way of a PASID-table entry that
/// stays need not.
#[test]
fn what_is_read_between_asking_and_done() {
    let mut story = Story::scalable();
    story.line(REQUEST);
    story.first_stage(0x11_0000);
    story.set_all(&[(0x1_2000, 0x1_3001), (0x1_3140, 0x41), (0x1_3148, 7), (0x1_3150, 0x11_0000)]);
    story.set_all(&[(0x11_3028, 0x99_9067), (0x2300, 0x1_200d)]);
    story.queue(context_cache(0, 0));
    story.queue(pasid_iotlb(7, 5));
    let wait = story.queue_wait();
    story.ring();
    story.line(REQUEST);
    story.status(wait);
    // The translation was walked for after the guest had asked, by way of an entry that was held then, and has a domain that
    // still leads to it.
    story.line(REQUEST);
    assert_eq!(figures(&story.audit()), [3, 2, 0, 0]);
    story.set(0x1_3148, 8);
    story.invalidate(&[pasid_cache(7, 5)]);
    story.line(REQUEST);
    assert_eq!(figures(&story.audit()), [4, 2, 1, 0]);
}

#[test]
fn other_devices_and_their_pasids() {
    let mut story = Story::scalable();
    // 00:04.0 has the same directory.
    story.set(0x2400, 0x1_000d);
    let requests = [REQUEST, "dma 00:04.0 5 r 5123 777000 fff rw"];
    for request in requests {
        story.line(request);
    }
    story.pasid(5, [0, 0, 0]);
    story.invalidate(&[context_cache(0, 0)]);
    story.line(requests[1]);
    assert_eq!(figures(&story.audit()), [3, 1, 0, 0]);
    story.line(requests[0]);
    assert_eq!(figures(&story.audit()), [4, 1, 1, 0]);
    // A PASID-cache invalidation names no device.
    story.invalidate(&[pasid_cache(7, 5)]);
    story.line(requests[1]);
    assert_eq!(figures(&story.audit()), [5, 1, 2, 0]);
}

#[test]
fn requests_of_a_host_backed_device_are_the_hosts() {
    let mut story = Story::scalable();
    story.line("assign 00:03.0");
    story.line(REQUEST);
    story.line("dma 00:03.0 5 r 5123 abc000 fff rw");
    story.line("renumber 00:03.0 00:05.0");
    story.line("dma 00:05.0 5 r 5123 abc000 fff rw");
    assert_eq!(figures(&story.audit()), [0, 0, 0, 3]);
    story.line("release 00:05.0");
    story.line("dma 00:05.0 5 r 5123 abc000 fff rw");
    assert_eq!(figures(&story.audit()), [1, 0, 1, 3]);
}
