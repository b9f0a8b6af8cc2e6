//! Bad lines and their messages.

use std::io::{self, BufReader, Read};
use std::slice;

use vtd_recording::format::{Event, FormatError, Header, LONGEST_LINE, Reader};
use vtd_spec::Gpa;

use crate::text::{HEADER, events, refusal, written};

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
        (
            "dma 00:03.0 1 rw 0 fault",
            r#"line 5: field ACCESS: "rw" is not `r` or `w`, then any of `x`, `p` and `z` in this order"#,
        ),
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
            "line 5: field CALL is missing: expected `bind`, `replace`, `unbind`, `invalidate`, `map` or `unmap`",
        ),
        (
            "host fail",
            r#"line 5: field CALL: "fail" is not `bind`, `replace`, `unbind`, `invalidate`, `map` or `unmap`"#,
        ),
        (
            "host bind 00:03.0 1 ss 0 0",
            r#"line 5: field MODE: "ss" is not `fs4`, `fs5`, `ss3`, `ss4`, `ss5` or `pt`"#,
        ),
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
