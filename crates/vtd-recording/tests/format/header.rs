//! The header.

use vtd_recording::format::{EventKind, FormatError, FormatVersion, Header, Ignored, Reader};

use crate::text::{HEADER, refusal, written};

#[test]
fn headers_are_read_and_written() -> Result<(), FormatError> {
    let mut all = Header::new(0x81d2_008c_222f_0686, u64::MAX, 0x10);
    all.guest = Some("Linux 6.12, naïve: first-stage".into());
    all.host_address_width = Some(48);
    all.strict = true;
    all.ignore =
        Ignored { fault: true, msi: true, host: true, iommu_write: true, ..Ignored::default() };
    let mut some = Header::new(0, 0, 0);
    some.ignore.msi = true;
    let mut later = Header::new(1, 2, 0x10);
    later.format_version = FormatVersion::Two;
    later.ignore = Ignored {
        msi: true,
        device_tlb: true,
        page_response: true,
        interrupt_entries: true,
        ..Ignored::default()
    };
    let table = [
        (
            all,
            "# vtd-recording 1\n# guest: Linux 6.12, naïve: first-stage\n# cap 81d2008c222f0686\n\
             # ecap ffffffffffffffff\n# ver 10\n# haw 30\n# strict\n# ignore fault msi host iommu-write\n",
        ),
        (some, "# vtd-recording 1\n# cap 0\n# ecap 0\n# ver 0\n# ignore msi\n"),
        (Header::new(1, 2, 0x10), HEADER),
        (
            later,
            "# vtd-recording 2\n# cap 1\n# ecap 2\n# ver 10\n\
             # ignore msi device-tlb page-response interrupt-entries\n",
        ),
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
        ("", r#"line 1: "" is not the first line of a recording, `# vtd-recording 1` or `2`"#),
        (
            "\n# vtd-recording 1\n",
            r#"line 1: "" is not the first line of a recording, `# vtd-recording 1` or `2`"#,
        ),
        (
            "reset\n",
            r#"line 1: "reset" is not the first line of a recording, `# vtd-recording 1` or `2`"#,
        ),
        (
            "# vtd-recording 3\n",
            r#"line 1: version "3" of the recording format is not supported, only 1 and 2 are"#,
        ),
        (
            "# vtd-recording\n",
            r#"line 1: version "" of the recording format is not supported, only 1 and 2 are"#,
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
            r#"line 2: field ignore: "read" is not `fault`, `msi`, `host`, `iommu-write`, `device-tlb`, `page-response` or `interrupt-entries`"#,
        ),
        (
            "# vtd-recording 2\n# ignore interrupt\n",
            r#"line 2: field ignore: "interrupt" is not `fault`, `msi`, `host`, `iommu-write`, `device-tlb`, `page-response` or `interrupt-entries`"#,
        ),
        (
            "# vtd-recording 1\n# ignore msi interrupt-entries device-tlb\n",
            r#"line 2: field ignore: "device-tlb" needs version 2 of the recording format, and this is version 1"#,
        ),
        (
            "# vtd-recording 1\n# ignore\n",
            "line 2: field ignore is missing: expected `fault`, `msi`, `host`, `iommu-write`, `device-tlb`, `page-response` or `interrupt-entries`",
        ),
    ];
    for (text, message) in table {
        assert_eq!(refusal(text.as_bytes()), message);
    }
}
