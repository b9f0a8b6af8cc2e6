//! What the unit may and may not do to rust-vmm's memory, as tables of raw integers.

use std::error::Error;
use std::sync::{Arc, mpsc};
use std::thread;

use vm_memory::bitmap::{AtomicBitmap, Bitmap};
use vm_memory::{
    Bytes, GuestAddress, GuestAddressSpace, GuestMemoryAtomic, GuestMemoryBackend, GuestMemoryMmap,
    GuestMemoryRegion,
};
use vtd_memory::{AccessError, AccessErrorKind, GuestMemory, SparseMemory};
use vtd_spec::Gpa;
use vtd_vm_memory::VmMemory;

type Mmap = GuestMemoryMmap<()>;

/// A map of regions (first address, length).
fn map_of(regions: &[(u64, usize)]) -> Result<Mmap, Box<dyn Error>> {
    let regions: Vec<_> =
        regions.iter().map(|(gpa, length)| (GuestAddress(*gpa), *length)).collect();
    Ok(Mmap::from_ranges(&regions)?)
}

/// Two regions, 1000 and 2000, with a gap behind; two whose border lies within a qword; and one as far up as there can be one.
fn five_regions() -> Result<Mmap, Box<dyn Error>> {
    let map = map_of(&[
        (0x1000, 0x1000),
        (0x2000, 0x1000),
        (0x8000, 0x14),
        (0x8014, 0xfec),
        (0xffff_ffff_ffff_e000, 0x1000),
    ])?;
    for (gpa, value) in [
        (0x1000, 0x11_u64),
        (0x1ff8, 0x1f),
        (0x2000, 0x22),
        (0x2ff8, 0x2f),
        (0x8008, 0x88),
        (0xffff_ffff_ffff_eff8, 0xff),
    ] {
        map.write_slice(&value.to_le_bytes(), GuestAddress(gpa))?;
    }
    Ok(map)
}

#[test]
fn a_load_reads_its_qwords_or_says_why_not() {
    use AccessErrorKind::{Misaligned, NotBacked};
    let memory = VmMemory::new(Arc::new(five_regions().unwrap()));
    let cases = [
        (0x1000, 1, Ok(&[0x11][..])),
        (0x1000, 2, Ok(&[0x11, 0])),
        // over the border of two regions: an entry of 16, of 32 and of 64 bytes
        (0x1ff8, 1, Ok(&[0x1f])),
        (0x1ff8, 2, Ok(&[0x1f, 0x22])),
        (0x1ff0, 4, Ok(&[0, 0x1f, 0x22, 0])),
        (0x1fe8, 8, Ok(&[0, 0, 0x1f, 0x22, 0, 0, 0, 0])),
        // over the end of what there is
        (0x2ff8, 1, Ok(&[0x2f])),
        (0x2ff8, 2, Err(NotBacked)),
        (0x2fc8, 8, Err(NotBacked)),
        (0x0ff8, 2, Err(NotBacked)),
        (0x3000, 1, Err(NotBacked)),
        (0, 1, Err(NotBacked)),
        // over the hole
        (0x2ff8, 0xa02, Err(NotBacked)),
        // a qword that lies in two regions, and those behind it, whose host address is misaligned
        (0x8008, 1, Ok(&[0x88])),
        (0x8008, 2, Err(NotBacked)),
        (0x8010, 1, Err(NotBacked)),
        (0x8018, 1, Err(NotBacked)),
        // at the end of the address space
        (0xffff_ffff_ffff_eff8, 1, Ok(&[0xff])),
        (0xffff_ffff_ffff_eff8, 2, Err(NotBacked)),
        (0xffff_ffff_ffff_fff8, 1, Err(NotBacked)),
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
}

#[test]
fn an_address_that_wraps_does_not_go_on_at_zero() {
    // The last region that a map can have ends one byte short of the address space.
    let memory =
        VmMemory::new(Arc::new(map_of(&[(0, 0x1000), (0xffff_ffff_ffff_f000, 0xfff)]).unwrap()));
    assert_eq!(memory.load_u64(Gpa(0xffff_ffff_ffff_fff0)), Ok(0));
    for (gpa, count) in [(0xffff_ffff_ffff_fff8, 1), (0xffff_ffff_ffff_fff8, 2)] {
        let refused = AccessError::not_backed(Gpa(gpa), count * 8);
        assert_eq!(memory.load_qwords(Gpa(gpa), &mut vec![0; count]), Err(refused));
        assert_eq!(memory.store_qwords_release(Gpa(gpa), &vec![1; count]), Err(refused));
    }
    assert_eq!(memory.load_u64(Gpa(0)), Ok(0));
}

#[test]
fn a_store_writes_all_or_nothing() {
    let memory = VmMemory::new(Arc::new(five_regions().unwrap()));
    for (gpa, values, expected) in [
        (0x1ff8, &[1, 2][..], Ok(())),
        (0x2ff8, &[3, 4], Err(AccessError::not_backed(Gpa(0x2ff8), 16))),
        (0x3000, &[5], Err(AccessError::not_backed(Gpa(0x3000), 8))),
        (0x1004, &[6], Err(AccessError::misaligned(Gpa(0x1004), 8))),
        (0x8008, &[7, 8, 9], Err(AccessError::not_backed(Gpa(0x8008), 24))),
        (
            0xffff_ffff_ffff_eff8,
            &[7, 8],
            Err(AccessError::not_backed(Gpa(0xffff_ffff_ffff_eff8), 16)),
        ),
        (0x3000, &[], Ok(())),
    ] {
        assert_eq!(memory.store_qwords_release(Gpa(gpa), values), expected, "{gpa:x}");
    }
    for (gpa, value) in
        [(0x1ff8, 1), (0x2000, 2), (0x2ff8, 0x2f), (0x8008, 0x88), (0xffff_ffff_ffff_eff8, 0xff)]
    {
        assert_eq!(memory.load_u64(Gpa(gpa)), Ok(value), "{gpa:x}");
    }
}

#[test]
fn a_wait_status_changes_four_bytes() {
    let map = Arc::new(five_regions().unwrap());
    let memory = VmMemory::new(Arc::clone(&map));
    memory.store_qwords_release(Gpa(0x1000), &[0x8877_6655_4433_2211]).unwrap();
    for (gpa, value, expected, after) in [
        (0x1000, 0xaaaa_aaaa, Ok(()), 0x8877_6655_aaaa_aaaa_u64),
        (0x1004, 0xbbbb_bbbb, Ok(()), 0xbbbb_bbbb_aaaa_aaaa),
        (0x1002, 0, Err(AccessError::misaligned(Gpa(0x1002), 4)), 0xbbbb_bbbb_aaaa_aaaa),
        (0x3000, 0, Err(AccessError::not_backed(Gpa(0x3000), 4)), 0xbbbb_bbbb_aaaa_aaaa),
        (0x8010, 0, Err(AccessError::not_backed(Gpa(0x8010), 4)), 0xbbbb_bbbb_aaaa_aaaa),
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
    // As bytes they are little-endian.
    let mut bytes = [0; 8];
    map.read_slice(&mut bytes, GuestAddress(0x1000)).unwrap();
    assert_eq!(bytes, [0xaa, 0xaa, 0xaa, 0xaa, 0xbb, 0xbb, 0xbb, 0xbb]);
    memory.store_u32_release(Gpa(0x1004), 0x0403_0201).unwrap();
    map.read_slice(&mut bytes, GuestAddress(0x1000)).unwrap();
    assert_eq!(bytes, [0xaa, 0xaa, 0xaa, 0xaa, 1, 2, 3, 4]);
}

#[test]
fn compare_exchange_writes_only_what_it_knows() {
    let memory = VmMemory::new(Arc::new(five_regions().unwrap()));
    memory.store_qwords_release(Gpa(0x1008), &[0x2001]).unwrap();
    for (gpa, current, new, expected) in [
        (0x1008, 0x2001, 0x2021, Ok(Ok(0x2001))),
        (0x1008, 0x2001, 0x2061, Ok(Err(0x2021))),
        (0x1008, 0x2021, 0x2061, Ok(Ok(0x2021))),
        (0x1004, 0, 1, Err(AccessError::misaligned(Gpa(0x1004), 8))),
        (0x3000, 0, 1, Err(AccessError::not_backed(Gpa(0x3000), 8))),
        (0x8010, 0, 1, Err(AccessError::not_backed(Gpa(0x8010), 8))),
        (u64::MAX - 7, 0, 1, Err(AccessError::not_backed(Gpa(u64::MAX - 7), 8))),
    ] {
        assert_eq!(memory.compare_exchange_u64(Gpa(gpa), current, new), expected);
    }
    assert_eq!(memory.load_u64(Gpa(0x1008)), Ok(0x2061));
}

#[test]
fn what_is_written_is_marked_dirty() {
    // Looked at in steps of 64 KiB, the largest page of a host.
    let regions = [(GuestAddress(0x10_0000), 0x4_0000)];
    let map = Arc::new(GuestMemoryMmap::<AtomicBitmap>::from_ranges(&regions).unwrap());
    let memory = VmMemory::new(Arc::clone(&map));
    let dirty = || {
        let bitmap = map.iter().next().unwrap().bitmap();
        let found = [0, 0x1_0000, 0x2_0000, 0x3_0000]
            .map(|from| (from..from + 0x1_0000).any(|at| bitmap.dirty_at(at)));
        map.iter().for_each(|region| (**region).bitmap().reset());
        found
    };

    let mut out = [0; 0x800];
    memory.load_qwords(Gpa(0x10_0000), &mut out).unwrap();
    assert_eq!(memory.compare_exchange_u64(Gpa(0x10_0000), 1, 2), Ok(Err(0)));
    memory.store_qwords_release(Gpa(0x13_fff8), &[1, 2]).unwrap_err();
    assert_eq!(dirty(), [false; 4]);

    assert_eq!(memory.compare_exchange_u64(Gpa(0x11_fff8), 0, 2), Ok(Ok(0)));
    assert_eq!(dirty(), [false, true, false, false]);
    memory.store_u32_release(Gpa(0x13_fffc), 2).unwrap();
    assert_eq!(dirty(), [false, false, false, true]);
    memory.store_qwords_release(Gpa(0x10_fff8), &[1, 2]).unwrap();
    assert_eq!(dirty(), [true, true, false, false]);
}

#[test]
fn a_walk_ends_in_the_map_in_which_it_began() {
    let space = GuestMemoryAtomic::new(map_of(&[(0, 0x2000), (0x8000, 0x1000)]).unwrap());
    let memory = VmMemory::new(space.clone());
    memory.store_qwords_release(Gpa(0x1000), &[0x8001]).unwrap();
    memory.store_qwords_release(Gpa(0x8000), &[7]).unwrap();
    let before = Arc::downgrade(&space.memory().into_inner());

    let (begun, wait_for_begin) = mpsc::channel();
    let (swapped, wait_for_swap) = mpsc::channel();
    thread::scope(|scope| {
        let space = &space;
        scope.spawn(move || {
            wait_for_begin.recv().unwrap();
            // Other memory at the same address, and none where the walk goes on.
            space.lock().unwrap().replace(map_of(&[(0, 0x2000), (0x4000, 0x1000)]).unwrap());
            swapped.send(()).unwrap();
        });
        let mut walks = 0;
        memory.with_snapshot(&mut |walk| {
            walks += 1;
            assert_eq!(walk.load_u64(Gpa(0x1000)), Ok(0x8001));
            begun.send(()).unwrap();
            wait_for_swap.recv().unwrap();
            // Everybody else is in the new map by now.
            assert_eq!(memory.load_u64(Gpa(0x1000)), Ok(0));
            assert_eq!(memory.load_u64(Gpa(0x4000)), Ok(0));
            // The walk is not, nor is a walk within it.
            assert_eq!(walk.compare_exchange_u64(Gpa(0x8000), 7, 0x27), Ok(Ok(7)));
            walk.with_snapshot(&mut |inner| {
                assert_eq!(inner.load_u64(Gpa(0x8000)), Ok(0x27));
                assert_eq!(inner.load_u64(Gpa(0x1000)), Ok(0x8001));
                assert!(inner.load_u64(Gpa(0x4000)).is_err());
            });
            memory.with_snapshot(&mut |other| assert!(other.load_u64(Gpa(0x8000)).is_err()));
        });
        assert_eq!(walks, 1);
    });
    // What it wrote is not in the new map, and nothing keeps the old one.
    assert_eq!(memory.load_u64(Gpa(0x8000)), Err(AccessError::not_backed(Gpa(0x8000), 8)));
    assert!(before.upgrade().is_none());
}

#[test]
fn concurrent_compare_exchanges_lose_no_bit() {
    const ROUNDS: u64 = 10_000;
    let memory = VmMemory::new(GuestMemoryAtomic::new(map_of(&[(0x7000, 0x1000)]).unwrap()));
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
        // Two halves of one qword, written by two threads.
        for half in [0x7008, 0x700c] {
            let memory = &memory;
            scope.spawn(move || {
                (1..=1000).for_each(|n| memory.store_u32_release(Gpa(half), n).unwrap());
            });
        }
    });
    assert_eq!(memory.load_u64(Gpa(0x7000)), Ok(2 * ROUNDS));
    assert_eq!(memory.load_u64(Gpa(0x7008)), Ok(1000 << 32 | 1000));
}

/// Numbers that look random and are the same each time.
struct Numbers(u64);

impl Numbers {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn below(&mut self, end: u64) -> u64 {
        self.next() % end
    }
}

/// The same accesses, to the same pages of sparse memory, have the same answers.
#[test]
fn every_access_is_answered_as_by_sparse_memory() {
    let regions = [
        (0, 0x1000),
        (0x1000, 0x2000),
        (0x3000, 0x1000),
        (0x8000, 0x1000),
        (0x1_0000_0000, 0x2000),
        (0xffff_ffff_ffff_d000, 0x2000),
    ];
    let borders = [
        0,
        0x1000,
        0x3000,
        0x4000,
        0x8000,
        0x9000,
        0x1_0000_0000,
        0x1_0000_2000,
        0xffff_ffff_ffff_d000,
        0xffff_ffff_ffff_f000,
    ];
    let memory = VmMemory::new(GuestMemoryAtomic::new(map_of(&regions).unwrap()));
    let sparse = SparseMemory::new();
    for (gpa, length) in regions {
        for page in (gpa..).step_by(0x1000).take(length / 0x1000) {
            sparse.fill_zero_page(Gpa(page));
        }
    }

    let mut numbers = Numbers(0x5eed_0123_4567_89ab);
    let mut answers = [0_u32; 3];
    for round in 0..200_000_u32 {
        let border = borders[usize::try_from(numbers.below(10)).unwrap()];
        let mut gpa = Gpa(u64::wrapping_add(border, numbers.below(0x60)).wrapping_sub(0x30));
        if numbers.below(8) != 0 {
            gpa.0 &= !3 & !(numbers.next() & 4);
        }
        let count = usize::try_from(numbers.below(10)).unwrap();
        let (value, choice) = (numbers.next(), numbers.below(5));
        let act = |memory: &dyn GuestMemory| {
            let mut values = vec![value; count];
            let answer = match choice {
                0 => memory.load_u64(gpa).map(|value| values.push(value)),
                1 => memory.load_qwords(gpa, &mut values),
                2 => {
                    // It succeeds where nothing was written yet, and now and then elsewhere.
                    let current = memory.load_u64(gpa).unwrap_or(0) & !(value & 1);
                    memory.compare_exchange_u64(gpa, current, value).map(|found| {
                        values.push(found.unwrap_or_else(|found| !found));
                    })
                }
                3 => memory.store_u32_release(gpa, round),
                _ => memory.store_qwords_release(gpa, &values),
            };
            // After an error what was to be read means nothing.
            answer.map(|()| values)
        };
        let (found, expected) = (act(&memory), act(&sparse));
        assert_eq!(found, expected, "round {round}: choice {choice} of {count} at {gpa}");
        answers[match found.map_err(|error| error.kind) {
            Ok(_) => 0,
            Err(AccessErrorKind::Misaligned) => 1,
            Err(_) => 2,
        }] += 1;
    }
    assert!(answers.into_iter().all(|count| count > 10_000), "{answers:?}");
    for (gpa, length) in regions {
        let (mut found, mut expected) = (vec![0; length / 8], vec![1; length / 8]);
        memory.load_qwords(Gpa(gpa), &mut found).unwrap();
        sparse.load_qwords(Gpa(gpa), &mut expected).unwrap();
        assert_eq!(found, expected);
    }
}

#[test]
fn it_is_an_object_that_threads_share() {
    let space = GuestMemoryAtomic::new(map_of(&[(0, 0x1000)]).unwrap());
    let memory = VmMemory::new(space.clone());
    assert_eq!(memory.space().memory().num_regions(), 1);
    let object: Arc<dyn GuestMemory> = Arc::new(memory.clone());
    object.store_u32_release(Gpa(4), 1).unwrap();
    assert_eq!(memory.load_u64(Gpa(0)), Ok(1 << 32));
}
