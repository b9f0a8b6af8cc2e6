//! The format: lines and events, bad lines and their messages, and the shipped files.

use std::error::Error;
use std::fs;
use std::io::{self, BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::slice;

use vtd_recording::format::{
    Direction, DmaAnswer, Event, EventKind, FormatError, Header, HostCall, HostCallKind, HostRange,
    Ignored, LONGEST_LINE, Permissions, Reader, Writer,
};
use vtd_spec::{Binding, DomainId, FirstStage, FirstStageLevels, Gpa, Iova, Pasid, Slot, SourceId};

const HEADER: &str = "# vtd-recording 1\n# cap 1\n# ecap 2\n# ver 10\n";

fn events(text: &[u8]) -> Result<Vec<Event>, FormatError> {
    Reader::new(text)?.map(|item| item.map(|(_, event)| event)).collect()
}

fn written(header: &Header, events: &[Event]) -> Result<Vec<u8>, FormatError> {
    let mut writer = Writer::new(Vec::new(), header)?;
    events.iter().try_for_each(|event| writer.write(event))?;
    writer.finish()
}

/// The message of a file that must be refused.
fn refusal(text: &[u8]) -> String {
    match events(text) {
        Ok(events) => format!("taken as {events:?}"),
        Err(error) => error.to_string(),
    }
}

fn pasid(number: u64) -> Option<Pasid> {
    Some(Pasid::from_low_bits(number))
}

fn first_stage(levels: FirstStageLevels, table: u64, flags: [bool; 3]) -> Binding {
    let [supervisor, write_protect, extended_accessed] = flags;
    let table = Gpa(table);
    Binding::FirstStage(FirstStage { table, levels, supervisor, write_protect, extended_accessed })
}

fn host(source_id: u16, slot: Slot, kind: HostCallKind) -> Event {
    Event::Host(HostCall { source_id: SourceId(source_id), slot, kind })
}

fn corpus() -> io::Result<Vec<PathBuf>> {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../corpus");
    let mut files = Vec::new();
    for folder in ["recordings", "vectors"] {
        for entry in fs::read_dir(corpus.join(folder))? {
            files.push(entry?.path());
        }
    }
    files.retain(|file| file.extension().is_some_and(|extension| extension == "rec"));
    files.sort();
    Ok(files)
}

/// The same bits on every run (xorshift64).
struct Noise(u64);

impl Noise {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }
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
                direction: Direction::Read,
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
                direction: Direction::Write,
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
                direction: Direction::Write,
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
                direction: Direction::Read,
                iova: Iova(0x10_1000),
                answer: DmaAnswer::Fault,
            },
        ),
        (
            "fault 00:03.0 1 r 101008 reason 71".into(),
            Event::Fault {
                source_id: SourceId(0x18),
                pasid: pasid(1),
                direction: Direction::Read,
                address: Iova(0x10_1008),
                reason: 0x71,
            },
        ),
        (
            "fault 00:03.0 - w ffffffffffffffff reason ff".into(),
            Event::Fault {
                source_id: SourceId(0x18),
                pasid: None,
                direction: Direction::Write,
                address: Iova(u64::MAX),
                reason: 0xff,
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
                HostCallKind::Bind { binding: Binding::PassThrough, domain: DomainId(0) },
            ),
        ),
        (
            "host bind 00:03.0 fffff fs4 100000 ffff".into(),
            host(
                0x18,
                slot,
                HostCallKind::Bind {
                    binding: first_stage(FirstStageLevels::Four, 0x10_0000, [false; 3]),
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
                    binding: first_stage(FirstStageLevels::Five, 0xffff_ffff_ffff_f000, [true; 3]),
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
                    binding: first_stage(FirstStageLevels::Four, 0, [false, true, false]),
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
                HostCallKind::Invalidate(HostRange::Pages {
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
                HostCallKind::Invalidate(HostRange::Pages { address: Iova(0), pages: 1 << 52 }),
            ),
        ),
        (
            "host invalidate 00:05.0 fffff 0 all".into(),
            host(0x28, slot, HostCallKind::Invalidate(HostRange::Everything)),
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
fn bad_lines_are_refused() {
    let long = "z".repeat(1000);
    let table = [
        // Kinds and the number of fields.
        ("frob 1", r#"line 5: "frob" is not a kind of event"#),
        ("MEM 0 00", r#"line 5: "MEM" is not a kind of event"#),
        ("zero", "line 5: field GPA is missing: expected a hexadecimal number of at most 64 bits"),
        ("reset now", r#"line 5: "now" after the last field"#),
        ("zero 1000 0", r#"line 5: "0" after the last field"#),
        ("dma 00:03.0 1 r 1000 fault r", r#"line 5: "r" after the last field"#),
        // Numbers.
        ("zero xyz", r#"line 5: field GPA: "xyz" is not a hexadecimal number of at most 64 bits"#),
        (
            "zero 0x1000",
            r#"line 5: field GPA: "0x1000" is not a hexadecimal number of at most 64 bits"#,
        ),
        (
            "zero +1000",
            r#"line 5: field GPA: "+1000" is not a hexadecimal number of at most 64 bits"#,
        ),
        (
            "zero -1000",
            r#"line 5: field GPA: "-1000" is not a hexadecimal number of at most 64 bits"#,
        ),
        (
            "zero 10000000000001000",
            r#"line 5: field GPA: "10000000000001000" is not a hexadecimal number of at most 64 bits"#,
        ),
        ("zero 1001", r#"line 5: field GPA: "1001" is not 4 KiB aligned"#),
        // Bytes.
        (
            "mem 1000",
            "line 5: field BYTES is missing: expected bytes of two hexadecimal digits each",
        ),
        ("mem 1000 0", r#"line 5: field BYTES: "0" is not bytes of two hexadecimal digits each"#),
        ("mem 1000 0g", r#"line 5: field BYTES: "0g" is not bytes of two hexadecimal digits each"#),
        ("mem 1000 00", "line 5: field BYTES: 1 bytes are not a multiple of 64 from 64 to 524224"),
        (
            "iommu-write ffffffffffffffff 0000",
            r#"line 5: field GPA: "ffffffffffffffff" is not an address whose bytes end within the address space"#,
        ),
        // Registers.
        ("read 0 0 0", r#"line 5: field SIZE: "0" is not 1 to 8"#),
        ("read 0 9 0", r#"line 5: field SIZE: "9" is not 1 to 8"#),
        ("read 0 16 0", r#"line 5: field SIZE: "16" is not 1 to 8"#),
        ("write 0 4 100000000", r#"line 5: field V: "100000000" is not a number of SIZE bytes"#),
        ("write 0 1 100", r#"line 5: field V: "100" is not a number of SIZE bytes"#),
        // Requests.
        ("dma 3 - r 0 fault", r#"line 5: field BDF: "3" is not a device such as 00:03.0"#),
        ("assign 00:20.0", r#"line 5: field BDF: "00:20.0" is not a device such as 00:03.0"#),
        (
            "dma 00:03.0 xyz r 0 fault",
            r#"line 5: field PASID: "xyz" is not a hexadecimal number of at most 20 bits, or `-`"#,
        ),
        (
            "fault 00:03.0 100000 r 0 reason 1",
            r#"line 5: field PASID: "100000" is not a hexadecimal number of at most 20 bits, or `-`"#,
        ),
        ("dma 00:03.0 1 rw 0 fault", r#"line 5: field rw: "rw" is not `r` or `w`"#),
        (
            "dma 00:03.0 1 r 0 none",
            r#"line 5: field GPA: "none" is not a hexadecimal number of at most 64 bits, or `fault`"#,
        ),
        ("dma 00:03.0 1 r 0 10 fff r", r#"line 5: field GPA: "10" is not 4 KiB aligned"#),
        (
            "dma 00:03.0 1 r 0 0 1ffe r",
            r#"line 5: field MASK: "1ffe" is not a power of two less 1, at least fff"#,
        ),
        (
            "dma 00:03.0 1 r 0 0 7ff r",
            r#"line 5: field MASK: "7ff" is not a power of two less 1, at least fff"#,
        ),
        (
            "dma 00:03.0 1 r 0 fffffffffffff000 1fff r",
            r#"line 5: field MASK: "1fff" is not a mask that ends within the address space"#,
        ),
        ("dma 00:03.0 1 r 0 0 fff -", r#"line 5: field PERM: "-" is not `r`, `w` or `rw`"#),
        ("fault 00:03.0 1 r 0 71", r#"line 5: field reason: "71" is not the word `reason`"#),
        (
            "fault 00:03.0 1 r 0 reason 100",
            r#"line 5: field CODE: "100" is not a hexadecimal number of at most 8 bits"#,
        ),
        (
            "msi fee00000 100000000",
            r#"line 5: field DATA: "100000000" is not a hexadecimal number of at most 32 bits"#,
        ),
        // Host calls.
        (
            "host",
            "line 5: field CALL is missing: expected `bind`, `replace`, `unbind` or `invalidate`",
        ),
        (
            "host fail",
            r#"line 5: field CALL: "fail" is not `bind`, `replace`, `unbind` or `invalidate`"#,
        ),
        ("host bind 00:03.0 1 ss 0 0", r#"line 5: field MODE: "ss" is not `fs4`, `fs5` or `pt`"#),
        (
            "host bind 00:03.0 1 pt 1000 0",
            r#"line 5: field TABLE: "1000" is not 0, as pass-through has no table"#,
        ),
        ("host bind 00:03.0 1 pt 0 0 sre", r#"line 5: "sre" after the last field"#),
        ("host bind 00:03.0 1 fs4 1800 0", r#"line 5: field TABLE: "1800" is not 4 KiB aligned"#),
        (
            "host bind 00:03.0 1 fs4 1000 10000",
            r#"line 5: field DID: "10000" is not a hexadecimal number of at most 16 bits"#,
        ),
        (
            "host bind 00:03.0 1 fs4 1000 0 nxe",
            r#"line 5: field flags: "nxe" is not `sre`, `wpe` or `eafe`"#,
        ),
        (
            "host bind 00:03.0 1 fs4 1000 0 sre sre",
            r#"line 5: field flags: "sre" is not given for the first time"#,
        ),
        ("host unbind 00:03.0 1 5", r#"line 5: "5" after the last field"#),
        (
            "host invalidate 00:03.0 1 1000 all",
            r#"line 5: field PAGES: "all" is not a hexadecimal number of at most 64 bits, or `all` after address 0"#,
        ),
        ("host invalidate 00:03.0 1 1001 1", r#"line 5: field ADDR: "1001" is not 4 KiB aligned"#),
        (
            "host invalidate 00:03.0 1 0 0",
            r#"line 5: field PAGES: "0" is not a number of pages, not 0, that end within the address space"#,
        ),
        (
            "host invalidate 00:03.0 1 1000 10000000000000",
            r#"line 5: field PAGES: "10000000000000" is not a number of pages, not 0, that end within the address space"#,
        ),
        // What a message repeats of the file is short and printable.
        (&long, r#"line 5: "zzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzz…" is not a kind of event"#),
        ("\u{1b}[31m", r#"line 5: "\u{1b}[31m" is not a kind of event"#),
    ];
    for (line, message) in table {
        assert_eq!(refusal(format!("{HEADER}{line}\nreset\n").as_bytes()), message);
    }
}

#[test]
fn bytes_have_a_length_of_their_kind() {
    for (kind, length, expected) in
        [("mem", 65, "a multiple of 64 from 64 to 524224"), ("iommu-write", 65, "1 to 64")]
    {
        let text = format!("{HEADER}{kind} 0 {}\n", "00".repeat(length));
        let message = format!("line 5: field BYTES: {length} bytes are not {expected}");
        assert_eq!(refusal(text.as_bytes()), message);
    }
}

#[test]
fn headers_are_read_and_written() -> Result<(), FormatError> {
    let mut all = Header::new(0x81d2_008c_222f_0686, u64::MAX, 0x10);
    all.guest = Some("Linux 6.12, naïve: first-stage".into());
    all.host_address_width = Some(48);
    all.strict = true;
    all.ignore = Ignored { fault: true, msi: true, host: true, iommu_write: true };
    let mut some = Header::new(0, 0, 0);
    some.ignore.msi = true;
    let table = [
        (
            all,
            "# vtd-recording 1\n# guest: Linux 6.12, naïve: first-stage\n# cap 81d2008c222f0686\n\
             # ecap ffffffffffffffff\n# ver 10\n# haw 30\n# strict\n# ignore fault msi host iommu-write\n",
        ),
        (some, "# vtd-recording 1\n# cap 0\n# ecap 0\n# ver 0\n# ignore msi\n"),
        (Header::new(1, 2, 0x10), HEADER),
    ];
    for (header, text) in table {
        assert_eq!(String::from_utf8_lossy(&written(&header, &[])?), text);
        assert_eq!(*Reader::new(text.as_bytes())?.header(), header);
    }
    let shuffled = "# vtd-recording 1\r\n\r\n# found in the field\r\n#ver 10\r\n# ecap 2\r\n# cap 1\r\nreset\r\n# strict\r\n";
    assert_eq!(*Reader::new(shuffled.as_bytes())?.header(), Header::new(1, 2, 0x10));
    Ok(())
}

#[test]
fn ignored_kinds_are_those_that_a_header_can_name() {
    let ignored = Ignored { iommu_write: true, ..Ignored::default() };
    assert!(ignored.contains(EventKind::IommuWrite));
    assert!(!ignored.contains(EventKind::Host) && !ignored.contains(EventKind::Mem));
}

#[test]
fn bad_headers_are_refused() {
    let table = [
        ("", r#"line 1: "" is not the first line of a recording, `# vtd-recording 1`"#),
        (
            "\n# vtd-recording 1\n",
            r#"line 1: "" is not the first line of a recording, `# vtd-recording 1`"#,
        ),
        ("reset\n", r#"line 1: "reset" is not the first line of a recording, `# vtd-recording 1`"#),
        (
            "# vtd-recording 2\n",
            r#"line 1: version "2" of the recording format is not supported, only 1 is"#,
        ),
        (
            "# vtd-recording\n",
            r#"line 1: version "" of the recording format is not supported, only 1 is"#,
        ),
        ("# vtd-recording 1 beta\n", r#"line 1: "beta" after the last field"#),
        (
            "# vtd-recording 1\n# ecap 2\n# ver 10\nreset\n# cap 1\n",
            "line 4: the header has no line `# cap …`, which must come before the first event",
        ),
        (
            "# vtd-recording 1\n# cap 1\n# ver 10\n",
            "line 3: the header has no line `# ecap …`, which must come before the first event",
        ),
        (
            "# vtd-recording 1\n# cap 1\n# ecap 2\nfrob\n",
            "line 4: the header has no line `# ver …`, which must come before the first event",
        ),
        (
            "# vtd-recording 1\n# cap\n",
            "line 2: field cap is missing: expected a hexadecimal number of at most 64 bits",
        ),
        (
            "# vtd-recording 1\n# ver 100000000\n",
            r#"line 2: field ver: "100000000" is not a hexadecimal number of at most 32 bits"#,
        ),
        (
            "# vtd-recording 1\n# cap 1\n# cap 1\n",
            "line 3: the header already has a line `# cap …`",
        ),
        ("# vtd-recording 1\n# cap 1 2\n", r#"line 2: "2" after the last field"#),
        (
            // Written in decimal by mistake.
            "# vtd-recording 1\n# haw 53\n",
            r#"line 2: field haw: "53" is not a width in bits, hexadecimal, of c to 34 (12 to 52)"#,
        ),
        (
            "# vtd-recording 1\n# ignore msi read\n",
            r#"line 2: field ignore: "read" is not `fault`, `msi`, `host` or `iommu-write`"#,
        ),
        (
            "# vtd-recording 1\n# ignore\n",
            "line 2: field ignore is missing: expected `fault`, `msi`, `host` or `iommu-write`",
        ),
    ];
    for (text, message) in table {
        assert_eq!(refusal(text.as_bytes()), message);
    }
}

#[test]
fn text_that_is_not_utf8_is_refused() {
    let text = [HEADER.as_bytes(), b"reset\nze\xffro 1000\n"].concat();
    assert_eq!(refusal(&text), "line 6: byte 3 is not UTF-8");
    assert_eq!(refusal(b"\x7fELF\xff\xff"), "line 1: byte 5 is not UTF-8");
}

#[test]
fn nothing_follows_an_error() -> Result<(), FormatError> {
    let mut reader = Reader::new(
        concat!("# vtd-recording 1\n# cap 1\n# ecap 2\n# ver 10\n", "reset\nfrob\nreset\n")
            .as_bytes(),
    )?;
    assert!(matches!(reader.next(), Some(Ok((5, Event::Reset)))));
    assert!(matches!(reader.next(), Some(Err(error)) if error.line() == 6));
    assert!(reader.next().is_none());
    Ok(())
}

#[test]
fn an_endless_line_is_refused() {
    let refused = format!("line 5: longer than {LONGEST_LINE} bytes");
    let endless = HEADER.as_bytes().chain(BufReader::new(io::repeat(b'0')));
    let message = Reader::new(endless).map(|_| ()).map_err(|error| error.to_string());
    assert_eq!(message, Err(refused));
}

#[test]
fn the_longest_line_is_read() -> Result<(), FormatError> {
    let spaces = " ".repeat(LONGEST_LINE - "reset".len());
    for end in ["", "\n"] {
        assert_eq!(events(format!("{HEADER}reset{spaces}{end}").as_bytes())?, [Event::Reset]);
        let message = refusal(format!("{HEADER}reset {spaces}{end}").as_bytes());
        assert_eq!(message, format!("line 5: longer than {LONGEST_LINE} bytes"));
    }
    let longest = Event::Mem { gpa: Gpa(!0xf_ffff), bytes: vec![0x5a; 524_224] };
    let text = written(&Header::new(1, 2, 0x10), slice::from_ref(&longest))?;
    assert_eq!(events(&text)?, [longest]);
    Ok(())
}

/// Input and output that fail, as a full disk does.
struct Broken;

impl Read for Broken {
    fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
        Err(io::Error::other("unplugged"))
    }
}

impl io::Write for Broken {
    fn write(&mut self, _: &[u8]) -> io::Result<usize> {
        Err(io::Error::other("full"))
    }

    fn flush(&mut self) -> io::Result<()> {
        Err(io::Error::other("full"))
    }
}

#[test]
fn failures_of_input_and_output_keep_their_source() {
    let source = |error: FormatError| {
        (error.to_string(), error.source().map(ToString::to_string).unwrap_or_default())
    };
    let input = HEADER.as_bytes().chain(BufReader::new(Broken));
    let read = Reader::new(input).map(|_| ()).map_err(source);
    assert_eq!(read, Err(("line 5: the recording cannot be read".into(), "unplugged".into())));
    let write = Writer::new(Broken, &Header::new(1, 2, 0x10)).map(|_| ()).map_err(source);
    assert_eq!(write, Err(("line 1: the recording cannot be written".into(), "full".into())));
}

#[test]
fn what_cannot_be_read_is_not_written() -> Result<(), FormatError> {
    let table = [
        (
            Event::Mem { gpa: Gpa(0), bytes: Vec::new() },
            "line 5: field BYTES: 0 bytes are not a multiple of 64 from 64 to 524224",
        ),
        (
            Event::Mem { gpa: Gpa(0), bytes: vec![0; 524_288] },
            "line 5: field BYTES: 524288 bytes are not a multiple of 64 from 64 to 524224",
        ),
        (
            Event::IommuWrite { gpa: Gpa(0), bytes: Vec::new() },
            "line 5: field BYTES: 0 bytes are not 1 to 64",
        ),
        (Event::Zero { gpa: Gpa(1) }, r#"line 5: field GPA: "1" is not 4 KiB aligned"#),
        (Event::Read { offset: 0, size: 9, value: 0 }, r#"line 5: field SIZE: "9" is not 1 to 8"#),
        (
            Event::Write { offset: 0, size: 2, value: 0x1_0000 },
            r#"line 5: field V: "10000" is not a number of SIZE bytes"#,
        ),
    ];
    for (event, message) in table {
        let mut writer = Writer::new(Vec::new(), &Header::new(1, 2, 0x10))?;
        let refused = writer.write(&event).map_err(|error| error.to_string());
        assert_eq!(refused, Err(message.into()));
        writer.write(&Event::Reset)?;
        assert_eq!(writer.finish()?, format!("{HEADER}reset\n").as_bytes());
    }
    for guest in [" padded", "two\nlines"] {
        let mut header = Header::new(1, 2, 0x10);
        header.guest = Some(guest.into());
        let refused = written(&header, &[]).map_err(|error| error.to_string());
        let message =
            format!("line 2: field guest: {guest:?} is not one line without spaces around it");
        assert_eq!(refused, Err(message));
    }
    let mut header = Header::new(1, 2, 0x10);
    header.host_address_width = Some(64);
    let refused = written(&header, &[]).map_err(|error| error.to_string());
    let message =
        r#"line 5: field haw: "40" is not a width in bits, hexadecimal, of c to 34 (12 to 52)"#;
    assert_eq!(refused, Err(message.into()));
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

#[test]
fn shipped_files_are_written_again_byte_for_byte() -> Result<(), Box<dyn Error>> {
    let files = corpus()?;
    assert!(!files.is_empty());
    for file in files {
        let text = fs::read(&file)?;
        let mut reader = Reader::new(text.as_slice())?;
        let mut writer = Writer::new(Vec::with_capacity(text.len()), reader.header())?;
        while let Some((_, event)) = reader.next().transpose()? {
            writer.write(&event)?;
        }
        let copy = writer.finish()?;
        let differing = text.lines().zip(copy.lines()).position(|(a, b)| a.ok() != b.ok());
        assert_eq!(differing, None, "{}", file.display());
        assert!(text == copy, "{}", file.display());
    }
    Ok(())
}

#[test]
fn a_file_cut_anywhere_never_panics() -> Result<(), Box<dyn Error>> {
    for file in corpus()? {
        let text = fs::read(&file)?;
        // What stands before the last lines was read by the cut before, so the start is enough of a large file.
        for end in (0..text.len().min(20_000)).step_by(97) {
            let cut = &text[..end];
            let lines = u64::try_from(cut.lines().count())?;
            if let Err(error) = events(cut) {
                assert!((1..=lines.max(1)).contains(&error.line()), "{}: {error}", file.display());
            }
        }
        // And the last line alone, cut at every 97th byte of the whole file.
        for end in (0..text.len()).step_by(97) {
            let start = text[..end].iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
            let _ = events(&[HEADER.as_bytes(), &text[start..end]].concat());
        }
    }
    Ok(())
}

#[test]
fn noise_never_panics() -> Result<(), Box<dyn Error>> {
    let mut noise = Noise(0x9e37_79b9_7f4a_7c15);
    for _ in 0..2_000 {
        let length = usize::try_from(noise.next() % 512)?;
        let bytes: Vec<u8> = (0..length).map(|_| noise.next().to_le_bytes()[3]).collect();
        let _ = events(&bytes);
        let _ = events(&[HEADER.as_bytes(), &bytes].concat());
    }
    // Noise in place of single bytes reaches further: what is still read is still written, and read again the same.
    for file in corpus()? {
        let text = fs::read(&file)?;
        let text = &text[..text.len().min(20_000)];
        for _ in 0..100 {
            let mut text = text.to_vec();
            for _ in 0..4 {
                let at = usize::try_from(noise.next())? % text.len();
                text[at] = b" \n\t#-:.0123789abcdefrwxyz\xff"[usize::try_from(noise.next() % 26)?];
            }
            let Ok(reader) = Reader::new(text.as_slice()) else { continue };
            let header = reader.header().clone();
            let read: Vec<Event> = reader.map_while(Result::ok).map(|(_, event)| event).collect();
            assert_eq!(events(&written(&header, &read)?)?, read);
        }
    }
    Ok(())
}
