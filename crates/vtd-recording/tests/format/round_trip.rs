//! Random lines: what is read is written again as it was.

use std::slice;

use vtd_recording::format::{FormatError, FormatVersion, Header, Reader, Writer};

use crate::text::{HEADER, HEADER_2, Noise, events, written};

/// A line of version 2 with random fields, most of them such that the line is good.
fn line(noise: &mut Noise) -> String {
    let kind = noise.pick(&[
        "zero",
        "write",
        "read",
        "dma",
        "fault",
        "iommu-write",
        "msi",
        "assign",
        "release",
        "host",
        "host-fail",
        "reset",
        "translate",
        "translated",
        "endpoint",
        "device-tlb",
        "device-tlb-done",
        "device-tlb-timeout",
        "page-request",
        "page-response",
        "interrupt",
        "interrupt-entries",
        "renumber",
    ]);
    let fields = match kind {
        "zero" => page(noise),
        "write" | "read" => format!("{:x} 8 {:x}", noise.next() & 0xfff, number(noise)),
        "dma" => {
            let perm = noise.pick(&["r", "w", "rw"]);
            let answer = match noise.next() % 2 {
                0 => "fault".into(),
                _ => format!("{} {perm}", translation(noise)),
            };
            format!("{} {} {:x} {answer}", requester(noise), access(noise), number(noise))
        }
        "fault" => {
            let kinds = ["", " translation", " translated", " page-request", " interrupt"];
            let code = noise.next() & 0xff;
            let (kind, access) = (noise.pick(&kinds), access(noise));
            let address = match kind {
                " interrupt" => noise.next() & 0xffff,
                _ => number(noise),
            };
            format!("{} {access} {address:x} reason {code:x}{kind}", requester(noise))
        }
        "iommu-write" => format!("{} {:016x}", page(noise), noise.next()),
        "msi" => format!("{:x} {:x}", number(noise), noise.next() >> 32),
        "assign" | "release" | "device-tlb-done" | "device-tlb-timeout" => device(noise),
        "host" => host(noise),
        "translate" => {
            let answer = match noise.next() % 4 {
                0 => "none".into(),
                1 => "fault".into(),
                _ => {
                    let perm =
                        noise.pick(&["r", "w", "rw", "rx", "rp", "wxp", "rwp", "rwxp", "px"]);
                    let flags = noise.pick(&["", " u", " g", " u g", " g u"]);
                    format!("{} {perm}{flags}", translation(noise))
                }
            };
            format!("{} {} {:x} {answer}", requester(noise), access(noise), number(noise))
        }
        "translated" => {
            let answer = noise.pick(&["ok", "fault"]);
            format!("{} {} {:x} {answer}", requester(noise), access(noise), number(noise))
        }
        "endpoint" => format!("{}{}", device(noise), noise.pick(&["", " later"])),
        "device-tlb" => {
            let pasid = noise.pick(&["-", "*", "0", "fffff", "100000"]);
            format!("{} {pasid} {}", device(noise), range(noise))
        }
        "page-request" => {
            let access = noise.pick(&["r", "w", "rw", "-", "rx", "rwp", "-p", "-xp", "wr", "x"]);
            let (group, last) = (noise.next() % 0x240, noise.pick(&["", " last"]));
            format!("{} {access} {} {group:x}{last}", requester(noise), page(noise))
        }
        "page-response" => {
            let code = noise.pick(&["0", "1", "f", "2"]);
            format!("{} {:x} {code}", requester(noise), noise.next() % 0x240)
        }
        "interrupt" => {
            let answer = match noise.next() % 2 {
                0 => "blocked".into(),
                _ => format!("{:x} {:x}", number(noise), noise.next() >> 32),
            };
            let data = noise.next() >> 32;
            format!("{} {:x} {data:x} {answer}", device(noise), number(noise))
        }
        "interrupt-entries" => match noise.next() % 4 {
            0 => "all".into(),
            _ => format!("{:x} {:x}", noise.next() & 0xffff, 1 << (noise.next() % 18)),
        },
        "renumber" => format!("{} {}", device(noise), device(noise)),
        _ => return kind.into(),
    };
    format!("{kind} {fields}")
}

fn host(noise: &mut Noise) -> String {
    let slot = requester(noise);
    let (table, did) = (page(noise), noise.next() & 0xffff);
    match noise.next() % 6 {
        0 => {
            let mode = noise.pick(&["fs4", "fs5", "ss3", "ss4", "ss5"]);
            let flags = noise.pick(&["", " sre", " wpe", " sre wpe eafe", " eafe"]);
            let call = noise.pick(&["bind", "replace"]);
            format!("{call} {slot} {mode} {table} {did:x}{flags}")
        }
        1 => format!("bind {slot} pt 0 {did:x}"),
        2 => format!("unbind {slot}"),
        3 => format!("invalidate {slot} {}", range(noise)),
        4 => {
            let perm = noise.pick(&["r", "w", "rw", "rx"]);
            let pages = noise.next() & 0xfff;
            format!("map {slot} {} {} {pages:x} {perm}", page(noise), page(noise))
        }
        _ => format!("unmap {slot} {} {:x}", page(noise), noise.next() & 0xfff),
    }
}

/// A number whose width is random too.
fn number(noise: &mut Noise) -> u64 {
    let bits = noise.next() % 64;
    noise.next() >> bits
}

fn page(noise: &mut Noise) -> String {
    let slip = u64::from(noise.next().is_multiple_of(64));
    format!("{:x}", number(noise) & !0xfff | slip)
}

fn device(noise: &mut Noise) -> String {
    let [bus, device, function, ..] = noise.next().to_le_bytes();
    format!("{bus:02x}:{:02x}.{}", device & 0x1f, function & 7)
}

fn requester(noise: &mut Noise) -> String {
    let pasid = match noise.next() % 2 {
        0 => "-".into(),
        _ => format!("{:x}", number(noise) & 0xf_ffff),
    };
    format!("{} {pasid}", device(noise))
}

fn access(noise: &mut Noise) -> &'static str {
    noise.pick(&["r", "w", "r", "w", "rx", "rp", "wp", "rz", "rxp", "rxpz", "wx", "wz", "pr"])
}

fn translation(noise: &mut Noise) -> String {
    let bits = 12 + noise.next() % 40;
    format!("{} {:x}", page(noise), (1_u64 << bits) - 1)
}

fn range(noise: &mut Noise) -> String {
    match noise.next() % 2 {
        0 => "0 all".into(),
        _ => format!("{} {:x}", page(noise), number(noise)),
    }
}

#[test]
fn what_is_read_is_written_again_as_it_was() -> Result<(), FormatError> {
    let mut noise = Noise(0x2545_f491_4f6c_dd1d);
    let (mut good, mut old) = (0, 0);
    for _ in 0..40_000 {
        let line = line(&mut noise);
        let text = format!("{HEADER_2}{line}\n");
        let event = match events(text.as_bytes()) {
            Ok(events) => events.into_iter().next().expect("one line"),
            Err(error) => {
                assert_eq!(error.line(), 5, "{line}: {error}");
                continue;
            }
        };
        assert_eq!(event.to_string(), line);
        good += 1;
        // The two versions differ in what they have, not in what a line means.
        let needs_2 = event.since() == FormatVersion::Two;
        match events(format!("{HEADER}{line}\n").as_bytes()) {
            Ok(read) => {
                assert!(!needs_2, "{line}");
                assert_eq!(read, slice::from_ref(&event));
                old += 1;
            }
            Err(error) => assert!(needs_2, "{line}: {error}"),
        }
        let mut header = Header::new(1, 2, 0x10);
        assert_eq!(written(&header, slice::from_ref(&event)).is_err(), needs_2, "{line}");
        header.format_version = FormatVersion::Two;
        assert_eq!(written(&header, slice::from_ref(&event))?, text.as_bytes());
    }
    // Lines that are all refused, or all of version 1, would show little.
    assert!(good > 20_000 && old > 5_000 && good - old > 10_000, "{good} good, {old} old");
    Ok(())
}

#[test]
fn letters_that_change_never_panic() -> Result<(), FormatError> {
    let mut noise = Noise(0x9e37_79b9_7f4a_7c15);
    let mut still_good = 0;
    for _ in 0..40_000 {
        let mut line = line(&mut noise).into_bytes();
        for _ in 0..=noise.next() % 3 {
            let at = usize::try_from(noise.next() % line.len() as u64).expect("an index");
            line[at] = noise.pick(b" \t#-*:.0179afrwxpzug\xff\0");
        }
        let text = [HEADER_2.as_bytes(), &line, b"\nreset\n"].concat();
        // Where the header ends is seen from the line itself.
        let mut reader = match Reader::new(text.as_slice()) {
            Ok(reader) => reader,
            Err(error) => {
                assert_eq!(error.line(), 5, "{error}");
                continue;
            }
        };
        let mut writer = Writer::new(Vec::new(), reader.header())?;
        match reader.next() {
            Some(Ok((at, event))) => {
                writer.write(&event)?;
                still_good += u64::from(at == 5);
            }
            Some(Err(error)) => assert_eq!(error.line(), 5, "{error}"),
            None => panic!("the last line is good"),
        }
        let copy = writer.finish()?;
        let again = events(&copy)?;
        assert_eq!(written(reader.header(), &again)?, copy);
    }
    assert!(still_good > 1_000, "{still_good}");
    Ok(())
}
