//! Lines as events.

use std::slice;

use vtd_recording::format::{
    Direction, DmaAnswer, Event, EventKind, FaultedRequest, FormatError, FormatVersion, HostCall,
    HostCallKind, HostMode, PageRange, Permissions, Reader,
};
use vtd_spec::{DomainId, FirstStage, FirstStageLevels, Gpa, Iova, Pasid, Slot, SourceId};

use crate::text::{HEADER, events};

fn pasid(number: u64) -> Option<Pasid> {
    Some(Pasid::from_low_bits(number))
}

fn first_stage(levels: FirstStageLevels, table: u64, flags: [bool; 3]) -> HostMode {
    let [supervisor, write_protect, extended_accessed] = flags;
    let table = Gpa(table);
    HostMode::FirstStage(FirstStage { table, levels, supervisor, write_protect, extended_accessed })
}

fn host(source_id: u16, slot: Slot, kind: HostCallKind) -> Event {
    Event::Host(HostCall { source_id: SourceId(source_id), slot, kind })
}

#[test]
fn lines_are_events() -> Result<(), FormatError> {
    let slot = Slot::Pasid(Pasid::from_low_bits(0xfffff));
    let zeros = "00".repeat(63);
    let table = [
        (
            format!("mem ffffffffffffffc0 a5{zeros}"),
            Event::Mem { gpa: Gpa(0xffff_ffff_ffff_ffc0), bytes: [&[0xa5][..], &[0; 63]].concat() },
        ),
        ("zero 1bfc000".into(), Event::Zero { gpa: Gpa(0x1bf_c000) }),
        ("write 88 4 ffffffff".into(), Event::Write { offset: 0x88, size: 4, value: 0xffff_ffff }),
        (
            "read 8 8 81d2008c222f0686".into(),
            Event::Read { offset: 8, size: 8, value: 0x81d2_008c_222f_0686 },
        ),
        ("read 1d 3 0".into(), Event::Read { offset: 0x1d, size: 3, value: 0 }),
        (
            "dma 00:02.0 - r fffc11c0 252c000 fff r".into(),
            Event::Dma {
                source_id: SourceId(0x10),
                pasid: None,
                access: Direction::Read.into(),
                iova: Iova(0xfffc_11c0),
                answer: DmaAnswer::Translated {
                    gpa: Gpa(0x252_c000),
                    mask: 0xfff,
                    permissions: Permissions::Read,
                },
            },
        ),
        (
            "dma ff:1f.7 fffff w 0 0 ffffffffffffffff rw".into(),
            Event::Dma {
                source_id: SourceId(0xffff),
                pasid: pasid(0xfffff),
                access: Direction::Write.into(),
                iova: Iova(0),
                answer: DmaAnswer::Translated {
                    gpa: Gpa(0),
                    mask: u64::MAX,
                    permissions: Permissions::ReadWrite,
                },
            },
        ),
        (
            "dma 00:03.0 0 w 7122 a00000 1fffff w".into(),
            Event::Dma {
                source_id: SourceId(0x18),
                pasid: pasid(0),
                access: Direction::Write.into(),
                iova: Iova(0x7122),
                answer: DmaAnswer::Translated {
                    gpa: Gpa(0xa0_0000),
                    mask: 0x1f_ffff,
                    permissions: Permissions::Write,
                },
            },
        ),
        (
            "dma 00:04.0 - r 101000 fault".into(),
            Event::Dma {
                source_id: SourceId(0x20),
                pasid: None,
                access: Direction::Read.into(),
                iova: Iova(0x10_1000),
                answer: DmaAnswer::Fault,
            },
        ),
        (
            "fault 00:03.0 1 r 101008 reason 71".into(),
            Event::Fault {
                source_id: SourceId(0x18),
                pasid: pasid(1),
                access: Direction::Read.into(),
                address: Iova(0x10_1008),
                reason: 0x71,
                request: FaultedRequest::Untranslated,
            },
        ),
        (
            "fault 00:03.0 - w ffffffffffffffff reason ff".into(),
            Event::Fault {
                source_id: SourceId(0x18),
                pasid: None,
                access: Direction::Write.into(),
                address: Iova(u64::MAX),
                reason: 0xff,
                request: FaultedRequest::Untranslated,
            },
        ),
        (
            "iommu-write 1f62ad8 02000000".into(),
            Event::IommuWrite { gpa: Gpa(0x1f6_2ad8), bytes: vec![2, 0, 0, 0] },
        ),
        (
            "iommu-write ffffffffffffffff ff".into(),
            Event::IommuWrite { gpa: Gpa(u64::MAX), bytes: vec![0xff] },
        ),
        ("msi fee00000 21".into(), Event::Msi { address: 0xfee0_0000, data: 0x21 }),
        ("assign 00:03.0".into(), Event::Assign { source_id: SourceId(0x18) }),
        ("release 80:1f.7".into(), Event::Release { source_id: SourceId(0x80ff) }),
        (
            "host bind 00:03.0 - pt 0 0".into(),
            host(
                0x18,
                Slot::Rid,
                HostCallKind::Bind { mode: HostMode::PassThrough, domain: DomainId(0) },
            ),
        ),
        (
            "host bind 00:03.0 fffff fs4 100000 ffff".into(),
            host(
                0x18,
                slot,
                HostCallKind::Bind {
                    mode: first_stage(FirstStageLevels::Four, 0x10_0000, [false; 3]),
                    domain: DomainId(0xffff),
                },
            ),
        ),
        (
            "host replace 00:03.0 fffff fs5 fffffffffffff000 5 sre wpe eafe".into(),
            host(
                0x18,
                slot,
                HostCallKind::Replace {
                    mode: first_stage(FirstStageLevels::Five, 0xffff_ffff_ffff_f000, [true; 3]),
                    domain: DomainId(5),
                },
            ),
        ),
        (
            "host replace 00:03.0 - fs4 0 5 wpe".into(),
            host(
                0x18,
                Slot::Rid,
                HostCallKind::Replace {
                    mode: first_stage(FirstStageLevels::Four, 0, [false, true, false]),
                    domain: DomainId(5),
                },
            ),
        ),
        ("host unbind 00:03.0 fffff".into(), host(0x18, slot, HostCallKind::Unbind)),
        (
            "host invalidate 00:04.0 - 7f000004000 10".into(),
            host(
                0x20,
                Slot::Rid,
                HostCallKind::Invalidate(PageRange::Pages {
                    address: Iova(0x7f0_0000_4000),
                    pages: 16,
                }),
            ),
        ),
        (
            "host invalidate 00:04.0 - 0 10000000000000".into(),
            host(
                0x20,
                Slot::Rid,
                HostCallKind::Invalidate(PageRange::Pages { address: Iova(0), pages: 1 << 52 }),
            ),
        ),
        (
            "host invalidate 00:05.0 fffff 0 all".into(),
            host(0x28, slot, HostCallKind::Invalidate(PageRange::Everything)),
        ),
        ("host-fail".into(), Event::HostFail),
        ("reset".into(), Event::Reset),
    ];
    for (line, event) in table {
        assert_eq!(
            events(format!("{HEADER}{line}\n").as_bytes())?,
            slice::from_ref(&event),
            "{line}"
        );
        assert_eq!(event.to_string(), line);
        assert_eq!(event.since(), FormatVersion::One);
        let word = line.split(' ').next().expect("a word");
        assert_eq!(event.kind().name(), word);
        assert_eq!(EventKind::from_name(word), Some(event.kind()));
    }
    Ok(())
}

#[test]
fn liberties_of_a_reader() -> Result<(), FormatError> {
    let zero = Event::Zero { gpa: Gpa(0xab_c000) };
    for line in
        ["zero ABC000", "zero 0000000000000000000000abc000", "  zero\t abc000  ", "zero abc000\r"]
    {
        assert_eq!(
            events(format!("{HEADER}{line}\n").as_bytes())?,
            slice::from_ref(&zero),
            "{line:?}"
        );
        assert_eq!(
            events(format!("{HEADER}{line}").as_bytes())?,
            slice::from_ref(&zero),
            "{line:?}"
        );
    }
    let binding = events(format!("{HEADER}host bind 0:3.0 1 fs4 1000 5 eafe sre\n").as_bytes())?;
    assert_eq!(
        binding.iter().map(ToString::to_string).collect::<Vec<_>>(),
        ["host bind 00:03.0 1 fs4 1000 5 sre eafe"]
    );
    Ok(())
}

#[test]
fn lines_are_counted_with_comments_and_empty_ones() -> Result<(), FormatError> {
    let text = format!("{HEADER}\n# a remark\nreset\n  # cap 3\n\t\nhost-fail\n# the end");
    let items = Reader::new(text.as_bytes())?.collect::<Result<Vec<_>, _>>()?;
    assert_eq!(items, [(7, Event::Reset), (10, Event::HostFail)]);
    Ok(())
}

#[test]
fn permissions_grant_directions() {
    let granted = |permissions: Permissions| {
        [Direction::Read, Direction::Write].map(|direction| permissions.grant(direction))
    };
    assert_eq!(granted(Permissions::Read), [true, false]);
    assert_eq!(granted(Permissions::Write), [false, true]);
    assert_eq!(granted(Permissions::ReadWrite), [true, true]);
}
