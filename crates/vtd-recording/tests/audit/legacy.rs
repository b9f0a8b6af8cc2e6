//! Legacy mode: types 1 and 2, and the registers that do the same.

use crate::story::{IOTLB, Story, context_cache, figures, iotlb_domain, iotlb_pages, is_found};

const REQUEST: &str = "dma 00:03.0 - r 5123 777000 fff rw";

fn found(change: (u64, u64), invalidation: &[[u64; 2]]) -> bool {
    let change = |story: &mut Story| {
        story.second_stage(0x21_0000);
        story.set(0x21_3028, 0x99_9003);
        story.set(change.0, change.1);
    };
    is_found(Story::legacy(), REQUEST, change, invalidation)
}

#[test]
fn pages() {
    for change in [
        (0x20_0000, 0x21_1003),
        (0x20_1000, 0x21_2003),
        (0x20_2000, 0x21_3003),
        (0x20_3028, 0x99_9003),
        (0x20_0000, 0),
        (0x20_3028, 0),
        (0x20_3028, 0x77_7002),
    ] {
        for (invalidation, covers) in [
            (iotlb_pages(8, 0x5000, 0), true),
            (iotlb_pages(8, 0x4000, 0), false),
            (iotlb_pages(8, 0x7000, 3), true),
            (iotlb_pages(9, 0x5000, 0), false),
            (iotlb_domain(8), true),
            (iotlb_domain(9), false),
            (IOTLB, true),
            (context_cache(8, 0), false),
            ([0x11, 0], false),
        ] {
            assert_eq!(found(change, &[invalidation]), covers, "{change:x?} {invalidation:x?}");
        }
    }
}

#[test]
fn context_entries() {
    // The entry, the root entry above it, and another table under another domain.
    for change in [(0x2180, 0), (0x1000, 0), (0x2188, 0xb01), (0x2188, 0x801)] {
        for (invalidation, covers) in [
            (context_cache(8, 0), true),
            (context_cache(8, 3), true),
            (context_cache(9, 0), false),
            ([0x31 | 8 << 16 | 0x20 << 32, 0], false),
            ([0x31 | 8 << 16 | 0x19 << 32 | 3 << 48, 0], true),
            ([0x21 | 8 << 16, 0], true),
            ([0x21 | 9 << 16, 0], false),
            ([0x11, 0], true),
            (IOTLB, false),
        ] {
            // Of another width, the table leads elsewhere; what is held under the domain stays.
            let stays = change == (0x2188, 0x801);
            let invalidations: &[_] = if stays { &[invalidation, IOTLB] } else { &[invalidation] };
            assert_eq!(found(change, invalidations), covers, "{change:x?} {invalidation:x?}");
        }
    }
    // Another table under the same domain.
    assert!(!found((0x2180, 0x21_0001), &[context_cache(8, 0)]));
    assert!(found((0x2180, 0x21_0001), &[context_cache(8, 0), iotlb_domain(8)]));
    assert!(!found((0x2180, 0x21_0001), &[iotlb_domain(8)]));
}

/// What the guest does by registers: what it writes, and what it reads then. Whether a stale answer is found after that.
fn found_by_registers(change: (u64, u64), steps: &[(&str, u64, u8, u64)]) -> bool {
    let mut story = Story::legacy();
    story.line(REQUEST);
    story.set(change.0, change.1);
    for (what, offset, size, value) in steps {
        match *what {
            "write" => story.write(*offset, *size, *value),
            _ => story.read(*offset, *size, *value),
        };
        if *what == "write" {
            story.line(REQUEST);
        }
    }
    let report = story.audit();
    assert_eq!(report.violations, 0, "the guest was told nothing yet: {report:#?}");
    story.line(REQUEST);
    story.audit().violations == 1
}

#[test]
fn registers() {
    let leaf = (0x20_3028, 0);
    let context = (0x2180, 0);
    // IVA lies at f0, IOTLB at f8: ECAP.IRO.
    for (change, covers, steps) in [
        (
            leaf,
            true,
            &[("write", 0xf8, 8, 0x9000_0000_0000_0000), ("read", 0xf8, 8, 0x1200_0000_0000_0000)]
                [..],
        ),
        (
            leaf,
            true,
            &[("write", 0xf8, 8, 0xa000_0008_0000_0000), ("read", 0xf8, 8, 0x2400_0008_0000_0000)],
        ),
        (
            leaf,
            false,
            &[("write", 0xf8, 8, 0xa000_0009_0000_0000), ("read", 0xf8, 8, 0x2400_0009_0000_0000)],
        ),
        (
            leaf,
            true,
            &[
                ("write", 0xf0, 8, 0x5000),
                ("write", 0xf8, 8, 0xb000_0008_0000_0000),
                ("read", 0xfc, 4, 0x3600_0008),
            ],
        ),
        (
            leaf,
            false,
            &[
                ("write", 0xf0, 8, 0x6000),
                ("write", 0xf8, 8, 0xb000_0008_0000_0000),
                ("read", 0xfc, 4, 0x3600_0008),
            ],
        ),
        // IVA in two halves, and IOTLB by its upper half.
        (
            leaf,
            true,
            &[
                ("write", 0xf4, 4, 0),
                ("write", 0xf0, 4, 0x4001),
                ("write", 0xfc, 4, 0xb000_0008),
                ("read", 0xfc, 4, 0x3600_0008),
            ],
        ),
        // Not yet done; not carried out; never read.
        (
            leaf,
            false,
            &[("write", 0xf8, 8, 0x9000_0000_0000_0000), ("read", 0xf8, 8, 0x9000_0000_0000_0000)],
        ),
        (
            leaf,
            false,
            &[("write", 0xf8, 8, 0x9000_0000_0000_0000), ("read", 0xf8, 8, 0x1000_0000_0000_0000)],
        ),
        (leaf, false, &[("write", 0xf8, 8, 0x9000_0000_0000_0000)]),
        (leaf, false, &[("read", 0xf8, 8, 0x1200_0000_0000_0000)]),
        // A context entry.
        (
            context,
            true,
            &[("write", 0x28, 8, 0xa000_0000_0000_0000), ("read", 0x28, 8, 0x2800_0000_0000_0000)],
        ),
        (
            context,
            true,
            &[("write", 0x28, 8, 0xc000_0000_0000_0008), ("read", 0x2c, 4, 0x5000_0000)],
        ),
        (
            context,
            false,
            &[("write", 0x28, 8, 0xc000_0000_0000_0009), ("read", 0x2c, 4, 0x5000_0000)],
        ),
        (
            context,
            true,
            &[("write", 0x28, 8, 0xe000_0000_0018_0008), ("read", 0x2c, 4, 0x7800_0000)],
        ),
        (
            context,
            false,
            &[("write", 0x28, 8, 0xe000_0000_0019_0008), ("read", 0x2c, 4, 0x7800_0000)],
        ),
        (
            context,
            true,
            &[("write", 0x28, 8, 0xe000_0003_0019_0008), ("read", 0x2c, 4, 0x7800_0003)],
        ),
        (
            context,
            true,
            &[
                ("write", 0x28, 4, 0x18_0008),
                ("write", 0x2c, 4, 0xe000_0000),
                ("read", 0x2c, 4, 0x7800_0000),
            ],
        ),
        (
            context,
            false,
            &[("write", 0x28, 8, 0xa000_0000_0000_0000), ("read", 0x28, 8, 0xa000_0000_0000_0000)],
        ),
        (
            context,
            false,
            &[("write", 0x28, 8, 0xa000_0000_0000_0000), ("read", 0x28, 8, 0x2000_0000_0000_0000)],
        ),
        (context, false, &[("write", 0x28, 8, 0xa000_0000_0000_0000), ("read", 0x28, 4, 0)]),
        // Each for the other.
        (
            leaf,
            false,
            &[("write", 0x28, 8, 0xa000_0000_0000_0000), ("read", 0x28, 8, 0x2800_0000_0000_0000)],
        ),
        (
            context,
            false,
            &[("write", 0xf8, 8, 0x9000_0000_0000_0000), ("read", 0xf8, 8, 0x1200_0000_0000_0000)],
        ),
    ] {
        assert_eq!(found_by_registers(change, steps), covers, "{change:x?} {steps:x?}");
    }
}

#[test]
fn devices_of_one_table() {
    let mut story = Story::legacy();
    let other = "dma 00:03.1 - r 5123 777000 fff rw";
    story.line(REQUEST);
    story.line(other);
    story.set(0x20_3028, 0);
    story.invalidate(&[iotlb_pages(8, 0x5000, 0)]);
    story.line(other);
    assert_eq!(figures(&story.audit()), [3, 1, 0, 0], "it has a domain of its own");
    story.line(REQUEST);
    assert_eq!(figures(&story.audit()), [4, 1, 1, 0]);
}

#[test]
fn what_passes_through() {
    let mut story = Story::legacy();
    // TT 2, 48 bits.
    story.set_all(&[(0x2180, 0x9), (0x2188, 0x802)]);
    let request = "dma 00:03.0 - w 5123 5000 fff rw";
    let change = |story: &mut Story| story.set(0x2180, 0);
    assert!(is_found(story.clone(), request, change, &[context_cache(8, 0)]));
    assert!(!is_found(story, request, change, &[IOTLB]));
}
