//! What a replay makes of lines of version 2.
#![cfg(test)]

use std::fs;
use std::path::Path;

use vtd_recording::replay::{Kind, Options, Report, Tally, replay};

/// A vector in version 2, with these lines behind its own. Its last fault is cleared.
fn replayed(ignore: &str, lines: &str) -> Result<Report, String> {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../corpus/vectors");
    let text = fs::read_to_string(corpus.join("fault-not-present.rec")).unwrap();
    let text = text.replacen("# vtd-recording 1\n", "# vtd-recording 2\n", 1).replacen(
        "# strict\n",
        &format!("# strict\n{ignore}"),
        1,
    );
    let text = format!("{text}write 22c 4 80000000\n{lines}");
    replay(text.as_bytes(), &Options::default(), None).map_err(|error| error.to_string())
}

fn differences(report: &Report) -> Vec<(Kind, &str, &str)> {
    let differences = report.differences.iter();
    differences.map(|one| (one.kind, one.recorded.as_str(), one.ours.as_str())).collect()
}

#[test]
fn a_vector_means_the_same_in_either_version() {
    let report = replayed("", "").unwrap();
    assert_eq!(report.total().differ, 0, "{:?}", report.differences);
    assert_eq!(report.tally(Kind::Fault), Tally { agree: 4, explained: 0, differ: 0 });
}

#[test]
fn requests_execute_and_have_privilege() {
    let fault = "fault 00:03.0 2 rxp 5000 reason 59\nmsi fee00000 21\n";
    let lines = format!("{fault}dma 00:03.0 2 rxp 5000 fault\n");
    let report = replayed("", &lines).unwrap();
    assert_eq!(differences(&report), []);
    assert_eq!(report.tally(Kind::Fault).agree, 5);

    // What the fault says of its request is compared.
    for (recorded, ours) in [
        ("fault 00:03.0 2 r 5000 reason 59", "fault 00:03.0 2 rxp 5000 reason 59"),
        ("fault 00:03.0 2 rp 5000 reason 59", "fault 00:03.0 2 rxp 5000 reason 59"),
        ("fault 00:03.0 2 rxp 5000 reason 59 translation", "fault 00:03.0 2 rxp 5000 reason 59"),
    ] {
        let lines = format!("{recorded}\nmsi fee00000 21\ndma 00:03.0 2 rxp 5000 fault\n");
        let report = replayed("", &lines).unwrap();
        assert_eq!(differences(&report), [(Kind::Fault, recorded, ours)]);
    }
}

#[test]
fn outputs_of_new_kinds_are_compared() {
    let lines = [
        ("device-tlb", Kind::DeviceTlb, "device-tlb 00:03.0 * 0 all"),
        ("page-response", Kind::PageResponse, "page-response 00:03.0 1 1ff 0"),
        ("interrupt-entries", Kind::InterruptEntries, "interrupt-entries all"),
        ("host", Kind::Host, "host map 00:03.0 - 0 1000 1 rw"),
        ("host", Kind::Host, "host bind 00:03.0 - ss4 1000 1"),
    ];
    for (name, kind, line) in lines {
        assert_eq!(kind.name(), name);
        let report = replayed("", &format!("{line}\nreset\n")).unwrap();
        assert_eq!(differences(&report), [(kind, line, "")]);
        let report = replayed(&format!("# ignore {name}\n"), &format!("{line}\nreset\n")).unwrap();
        assert_eq!(differences(&report), []);
    }
}

#[test]
fn inputs_that_a_replay_cannot_carry_out_are_refused() {
    for (lines, wanted) in [
        ("device-tlb-done 00:05.0", "device-tlb-done: no `endpoint` line names it"),
        ("device-tlb-timeout 00:05.0", "device-tlb-timeout: no `endpoint` line names it"),
        ("assign 00:05.0\nendpoint 00:05.0", "it is assigned, so its device TLB is the host's"),
        (
            "assign 00:05.0\ntranslate 00:05.0 - r 0 none",
            "it is assigned, so its device TLB is the host's",
        ),
        ("assign 00:05.0\nrenumber 00:06.0 00:05.0", "renumber: 00:05.0 is attached already"),
        ("endpoint 00:05.0\nrenumber 00:06.0 00:05.0", "renumber: 00:05.0 is attached already"),
        ("release 00:05.0", "00:05.0 cannot be attached: it is not assigned"),
    ] {
        let message = replayed("", &format!("{lines}\n")).unwrap_err();
        assert!(message.starts_with("line ") && message.ends_with(wanted), "{message}");
    }
}
