//! Memory images: what is mapped where, what is refused, and that the files stay as they are.

#![cfg(feature = "file")]

use std::error::Error;
use std::fs;
use std::io::{self, Write};
use std::thread;

use tempfile::NamedTempFile;
use vtd_memory::{AccessError, FileMemory, FileMemoryError, GuestMemory, Region};
use vtd_spec::Gpa;

/// A file of `qwords` qwords, the nth of which is `tag` + n, and then `rest` odd bytes.
fn image(tag: u64, qwords: u64, rest: usize) -> io::Result<NamedTempFile> {
    let mut file = NamedTempFile::new()?;
    for n in 0..qwords {
        file.write_all(&(tag + n).to_le_bytes())?;
    }
    file.write_all(&vec![0xee; rest])?;
    file.flush()?;
    Ok(file)
}

#[test]
fn regions_lie_where_they_say() {
    let (low, high) = (image(0x1_0000, 0x300, 0).unwrap(), image(0x2_0000, 0x100, 5).unwrap());
    // Out of order: a whole file with an odd rest; one page; right behind that, from the middle of a page of the file; and
    // the end of the address space.
    let memory = FileMemory::open(&[
        Region::new(high.path(), Gpa(0x1_0000_0000)),
        Region::new(low.path(), Gpa(0x1000)).with_length(0x1000),
        Region::new(low.path(), Gpa(0x2000)).from_offset(0x1008).with_length(0x10),
        Region::new(low.path(), Gpa(0xffff_ffff_ffff_fff0)).with_length(0x10),
    ])
    .unwrap();
    let cases: &[(u64, usize, Option<&[u64]>)] = &[
        (0x1000, 2, Some(&[0x1_0000, 0x1_0001])),
        (0x1ff8, 1, Some(&[0x1_01ff])),
        // over the seam of two regions
        (0x1ff8, 3, Some(&[0x1_01ff, 0x1_0201, 0x1_0202])),
        (0x2008, 1, Some(&[0x1_0202])),
        (0x2008, 2, None),
        // the gap
        (0x2010, 1, None),
        (0x0ff8, 2, None),
        (0, 1, None),
        (0xffff_fff8, 1, None),
        (0xffff_fff8, 2, None),
        // the end of a file with odd bytes behind
        (0x1_0000_07f8, 1, Some(&[0x2_00ff])),
        (0x1_0000_0800, 1, None),
        (0x1_0000_07f8, 2, None),
        (0xffff_ffff_ffff_fff0, 2, Some(&[0x1_0000, 0x1_0001])),
        (0xffff_ffff_ffff_fff8, 2, None),
        (0x5000, 0, Some(&[])),
    ];
    for &(gpa, count, expected) in cases {
        let mut out = vec![0xdead; count];
        let answer = memory.load_qwords(Gpa(gpa), &mut out);
        match expected {
            Some(values) => assert_eq!((answer, &out[..]), (Ok(()), values), "{gpa:x}"),
            None => assert_eq!(answer, Err(AccessError::not_backed(Gpa(gpa), count * 8))),
        }
        if count == 1 {
            assert_eq!(memory.load_u64(Gpa(gpa)).ok(), expected.map(|values| values[0]), "{gpa:x}");
        }
    }
    for gpa in [0x1004, 0x1001, 0x5001, u64::MAX] {
        assert_eq!(memory.load_u64(Gpa(gpa)), Err(AccessError::misaligned(Gpa(gpa), 8)));
    }
}

#[test]
fn stores_are_seen_and_never_reach_the_file() {
    let file = image(0x100, 0x200, 0).unwrap();
    // The file may be read-only.
    let mut permissions = fs::metadata(file.path()).unwrap().permissions();
    permissions.set_readonly(true);
    fs::set_permissions(file.path(), permissions).unwrap();
    let before = fs::read(file.path()).unwrap();

    let memory = FileMemory::open(&[Region::new(file.path(), Gpa(0x1000))]).unwrap();
    memory.store_qwords_release(Gpa(0x1ff0), &[0xa, 0xb]).unwrap();
    memory.store_u32_release(Gpa(0x1004), 0x8000_0001).unwrap();
    memory.store_u32_release(Gpa(0x1008), 0x8000_0002).unwrap();
    assert_eq!(memory.compare_exchange_u64(Gpa(0x1010), 0x102, 0x122), Ok(Ok(0x102)));
    assert_eq!(memory.compare_exchange_u64(Gpa(0x1010), 0x102, 0x142), Ok(Err(0x122)));

    // What is refused has written nothing.
    for (refused, error) in [
        (
            memory.store_qwords_release(Gpa(0x1ff8), &[1, 2]),
            AccessError::not_backed(Gpa(0x1ff8), 16),
        ),
        (memory.store_qwords_release(Gpa(0x1ffc), &[1]), AccessError::misaligned(Gpa(0x1ffc), 8)),
        (memory.store_u32_release(Gpa(0x2000), 1), AccessError::not_backed(Gpa(0x2000), 4)),
        (memory.store_u32_release(Gpa(0x0ffc), 1), AccessError::not_backed(Gpa(0x0ffc), 4)),
        (memory.store_u32_release(Gpa(0x1002), 1), AccessError::misaligned(Gpa(0x1002), 4)),
        (
            memory.compare_exchange_u64(Gpa(0x2000), 0, 1).map(drop),
            AccessError::not_backed(Gpa(0x2000), 8),
        ),
        (
            memory.compare_exchange_u64(Gpa(0x1ffc), 0, 1).map(drop),
            AccessError::misaligned(Gpa(0x1ffc), 8),
        ),
    ] {
        assert_eq!(refused, Err(error));
    }

    memory.with_snapshot(&mut |guest| {
        for (gpa, value) in [
            (0x1000, 0x8000_0001_0000_0100),
            (0x1008, 0x8000_0002),
            (0x1010, 0x122),
            (0x1ff0, 0xa),
            (0x1ff8, 0xb),
        ] {
            assert_eq!(guest.load_u64(Gpa(gpa)), Ok(value), "{gpa:x}");
        }
    });
    drop(memory);
    assert_eq!(fs::read(file.path()).unwrap(), before);
}

#[test]
fn concurrent_compare_exchanges_lose_no_bit() {
    const ROUNDS: u64 = 10_000;
    let file = image(0, 0x10, 0).unwrap();
    let memory = FileMemory::open(&[Region::new(file.path(), Gpa(0))]).unwrap();
    thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                for _ in 0..ROUNDS {
                    let mut seen = memory.load_u64(Gpa(0)).unwrap();
                    while let Err(now) =
                        memory.compare_exchange_u64(Gpa(0), seen, seen + 1).unwrap()
                    {
                        seen = now;
                    }
                }
            });
        }
        // Two halves of one qword, written by two threads.
        for half in [8, 12] {
            let memory = &memory;
            scope.spawn(move || {
                (1..=1000).for_each(|n| memory.store_u32_release(Gpa(half), n).unwrap());
            });
        }
    });
    assert_eq!(memory.load_u64(Gpa(0)), Ok(2 * ROUNDS));
    assert_eq!(memory.load_u64(Gpa(8)), Ok(1000 << 32 | 1000));
}

#[test]
fn regions_that_cannot_be_are_refused() {
    let file = image(0, 0x200, 3).unwrap();
    let (empty, tiny) = (image(0, 0, 0).unwrap(), image(0, 0, 7).unwrap());
    let whole = |gpa| Region::new(file.path(), Gpa(gpa));
    // (regions, the start of the message behind the file's name)
    let cases: Vec<(Vec<Region>, &str)> = vec![
        (vec![whole(0x1004)], "Misaligned { region: 0"),
        (vec![whole(0x1000), whole(0x8000).from_offset(4)], "Misaligned { region: 1"),
        (vec![whole(0x1000).with_length(12)], "Misaligned { region: 0"),
        (vec![whole(0x1000).with_length(0)], "Empty { region: 0"),
        (vec![whole(0x1000).from_offset(0x1000)], "Empty { region: 0"),
        (vec![Region::new(empty.path(), Gpa(0))], "Empty { region: 0"),
        (vec![Region::new(tiny.path(), Gpa(0))], "Empty { region: 0"),
        (vec![whole(0x1000).from_offset(0x1008)], "BeyondFile { region: 0"),
        (vec![whole(0x1000).from_offset(!7)], "BeyondFile { region: 0"),
        (vec![whole(0x1000).with_length(0x1008)], "BeyondFile { region: 0"),
        (vec![whole(0x1000).from_offset(8).with_length(0x1000)], "BeyondFile { region: 0"),
        (vec![whole(0x1000).with_length(!7)], "BeyondFile { region: 0"),
        (vec![whole(0xffff_ffff_ffff_f008)], "BeyondAddressSpace { region: 0"),
        (vec![Region::new("/nonexistent/image", Gpa(0))], "Open { region: 0"),
        // overlaps: the same, one within another, by a qword; named in the order of their addresses
        (vec![whole(0x1000), whole(0x1000)], "Overlap { first: 0, second: 1, gpa: Gpa(0x1000) }"),
        (
            vec![whole(0x1800).with_length(8), whole(0x1000)],
            "Overlap { first: 1, second: 0, gpa: Gpa(0x1800) }",
        ),
        (
            vec![whole(0x9000), whole(0x1ff8), whole(0x1000)],
            "Overlap { first: 2, second: 1, gpa: Gpa(0x1ff8) }",
        ),
    ];
    for (regions, expected) in cases {
        let error = FileMemory::open(&regions).unwrap_err();
        let text = format!("{error:?}");
        assert!(text.starts_with(expected), "{text} for {regions:?}");
    }
    // Side by side is no overlap, and no region at all is no memory at all.
    FileMemory::open(&[whole(0x2000), whole(0x1000)]).unwrap();
    assert!(FileMemory::open(&[]).unwrap().load_u64(Gpa(0)).is_err());
}

#[test]
fn an_error_names_the_file_and_keeps_its_source() {
    let error = FileMemory::open(&[Region::new("/nonexistent/image", Gpa(0))]).unwrap_err();
    assert_eq!(error.to_string(), "region 0: cannot open /nonexistent/image");
    assert!(error.source().is_some());
    assert!(
        matches!(error, FileMemoryError::Open { source, .. } if source.raw_os_error() == Some(2))
    );
}
