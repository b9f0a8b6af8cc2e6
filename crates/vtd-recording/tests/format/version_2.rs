//! Lines and words of version 2: what they mean, what is wrong with bad ones, and that version 1 has none of them.

use std::slice;

use vtd_recording::format::{
    Direction, DmaAnswer, Event, EventKind, FaultedRequest, FormatError, FormatVersion, Grant,
    Header, HostCall, HostCallKind, HostMode, InterruptAnswer, InterruptEntries, PageAccess,
    PageRange, PasidScope, Permissions, RequestAccess, TranslatedAnswer, TranslationAnswer,
};
use vtd_spec::descriptor::ResponseCode;
use vtd_spec::table::SecondStageLevels;
use vtd_spec::{DomainId, Gpa, Iova, Pasid, Slot, SourceId};

use crate::text::{HEADER, HEADER_2, events, refusal, written};

const DEVICE: SourceId = SourceId(0x18);

fn pasid(number: u64) -> Option<Pasid> {
    Some(Pasid::from_low_bits(number))
}

fn host(kind: HostCallKind) -> Event {
    Event::Host(HostCall { source_id: DEVICE, slot: Slot::Rid, kind })
}

fn access(direction: Direction, [execute, privileged, zero_length]: [bool; 3]) -> RequestAccess {
    RequestAccess { direction, execute, privileged, zero_length }
}

fn dma(access: RequestAccess) -> Event {
    let (source_id, pasid, iova) = (DEVICE, pasid(5), Iova(0x1234));
    Event::Dma { source_id, pasid, access, iova, answer: DmaAnswer::Fault }
}

fn fault(access: RequestAccess, address: u64, reason: u8, request: FaultedRequest) -> Event {
    let (source_id, address) = (DEVICE, Iova(address));
    Event::Fault { source_id, pasid: None, access, address, reason, request }
}

fn translate(access: RequestAccess, answer: TranslationAnswer) -> Event {
    Event::Translate { source_id: DEVICE, pasid: pasid(5), access, iova: Iova(0x5000), answer }
}

fn granted(permissions: Permissions, [execute, privileged, u, g]: [bool; 4]) -> TranslationAnswer {
    let grant = Grant { permissions, execute, privileged };
    let (gpa, mask) = (Gpa(0x20_0000), 0x1f_ffff);
    TranslationAnswer::Granted { gpa, mask, grant, untranslated_only: u, global: g }
}

fn page_request(letters: [bool; 4], address: u64, group: u16, last: bool) -> Event {
    let [read, write, execute, privileged] = letters;
    let access = PageAccess { read, write, execute, privileged };
    let (source_id, address) = (DEVICE, Iova(address));
    Event::PageRequest { source_id, pasid: pasid(0), access, address, group, last }
}

fn page_response(group: u16, code: ResponseCode) -> Event {
    Event::PageResponse { source_id: DEVICE, pasid: None, group, code }
}

fn device_tlb(pasids: PasidScope, range: PageRange) -> Event {
    Event::DeviceTlb { source_id: DEVICE, pasids, range }
}

/// Lines that only version 2 has.
fn lines() -> Vec<(&'static str, Event)> {
    use Direction::{Read, Write};
    let pages = |address, pages| PageRange::Pages { address: Iova(address), pages };
    let second_stage = |table, levels| HostMode::SecondStage { table: Gpa(table), levels };
    let all = Pasid::from_low_bits(0xfffff);
    vec![
        ("dma 00:03.0 5 rx 1234 fault", dma(access(Read, [true, false, false]))),
        ("dma 00:03.0 5 rp 1234 fault", dma(access(Read, [false, true, false]))),
        ("dma 00:03.0 5 rz 1234 fault", dma(access(Read, [false, false, true]))),
        ("dma 00:03.0 5 rxpz 1234 fault", dma(access(Read, [true; 3]))),
        ("dma 00:03.0 5 wp 1234 fault", dma(access(Write, [false, true, false]))),
        (
            "fault 00:03.0 - rxp 1000 reason 82",
            fault(access(Read, [true, true, false]), 0x1000, 0x82, FaultedRequest::Untranslated),
        ),
        (
            "fault 00:03.0 - wx 1000 reason 44 translation",
            fault(access(Write, [true, false, false]), 0x1000, 0x44, FaultedRequest::Translation),
        ),
        (
            "fault 00:03.0 - w 1000 reason d translated",
            fault(Write.into(), 0x1000, 0xd, FaultedRequest::Translated),
        ),
        (
            "fault 00:03.0 - r 1000 reason 47 page-request",
            fault(Read.into(), 0x1000, 0x47, FaultedRequest::PageRequest),
        ),
        (
            "fault 00:03.0 - w ffff reason 22 interrupt",
            fault(Write.into(), 0xffff, 0x22, FaultedRequest::Interrupt),
        ),
        (
            "translate 00:03.0 5 r 5000 200000 1fffff r",
            translate(Read.into(), granted(Permissions::Read, [false; 4])),
        ),
        (
            "translate 00:03.0 5 w 5000 200000 1fffff rwxp u g",
            translate(Write.into(), granted(Permissions::ReadWrite, [true; 4])),
        ),
        (
            "translate 00:03.0 5 wxp 5000 200000 1fffff wp g",
            translate(
                access(Write, [true, true, false]),
                granted(Permissions::Write, [false, true, false, true]),
            ),
        ),
        (
            "translate 00:03.0 5 rx 5000 200000 1fffff rx u",
            translate(
                access(Read, [true, false, false]),
                granted(Permissions::Read, [true, false, true, false]),
            ),
        ),
        ("translate 00:03.0 5 w 5000 none", translate(Write.into(), TranslationAnswer::Nothing)),
        ("translate 00:03.0 5 w 5000 fault", translate(Write.into(), TranslationAnswer::Fault)),
        (
            "translated 00:03.0 - r ffffffffffffffff ok",
            Event::Translated {
                source_id: DEVICE,
                pasid: None,
                access: Read.into(),
                address: Gpa(u64::MAX),
                answer: TranslatedAnswer::Done,
            },
        ),
        (
            "translated 00:03.0 fffff wp 0 fault",
            Event::Translated {
                source_id: DEVICE,
                pasid: Some(all),
                access: access(Write, [false, true, false]),
                address: Gpa(0),
                answer: TranslatedAnswer::Fault,
            },
        ),
        ("endpoint 00:03.0", Event::Endpoint { source_id: DEVICE, later: false }),
        ("endpoint 00:03.0 later", Event::Endpoint { source_id: DEVICE, later: true }),
        ("device-tlb 00:03.0 - 7000 1", device_tlb(PasidScope::WithoutPasid, pages(0x7000, 1))),
        (
            "device-tlb 00:03.0 fffff 0 10000000000000",
            device_tlb(PasidScope::Pasid(all), pages(0, 1 << 52)),
        ),
        ("device-tlb 00:03.0 * 0 all", device_tlb(PasidScope::EveryPasid, PageRange::Everything)),
        ("device-tlb-done 00:03.0", Event::DeviceTlbDone { source_id: DEVICE }),
        ("device-tlb-timeout 00:03.0", Event::DeviceTlbTimeout { source_id: DEVICE }),
        (
            "page-request 00:03.0 0 r fffffffffffff000 1ff",
            page_request([true, false, false, false], 0xffff_ffff_ffff_f000, 0x1ff, false),
        ),
        (
            "page-request 00:03.0 0 rwxp 0 0 last",
            page_request([true, true, true, true], 0, 0, true),
        ),
        ("page-request 00:03.0 0 wp 0 0", page_request([false, true, false, true], 0, 0, false)),
        ("page-request 00:03.0 0 - 0 0 last", page_request([false; 4], 0, 0, true)),
        (
            "page-request 00:03.0 0 -x 1000 1",
            page_request([false, false, true, false], 0x1000, 1, false),
        ),
        ("page-response 00:03.0 - 0 0", page_response(0, ResponseCode::Success)),
        ("page-response 00:03.0 - 1ff 1", page_response(0x1ff, ResponseCode::Invalid)),
        ("page-response 00:03.0 - 9 f", page_response(9, ResponseCode::Failure)),
        (
            "interrupt 00:03.0 fee00010 0 1fee01000 4041",
            Event::Interrupt {
                source_id: DEVICE,
                address: 0xfee0_0010,
                data: 0,
                answer: InterruptAnswer::Message { address: 0x1_fee0_1000, data: 0x4041 },
            },
        ),
        (
            "interrupt 00:03.0 fee00000 ffffffff blocked",
            Event::Interrupt {
                source_id: DEVICE,
                address: 0xfee0_0000,
                data: u32::MAX,
                answer: InterruptAnswer::Blocked,
            },
        ),
        (
            "interrupt-entries 0 10000",
            Event::InterruptEntries(InterruptEntries::Range { index: 0, count: 0x1_0000 }),
        ),
        (
            "interrupt-entries ffff 1",
            Event::InterruptEntries(InterruptEntries::Range { index: 0xffff, count: 1 }),
        ),
        ("interrupt-entries all", Event::InterruptEntries(InterruptEntries::Everything)),
        ("renumber 00:03.0 80:1f.7", Event::Renumber { source_id: DEVICE, new: SourceId(0x80ff) }),
        (
            "host bind 00:03.0 - ss3 0 ffff",
            host(HostCallKind::Bind {
                mode: second_stage(0, SecondStageLevels::Three),
                domain: DomainId(0xffff),
            }),
        ),
        (
            "host bind 00:03.0 - ss4 fffffffffffff000 0",
            host(HostCallKind::Bind {
                mode: second_stage(0xffff_ffff_ffff_f000, SecondStageLevels::Four),
                domain: DomainId(0),
            }),
        ),
        (
            "host replace 00:03.0 - ss5 1000 1",
            host(HostCallKind::Replace {
                mode: second_stage(0x1000, SecondStageLevels::Five),
                domain: DomainId(1),
            }),
        ),
        (
            "host map 00:03.0 - 0 fffffffffffff000 1 rw",
            host(HostCallKind::Map {
                iova: Iova(0),
                gpa: Gpa(0xffff_ffff_ffff_f000),
                pages: 1,
                permissions: Permissions::ReadWrite,
            }),
        ),
        (
            "host unmap 00:03.0 - 0 10000000000000",
            host(HostCallKind::Unmap { iova: Iova(0), pages: 1 << 52 }),
        ),
    ]
}

fn header_2() -> Header {
    let mut header = Header::new(1, 2, 0x10);
    header.format_version = FormatVersion::Two;
    header
}

#[test]
fn lines_are_events() -> Result<(), FormatError> {
    for (line, event) in lines() {
        let text = format!("{HEADER_2}{line}\n");
        assert_eq!(events(text.as_bytes())?, slice::from_ref(&event), "{line}");
        assert_eq!(event.to_string(), line);
        let copy = written(&header_2(), slice::from_ref(&event))?;
        assert_eq!(String::from_utf8_lossy(&copy), text);
        assert_eq!(event.since(), FormatVersion::Two, "{line}");
        let word = line.split(' ').next().expect("a word");
        assert_eq!(EventKind::from_name(word), Some(event.kind()));
    }
    Ok(())
}

#[test]
fn version_1_has_none_of_them() {
    for (line, event) in lines() {
        let message = refusal(format!("{HEADER}{line}\n").as_bytes());
        assert!(message.starts_with("line 5: "), "{message}");
        let end = "needs version 2 of the recording format, and this is version 1";
        assert!(message.ends_with(end), "{message}");
        let refused = written(&Header::new(1, 2, 0x10), &[event]).map_err(|why| why.to_string());
        assert_eq!(refused, Err(message));
    }
    let end = "needs version 2 of the recording format, and this is version 1";
    for (line, start) in [
        // What the fields of such a line hold does not matter.
        ("translate frob", r#""translate""#),
        ("interrupt-entries", r#""interrupt-entries""#),
        ("dma 00:03.0 - rp 0 0 fff r", r#"field ACCESS: "rp""#),
        ("fault 00:03.0 - w 0 reason 5 translated", r#"field KIND: "translated""#),
        ("host replace 00:03.0 1 ss4 1000 1", r#"field MODE: "ss4""#),
        ("host map 00:03.0 1 0 0 1 r", r#"field CALL: "map""#),
        ("host unmap 00:03.0 1 0 1", r#"field CALL: "unmap""#),
    ] {
        let message = refusal(format!("{HEADER}{line}\n").as_bytes());
        assert_eq!(message, format!("line 5: {start} {end}"));
    }
}

#[test]
fn version_2_has_every_line_of_version_1() -> Result<(), FormatError> {
    let lines = "zero 1000\ndma 00:03.0 1 r 0 0 fff rw\nfault 00:03.0 - w 0 reason 5\nreset\n";
    let old = events(format!("{HEADER}{lines}").as_bytes())?;
    assert_eq!(events(format!("{HEADER_2}{lines}").as_bytes())?, old);
    assert!(old.iter().all(|event| event.since() == FormatVersion::One));
    Ok(())
}

#[test]
fn lines_have_all_their_fields_and_no_more() {
    let table = [
        ("translate 00:03.0 - r 0", "GPA"),
        ("translate 00:03.0 - r 0 0", "MASK"),
        ("translate 00:03.0 - r 0 0 fff", "PERM"),
        ("translated 00:03.0 - r 0", "ok"),
        ("endpoint", "BDF"),
        ("device-tlb 00:03.0", "PASID"),
        ("device-tlb 00:03.0 - 0", "PAGES"),
        ("device-tlb-done", "BDF"),
        ("device-tlb-timeout", "BDF"),
        ("page-request 00:03.0 - r 0", "GROUP"),
        ("page-response 00:03.0 - 0", "CODE"),
        ("interrupt 00:03.0 0 0", "MSI-ADDR"),
        ("interrupt 00:03.0 0 0 0", "MSI-DATA"),
        ("interrupt-entries", "INDEX"),
        ("interrupt-entries 0", "COUNT"),
        ("renumber 00:03.0", "NEW"),
        ("host bind 00:03.0 - ss4 0", "DID"),
        ("host map 00:03.0 - 0 0 1", "PERM"),
        ("host unmap 00:03.0 - 0", "PAGES"),
    ];
    for (line, field) in table {
        let message = refusal(format!("{HEADER_2}{line}\n").as_bytes());
        let start = format!("line 5: field {field} is missing: expected ");
        assert!(message.starts_with(&start), "{message}");
    }
    for (line, _) in lines() {
        let message = refusal(format!("{HEADER_2}{line} more\n").as_bytes());
        let ours = [r#"line 5: "more" after the last field"#.to_owned()];
        // Where a last word may stand, it is the word that is wrong.
        let word = ["KIND", "u", "g", "later", "last"];
        let words = word.map(|field| format!("line 5: field {field}: \"more\" is not "));
        assert!(ours.iter().chain(&words).any(|start| message.starts_with(start)), "{message}");
    }
}

#[test]
fn what_cannot_be_read_is_not_written() {
    use Direction::{Read, Write};
    let access = |direction, letters| access(direction, letters);
    let zero = access(Read, [false, false, true]);
    let table = [
        (
            dma(access(Write, [true, false, false])),
            r#"field ACCESS: "wx" is not a read, which alone can have `x`"#,
        ),
        (
            dma(access(Write, [false, false, true])),
            r#"field ACCESS: "wz" is not a read, which alone can have `z`"#,
        ),
        (
            fault(zero, 0, 1, FaultedRequest::Untranslated),
            r#"field ACCESS: "rz" is not an access without `z`"#,
        ),
        (
            translate(zero, TranslationAnswer::Nothing),
            r#"field ACCESS: "rz" is not an access without `z`"#,
        ),
        (
            fault(Write.into(), 0x1_0000, 0x22, FaultedRequest::Interrupt),
            r#"field ADDR: "10000" is not the index of an interrupt, at most ffff"#,
        ),
        (page_request([true; 4], 0x800, 0, false), r#"field ADDR: "800" is not 4 KiB aligned"#),
        (
            page_request([true; 4], 0, 0x200, false),
            r#"field GROUP: "200" is not a group of 9 bits, at most 1ff"#,
        ),
        (
            page_response(0xffff, ResponseCode::Success),
            r#"field GROUP: "ffff" is not a group of 9 bits, at most 1ff"#,
        ),
        (
            device_tlb(
                PasidScope::EveryPasid,
                PageRange::Pages { address: Iova(0x1000), pages: 1 << 52 },
            ),
            r#"field PAGES: "10000000000000" is not a number of pages, not 0, that end within the address space"#,
        ),
        (
            Event::InterruptEntries(InterruptEntries::Range { index: 1, count: 0x1_0000 }),
            r#"field COUNT: "10000" is not a number of entries, not 0, that end at index ffff or before"#,
        ),
        (
            host(HostCallKind::Bind {
                mode: HostMode::SecondStage { table: Gpa(0x10), levels: SecondStageLevels::Four },
                domain: DomainId(0),
            }),
            r#"field TABLE: "10" is not 4 KiB aligned"#,
        ),
        (
            host(HostCallKind::Unmap { iova: Iova(0), pages: 0 }),
            r#"field PAGES: "0" is not a number of pages, not 0, that end within the address space"#,
        ),
    ];
    for (event, message) in table {
        let refused = written(&header_2(), &[event]).map_err(|error| error.to_string());
        assert_eq!(refused, Err(format!("line 5: {message}")));
    }
}

#[test]
fn a_header_names_only_what_its_version_has() {
    let mut header = Header::new(1, 2, 0x10);
    header.guest = Some("Linux".into());
    header.host_address_width = Some(48);
    header.strict = true;
    header.ignore.page_response = true;
    let refused = written(&header, &[]).map_err(|error| error.to_string());
    let message = r#"line 8: field ignore: "page-response" needs version 2 of the recording format, and this is version 1"#;
    assert_eq!(refused, Err(message.into()));
    header.format_version = FormatVersion::Two;
    assert!(written(&header, &[]).is_ok());
}
