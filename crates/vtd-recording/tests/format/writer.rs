//! What is not written.

use vtd_recording::format::{Event, FormatError, Header, Writer};
use vtd_spec::Gpa;

use crate::text::{HEADER, written};

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
