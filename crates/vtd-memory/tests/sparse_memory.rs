//! What the unit may and may not do to sparse memory, as tables of raw integers.

#![cfg(feature = "std")]

use std::sync::Arc;
use std::thread;

use vtd_memory::{AccessError, AccessErrorKind, GuestMemory, SparseMemory};
use vtd_spec::Gpa;

/// Two pages, 1000 and 2000, with a gap behind and the last page of the address space.
fn three_pages() -> Result<SparseMemory, AccessError> {
    let memory = SparseMemory::new();
    for (gpa, value) in [
        (0x1000, 0x11),
        (0x1ff8, 0x1f),
        (0x2000, 0x22),
        (0x2ff8, 0x2f),
        (0xffff_ffff_ffff_fff8, 0xff),
    ] {
        memory.write_u64(Gpa(gpa), value)?;
    }
    Ok(memory)
}

#[test]
fn a_load_reads_its_qwords_or_says_why_not() {
    use AccessErrorKind::{Misaligned, NotBacked};
    let memory = three_pages().unwrap();
    let cases = [
        (0x1000, 1, Ok(&[0x11][..])),
        (0x1000, 2, Ok(&[0x11, 0])),
        // over the end of a page
        (0x1ff8, 1, Ok(&[0x1f])),
        (0x1ff8, 2, Ok(&[0x1f, 0x22])),
        (0x1ff0, 4, Ok(&[0, 0x1f, 0x22, 0])),
        // over the end of what is known
        (0x2ff8, 1, Ok(&[0x2f])),
        (0x2ff8, 2, Err(NotBacked)),
        (0x0ff8, 2, Err(NotBacked)),
        (0x3000, 1, Err(NotBacked)),
        (0, 1, Err(NotBacked)),
        // at the end of the address space
        (0xffff_ffff_ffff_fff8, 1, Ok(&[0xff])),
        (0xffff_ffff_ffff_fff0, 2, Ok(&[0, 0xff])),
        (0xffff_ffff_ffff_fff8, 2, Err(NotBacked)),
        (0xffff_ffff_ffff_ffff, 1, Err(Misaligned)),
        // misaligned, over memory and elsewhere
        (0x1001, 1, Err(Misaligned)),
        (0x1004, 1, Err(Misaligned)),
        (0x3004, 1, Err(Misaligned)),
        // nothing at all is asked for
        (0x3000, 0, Ok(&[])),
        (0xffff_ffff_ffff_fff8, 0, Ok(&[])),
        (0x3004, 0, Err(Misaligned)),
    ];
    for (gpa, count, expected) in cases {
        let mut out = vec![0xdead; count];
        let answer = memory.load_qwords(Gpa(gpa), &mut out);
        match expected {
            Ok(values) => {
                assert_eq!(answer, Ok(()), "{gpa:x}");
                assert_eq!(out, values, "{gpa:x}");
            }
            Err(kind) => {
                let error = answer.unwrap_err();
                assert_eq!((error.gpa, error.size, error.kind), (Gpa(gpa), count * 8, kind));
            }
        }
        if count == 1 {
            assert_eq!(memory.load_u64(Gpa(gpa)).ok(), expected.ok().map(|values| values[0]));
        }
    }
    assert_eq!(memory.unknown_reads(), 0);
}

#[test]
fn a_store_writes_all_or_nothing() {
    let memory = three_pages().unwrap();
    for (gpa, values, expected) in [
        (0x1ff8, &[1, 2][..], Ok(())),
        (0x2ff8, &[3, 4], Err(AccessError::not_backed(Gpa(0x2ff8), 16))),
        (0x3000, &[5], Err(AccessError::not_backed(Gpa(0x3000), 8))),
        (0x1004, &[6], Err(AccessError::misaligned(Gpa(0x1004), 8))),
        (
            0xffff_ffff_ffff_fff8,
            &[7, 8],
            Err(AccessError::not_backed(Gpa(0xffff_ffff_ffff_fff8), 16)),
        ),
        (0x3000, &[], Ok(())),
    ] {
        assert_eq!(memory.store_qwords_release(Gpa(gpa), values), expected, "{gpa:x}");
    }
    let mut now = [0; 2];
    memory.load_qwords(Gpa(0x1ff8), &mut now).unwrap();
    assert_eq!(now, [1, 2]);
    assert_eq!(memory.load_u64(Gpa(0x2ff8)), Ok(0x2f));
    assert_eq!(memory.load_u64(Gpa(0xffff_ffff_ffff_fff8)), Ok(0xff));
    assert!(!memory.contains_page(Gpa(0x3000)));
}

#[test]
fn a_wait_status_changes_four_bytes() {
    let memory = SparseMemory::new();
    memory.write_u64(Gpa(0x1000), 0x8877_6655_4433_2211).unwrap();
    for (gpa, value, expected, after) in [
        (0x1000, 0xaaaa_aaaa, Ok(()), 0x8877_6655_aaaa_aaaa_u64),
        (0x1004, 0xbbbb_bbbb, Ok(()), 0xbbbb_bbbb_aaaa_aaaa),
        (0x1002, 0, Err(AccessError::misaligned(Gpa(0x1002), 4)), 0xbbbb_bbbb_aaaa_aaaa),
        (0x2000, 0, Err(AccessError::not_backed(Gpa(0x2000), 4)), 0xbbbb_bbbb_aaaa_aaaa),
        (
            u64::MAX - 3,
            0,
            Err(AccessError::not_backed(Gpa(u64::MAX - 3), 4)),
            0xbbbb_bbbb_aaaa_aaaa,
        ),
        (u64::MAX, 0, Err(AccessError::misaligned(Gpa(u64::MAX), 4)), 0xbbbb_bbbb_aaaa_aaaa),
    ] {
        assert_eq!(memory.store_u32_release(Gpa(gpa), value), expected, "{gpa:x}");
        assert_eq!(memory.load_u64(Gpa(0x1000)), Ok(after), "{gpa:x}");
    }
}

#[test]
fn compare_exchange_writes_only_what_it_knows() {
    let memory = SparseMemory::new();
    memory.write_u64(Gpa(0x1008), 0x2001).unwrap();
    for (gpa, current, new, expected) in [
        (0x1008, 0x2001, 0x2021, Ok(Ok(0x2001))),
        (0x1008, 0x2001, 0x2061, Ok(Err(0x2021))),
        (0x1008, 0x2021, 0x2061, Ok(Ok(0x2021))),
        (0x1004, 0, 1, Err(AccessError::misaligned(Gpa(0x1004), 8))),
        (0x9000, 0, 1, Err(AccessError::not_backed(Gpa(0x9000), 8))),
    ] {
        assert_eq!(memory.compare_exchange_u64(Gpa(gpa), current, new), expected);
    }
    assert_eq!(memory.load_u64(Gpa(0x1008)), Ok(0x2061));
}

#[test]
fn bytes_are_little_endian_and_cross_qwords_and_pages() {
    let memory = SparseMemory::new();
    let bytes: Vec<u8> = (1..=20).collect();
    memory.write_bytes(Gpa(0x1ff5), &bytes).unwrap();
    for (gpa, value) in [
        (0x1ff0, 0x0302_0100_0000_0000),
        (0x1ff8, 0x0b0a_0908_0706_0504),
        (0x2000, 0x1312_1110_0f0e_0d0c),
        (0x2008, 0x0000_0000_0000_0014),
    ] {
        assert_eq!(memory.load_u64(Gpa(gpa)), Ok(value), "{gpa:x}");
    }
    let mut back = [0xee; 22];
    memory.read_bytes(Gpa(0x1ff4), &mut back).unwrap();
    assert_eq!((back[0], &back[1..21], back[21]), (0, &bytes[..], 0));

    // Up to the very last byte, and not past it.
    memory.write_bytes(Gpa(u64::MAX), &[0xab]).unwrap();
    assert_eq!(memory.load_u64(Gpa(u64::MAX - 7)), Ok(0xab00_0000_0000_0000));
    assert_eq!(
        memory.write_bytes(Gpa(u64::MAX), &[1, 2]),
        Err(AccessError::not_backed(Gpa(u64::MAX), 2))
    );
    assert_eq!(
        memory.read_bytes(Gpa(u64::MAX), &mut [0; 2]),
        Err(AccessError::not_backed(Gpa(u64::MAX), 2))
    );
    assert_eq!(
        memory.read_bytes(Gpa(0x2fff), &mut [0; 2]),
        Err(AccessError::not_backed(Gpa(0x2fff), 2))
    );
    assert_eq!(memory.load_u64(Gpa(u64::MAX - 7)), Ok(0xab00_0000_0000_0000));
}

#[test]
fn a_zeroed_page_is_known() {
    let memory = SparseMemory::new();
    memory.fill_zero_page(Gpa(0x1234));
    assert!(memory.contains_page(Gpa(0x1fff)) && !memory.contains_page(Gpa(0x2000)));
    assert_eq!(memory.load_u64(Gpa(0x1230)), Ok(0));
    memory.write_u64(Gpa(0x1230), 5).unwrap();
    memory.fill_zero_page(Gpa(0x1000));
    assert_eq!(memory.load_u64(Gpa(0x1230)), Ok(0));
    memory.fill_zero_page(Gpa(u64::MAX));
    assert_eq!(memory.load_u64(Gpa(u64::MAX - 7)), Ok(0));
}

#[test]
fn unknown_pages_read_as_zero_are_counted() {
    let memory = SparseMemory::zero_filled();
    memory.write_u64(Gpa(0x1ff8), 7).unwrap();
    assert_eq!((memory.unknown_reads(), memory.first_unknown_page()), (0, None));

    let mut out = [1; 2];
    memory.load_qwords(Gpa(0x1ff8), &mut out).unwrap();
    assert_eq!(out, [7, 0]);
    assert_eq!((memory.unknown_reads(), memory.first_unknown_page()), (1, Some(Gpa(0x2000))));

    // Two pages in one access, and reading makes no page.
    memory.load_qwords(Gpa(0x8ff8), &mut out).unwrap();
    assert_eq!(out, [0, 0]);
    assert_eq!((memory.unknown_reads(), memory.take_unknown()), (3, Some(Gpa(0x2000))));
    assert!(!memory.contains_page(Gpa(0x8000)));

    // Taken is taken; the count goes on.
    assert_eq!(memory.take_unknown(), None);
    assert_eq!(memory.load_u64(Gpa(0xffff_ffff_ffff_f000)), Ok(0));
    assert_eq!(
        (memory.unknown_reads(), memory.take_unknown()),
        (4, Some(Gpa(0xffff_ffff_ffff_f000)))
    );

    // The owner's own look is not the unit's.
    memory.read_bytes(Gpa(0x8ffc), &mut [1; 8]).unwrap();
    assert_eq!(memory.unknown_reads(), 4);
}

#[test]
fn the_unit_makes_a_zero_filled_page_by_writing_it() {
    let memory = SparseMemory::zero_filled();
    memory.store_u32_release(Gpa(0x1004), 0x1234_5678).unwrap();
    memory.store_qwords_release(Gpa(0x2ff8), &[1, 2]).unwrap();
    assert_eq!(memory.unknown_reads(), 0);
    // A compare-and-exchange reads too.
    assert_eq!(memory.compare_exchange_u64(Gpa(0x5000), 0, 9), Ok(Ok(0)));
    assert_eq!(memory.compare_exchange_u64(Gpa(0x6000), 1, 9), Ok(Err(0)));
    assert_eq!(memory.unknown_reads(), 2);
    for (gpa, value) in
        [(0x1000, 0x1234_5678_0000_0000), (0x2ff8, 1), (0x3000, 2), (0x5000, 9), (0x6000, 0)]
    {
        assert!(memory.contains_page(Gpa(gpa)));
        assert_eq!(memory.load_u64(Gpa(gpa)), Ok(value), "{gpa:x}");
    }
    assert_eq!(memory.unknown_reads(), 2);
}

#[test]
fn a_snapshot_serves_a_walk_while_pages_are_made() {
    let memory = SparseMemory::zero_filled();
    memory.write_u64(Gpa(0x1000), 1).unwrap();
    let mut walks = 0;
    memory.with_snapshot(&mut |guest| {
        walks += 1;
        // Pages made by the walk and by the owner meanwhile, without a deadlock.
        assert_eq!(guest.compare_exchange_u64(Gpa(0x2000), 0, 2), Ok(Ok(0)));
        memory.write_u64(Gpa(0x3000), 3).unwrap();
        memory.write_u64(Gpa(0x1000), 4).unwrap();
        guest.with_snapshot(&mut |inner| {
            for (gpa, value) in [(0x1000, 4), (0x2000, 2), (0x3000, 3)] {
                assert_eq!(inner.load_u64(Gpa(gpa)), Ok(value));
            }
        });
        memory.with_snapshot(&mut |other| assert_eq!(other.load_u64(Gpa(0x2000)), Ok(2)));
    });
    assert_eq!(walks, 1);
    assert_eq!(memory.load_u64(Gpa(0x2000)), Ok(2));
}

#[test]
fn concurrent_compare_exchanges_lose_no_bit() {
    const ROUNDS: u64 = 10_000;
    let memory = Arc::new(SparseMemory::zero_filled());
    let count = |memory: &dyn GuestMemory| {
        for _ in 0..ROUNDS {
            let mut seen = memory.load_u64(Gpa(0x7000)).unwrap();
            while let Err(now) = memory.compare_exchange_u64(Gpa(0x7000), seen, seen + 1).unwrap() {
                seen = now;
            }
        }
    };
    thread::scope(|scope| {
        scope.spawn(|| count(&memory));
        scope.spawn(|| memory.with_snapshot(&mut |guest| count(guest)));
        // Stores beside the counter do not disturb it.
        scope.spawn(|| (0..1000).for_each(|n| memory.store_u32_release(Gpa(0x7008), n).unwrap()));
        // Pages made by many threads at once are made once.
        for _ in 0..2 {
            scope.spawn(|| {
                for page in 0x100..0x140 {
                    let _ = memory.compare_exchange_u64(Gpa(page << 12), 0, page).unwrap();
                }
            });
        }
    });
    assert_eq!(memory.load_u64(Gpa(0x7000)), Ok(2 * ROUNDS));
    assert_eq!(memory.load_u64(Gpa(0x7008)), Ok(999));
    for page in 0x100..0x140 {
        assert_eq!(memory.load_u64(Gpa(page << 12)), Ok(page));
    }
}

#[test]
fn a_reference_and_an_arc_are_the_memory_itself() {
    fn through(memory: impl GuestMemory) {
        memory.store_qwords_release(Gpa(0x1000), &[1, 2]).unwrap();
        memory.store_u32_release(Gpa(0x1004), 3).unwrap();
        assert_eq!(memory.compare_exchange_u64(Gpa(0x1008), 2, 4), Ok(Ok(2)));
        let mut out = [0; 2];
        memory.with_snapshot(&mut |guest| guest.load_qwords(Gpa(0x1000), &mut out).unwrap());
        assert_eq!(out, [0x3_0000_0001, 4]);
        memory.load_qwords(Gpa(0x1000), &mut out).unwrap();
        assert_eq!((out[0], memory.load_u64(Gpa(0x1008))), (0x3_0000_0001, Ok(4)));
    }
    let memory = Arc::new(SparseMemory::zero_filled());
    through(&*memory);
    through(Arc::clone(&memory));
    let object: Arc<dyn GuestMemory> = memory;
    through(&*object);
    through(object);
}

#[test]
fn errors_say_where_and_why() {
    for (error, text) in [
        (
            AccessError::not_backed(Gpa(0x1000), 64),
            "64 bytes of guest memory at 0x1000: not backed by memory",
        ),
        (AccessError::misaligned(Gpa(0x1004), 8), "8 bytes of guest memory at 0x1004: misaligned"),
    ] {
        assert_eq!(error.to_string(), text);
    }
    let text = format!("{:?}", SparseMemory::default());
    assert_eq!(text, "SparseMemory { pages: 0, zero_filled: false, unknown_reads: 0 }");
}
