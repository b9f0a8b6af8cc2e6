//! Files that cannot be replayed: each is refused with a message, whatever it holds.

use crate::program::{Files, Run, SVA, VECTOR, replay, shipped};

/// Replays a bad file; what the message says after the file's name.
fn complaint(file: &str) -> String {
    let Run { code, stdout, stderr } = replay([file]);
    assert_eq!((code, stdout.as_str()), (2, ""), "{stderr}");
    let start = format!("error: {file}: ");
    stderr.strip_prefix(&start).expect(&stderr).trim_end().to_owned()
}

/// A vector with another line at its end.
fn with_last_line(line: &str) -> String {
    shipped(VECTOR) + line + "\n"
}

#[test]
fn the_message_names_line_and_field() {
    let files = Files::new();
    for (content, wanted) in [
        (String::new(), "line 1: \"\" is not the first line of a recording"),
        ("no recording\n".into(), "line 1: \"no recording\" is not the first line"),
        (shipped(VECTOR).replacen(" 1\n", " 9\n", 1), "line 1: version \"9\""),
        (shipped(VECTOR).replacen("# cap", "# cup", 1), "the header has no line `# cap …`"),
        (shipped(VECTOR).replacen("# ver 10", "# ver x", 1), "line 5: field ver: \"x\""),
        (
            shipped(VECTOR).replacen("# ecap 3c99800000f46", "# ecap 0", 1),
            "line 4: IVA and IOTLB at offset 0x0",
        ),
        (with_last_line("write 18 4 zz"), "line 71: field V: \"zz\""),
        (with_last_line("write 18 4"), "line 71: field V is missing"),
        (with_last_line("write 18 4 1 1"), "line 71: \"1\" after the last field"),
        (with_last_line("dma 00:03.0 - x 0 fault"), "line 71: field ACCESS: \"x\""),
        (with_last_line("wrote 18 4 0"), "line 71: \"wrote\" is not a kind of event"),
        (with_last_line("assign 00:03.0"), "line 71: 00:03.0 cannot be attached"),
        (with_last_line("release 00:09.0"), "line 71: 00:09.0 cannot be attached"),
        (with_last_line(&"a".repeat(3 << 20)), "line 71: longer than 1048576 bytes"),
    ] {
        let complaint = complaint(&files.add("bad.rec", &content));
        assert!(complaint.contains(wanted), "{complaint}\nis not\n{wanted}");
        assert!(complaint.len() < 300, "{complaint}");
    }
}

/// The same vector in version 2.
fn in_version_2(line: &str) -> String {
    with_last_line(line).replacen("# vtd-recording 1\n", "# vtd-recording 2\n", 1)
}

#[test]
fn the_message_names_line_and_field_of_version_2() {
    let files = Files::new();
    for (line, wanted) in [
        ("dma 00:03.0 - rq 0 fault", "field ACCESS: \"rq\" is not `r` or `w`"),
        ("dma 00:03.0 - wx 0 fault", "field ACCESS: \"wx\" is not a read"),
        ("fault 00:03.0 - r 0 reason 1 ats", "field KIND: \"ats\" is not `translation`"),
        ("translate 00:03.0 - r 0 0 fff", "field PERM is missing"),
        ("device-tlb 00:03.0 - 1 1", "field ADDR: \"1\" is not 4 KiB aligned"),
        ("page-request 00:03.0 - r 0 200", "field GROUP: \"200\" is not a group of 9 bits"),
        ("interrupt-entries 0 10001", "field COUNT: \"10001\" is not a number of entries"),
        ("host map 00:03.0 - 0 0 0 r", "field PAGES: \"0\" is not a number of pages"),
    ] {
        let complaint = complaint(&files.add("bad.rec", in_version_2(line)));
        assert!(complaint.starts_with(&format!("line 71: {wanted}")), "{complaint}");
    }
}

#[test]
fn version_1_has_nothing_of_version_2() {
    let files = Files::new();
    for (line, wanted) in [
        ("endpoint 00:03.0", "line 71: \"endpoint\" needs version 2"),
        ("dma 00:03.0 - rp 0 fault", "line 71: field ACCESS: \"rp\" needs version 2"),
    ] {
        let complaint = complaint(&files.add("bad.rec", with_last_line(line)));
        assert!(complaint.starts_with(wanted), "{complaint}");
    }
}

/// What no device can be asked for is said, not passed over.
#[test]
fn what_a_device_cannot_do_is_refused() {
    let files = Files::new();
    for (line, wanted) in [
        ("device-tlb-done 00:03.0", "device-tlb-done: no `endpoint` line names it"),
        ("endpoint 00:03.0", "00:03.0 cannot be attached: it is assigned"),
    ] {
        let complaint = complaint(&files.add("unable.rec", in_version_2(line)));
        assert!(complaint.starts_with(&format!("line 71: {wanted}")), "{complaint}");
    }
}

/// Letters of a shipped file that change: an answer or a refusal with its line, never a panic.
#[test]
fn a_file_with_changed_letters_is_refused_or_replayed_but_never_more() {
    let files = Files::new();
    let mut state = 0x2545_f491_4f6c_dd1d_u64;
    let mut random = |below: usize| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        usize::try_from(state % below as u64).unwrap()
    };
    let letters = b" \n#-:.0123789abcdefrwxyzpu*\xff";
    let mut refused = 0;
    for source in [VECTOR, SVA] {
        let text = shipped(source).replacen("# vtd-recording 1", "# vtd-recording 2", 1);
        for _ in 0..60 {
            let mut text = text.clone().into_bytes();
            // At the start, where the lines are of every kind.
            let length = text.len().min(6_000);
            for _ in 0..=random(3) {
                text[random(length)] = letters[random(letters.len())];
            }
            let run = replay([files.add("changed.rec", &text)]);
            assert!(matches!(run.code, 0..=2), "{run:?}");
            assert!(!run.stderr.contains("panicked"), "{run:?}");
            if run.code == 2 {
                assert!(run.stderr.contains("changed.rec: line "), "{run:?}");
                refused += 1;
            }
        }
    }
    assert!(refused > 20, "{refused}");
}

#[test]
fn what_is_no_file_is_named() {
    let files = Files::new();
    let missing = complaint(&files.path("missing.rec"));
    let folder = complaint(&files.path(""));
    assert!(!missing.is_empty() && !folder.is_empty());
    #[cfg(unix)]
    assert!(folder.contains("directory"), "{folder}");
}

#[test]
fn a_page_that_no_line_names_can_be_an_error() {
    let files = Files::new();
    let text = shipped(VECTOR);
    let unnamed: String = text
        .lines()
        .filter(|line| !line.starts_with("zero 9000") && !line.starts_with("mem 9000"))
        .filter(|line| !line.starts_with("zero 8000") && !line.starts_with("mem 80"))
        .flat_map(|line| [line, "\n"])
        .collect();
    let file = files.add("unnamed.rec", unnamed);

    let run = replay(["--unknown=error", &file]);
    assert_eq!(run.code, 2);
    assert!(run.stderr.contains(": line "), "{}", run.stderr);
    assert!(run.stderr.contains("a page that no line before names"), "{}", run.stderr);

    let run = replay([&file]);
    assert_ne!(run.code, 2, "{}", run.stderr);
    assert!(!run.stdout.contains(" 0 unknown reads"), "{}", run.stdout);
}

#[test]
fn a_truncated_file_is_refused_or_replayed_but_never_more() {
    let files = Files::new();
    let text = shipped(SVA);
    let line = text.find("\nmem ").unwrap() + 40;
    let complaint = complaint(&files.add("cut.rec", text.get(..line).unwrap()));
    assert!(complaint.contains("field BYTES: "), "{complaint}");

    for length in (0..text.len()).step_by(text.len() / 40) {
        let run = replay([files.add("cut.rec", text.get(..length).unwrap())]);
        assert!(matches!(run.code, 0..=2), "{length}: {run:?}");
    }
}

#[test]
fn random_bytes_are_refused() {
    let files = Files::new();
    // xorshift64: the same bytes in every run.
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut random = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state
    };
    for _ in 0..20 {
        let bytes: Vec<u8> = (0..500).flat_map(|_| random().to_le_bytes()).collect();
        complaint(&files.add("random.rec", &bytes));

        let mut text = shipped(VECTOR).into_bytes();
        text.extend(bytes);
        complaint(&files.add("tail.rec", &text));
    }
}

#[test]
fn control_characters_of_a_file_do_not_reach_the_terminal() {
    let files = Files::new();
    let text = shipped(VECTOR).replacen("three devices", "\u{1b}[31mthree\u{7} devices", 1);
    let run = replay([files.add("coloured.rec", text)]);
    assert_eq!(run.code, 0);
    assert!(!run.stdout.contains(['\u{1b}', '\u{7}']), "{}", run.stdout);
}
