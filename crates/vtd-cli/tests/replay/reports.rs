//! The reports: for people, for programs, and step by step.

use crate::program::{CACHING_MODE, Files, SVA, VECTOR, replay, replay_with_input, shipped};
use serde_json::{Value, json};

#[test]
fn the_text_of_a_recording() {
    insta::assert_snapshot!(replay([SVA]).stdout);
}

#[test]
fn the_text_of_several_files() {
    let options = ["--assign", "all", "--save-restore-every", "100"];
    insta::assert_snapshot!(replay(options.into_iter().chain([CACHING_MODE, VECTOR])).stdout);
}

#[test]
fn the_steps_of_a_vector() {
    insta::assert_snapshot!(replay(["--step", VECTOR]).stdout);
}

#[test]
fn a_step_shows_requests_and_faults() {
    insta::assert_snapshot!(replay(["--step", "vectors/fault-not-present.rec"]).stdout);
}

#[test]
fn lines_of_memory_are_no_steps() {
    let run = replay(["--step", SVA]);
    assert_eq!(run.code, 0);
    assert!(!run.stdout.contains("  mem ") && !run.stdout.contains("  zero "));
    let longest = run.stdout.lines().map(|line| line.chars().count()).max();
    assert!(longest < Some(140), "{longest:?}");
}

#[test]
fn the_json_of_a_vector() {
    let run = replay(["--format", "json", VECTOR]);
    assert_eq!((run.code, run.stderr.as_str()), (0, ""));
    insta::assert_snapshot!(run.stdout);
}

/// A vector in version 2 with outputs of the kinds that version 2 adds, none of which the unit has.
fn version_2() -> String {
    let text = shipped(VECTOR).replacen("# vtd-recording 1", "# vtd-recording 2", 1);
    let lines = [
        "device-tlb 00:03.0 * 0 all",
        "device-tlb 00:03.0 1 7000 10",
        "page-response 00:03.0 1 1ff f",
        "interrupt-entries 10 8",
        "host map 00:03.0 - 0 1000 1 rw",
        "fault 00:03.0 - w 5 reason 22 interrupt",
    ];
    text + &lines.join("\n") + "\n"
}

#[test]
fn the_text_of_version_2() {
    insta::assert_snapshot!(replay_with_input(["-"], version_2().as_bytes()).stdout);
}

#[test]
fn the_json_of_version_2() {
    let run = replay_with_input(["--format", "json", "-"], version_2().as_bytes());
    insta::assert_snapshot!(run.stdout);
}

#[test]
fn json_has_every_file_difference_and_error() {
    let files = Files::new();
    let (differing, garbage) = (files.add_differing(), files.add("garbage.rec", "no recording\n"));
    let run = replay(["--format", "json", &garbage, SVA, "none.rec", &differing]);
    assert_eq!(run.code, 2);
    let document: Value = serde_json::from_str(&run.stdout).unwrap();

    let reports = document["files"].as_array().unwrap();
    let names: Vec<_> = reports.iter().map(|report| report["file"].as_str().unwrap()).collect();
    assert_eq!(names, [SVA, &differing]);
    assert_eq!(reports[0]["differences"], json!([]));
    let difference =
        json!({"line": 11, "kind": "read", "recorded": "read 1c 4 7", "ours": "read 1c 4 0"});
    assert_eq!(reports[1]["differences"], json!([difference]));
    assert_eq!(document["total"]["differ"], 1);

    let errors = document["errors"].as_array().unwrap();
    assert_eq!(errors.len(), 2);
    assert_eq!((&errors[0]["file"], &errors[0]["line"]), (&json!(garbage), &json!(1)));
    assert_eq!((&errors[1]["file"], &errors[1]["line"]), (&json!("none.rec"), &Value::Null));
    for error in errors {
        // People see the same on standard error.
        let line = format!(
            "error: {}: {}\n",
            error["file"].as_str().unwrap(),
            error["message"].as_str().unwrap()
        );
        assert!(run.stderr.contains(&line), "{line}");
    }
}

#[test]
fn json_without_any_good_file_is_still_a_document() {
    let run = replay(["--format", "json", "none.rec"]);
    assert_eq!(run.code, 2);
    let document: Value = serde_json::from_str(&run.stdout).unwrap();
    assert_eq!(document["files"], json!([]));
    assert_eq!(document["total"], json!({"agree": 0, "explained": 0, "differ": 0}));
}

#[test]
fn json_and_text_have_the_same_numbers() {
    let files = Files::new();
    let differing = files.add_differing();
    for arguments in [
        &[SVA][..],
        &[&differing],
        &[VECTOR],
        &["--assign", "all", CACHING_MODE],
        &["--save-restore-every", "7", "--no-cache", SVA],
    ] {
        let text = replay(arguments).stdout;
        let run = replay(["--format", "json"].iter().chain(arguments));
        let document: Value = serde_json::from_str(&run.stdout).unwrap();
        let report = &document["files"][0];

        let mut kinds = 0;
        for line in text.lines() {
            let words: Vec<_> = line.split_whitespace().collect();
            if let [kind, agree, explained, differ] = words[..]
                && let Ok(agree) = agree.parse::<u64>()
            {
                let tally = &report["kinds"][kind];
                assert_eq!(tally["agree"], agree, "{line}");
                assert_eq!(tally["explained"].to_string(), explained, "{line}");
                assert_eq!(tally["differ"].to_string(), differ, "{line}");
                kinds += 1;
            }
        }
        assert_eq!(kinds, report["kinds"].as_object().unwrap().len());

        let mut lines = Vec::new();
        let departures = report["explained_by"].as_object().unwrap().iter();
        lines.extend(departures.map(|(name, count)| format!("{name} {count}")));
        let caches = &report["caches"];
        for (name, field) in [("context", "context"), ("PASID", "pasid"), ("IOTLB", "translation")]
        {
            let count = |what| &caches[format!("{field}_{what}")];
            lines.push(format!("{name} {} hits, {} misses", count("hits"), count("misses")));
        }
        if arguments.contains(&"--assign") {
            let calls = report["host_calls"].as_object().unwrap().iter();
            lines.extend(calls.map(|(name, count)| format!("{name} {count}")));
        }
        if report["restores"] != 0 {
            lines.push(format!("saves and restores: {}\n", report["restores"]));
        }
        lines.push(format!(
            "{} lines, {} inputs, {} unknown reads",
            report["events"], report["inputs"], report["unknown_reads"]
        ));
        lines.push(format!("\n  {} differ\n", report["total"]["differ"]));
        for line in lines {
            assert!(text.contains(&line), "{line:?} is not in\n{text}");
        }
    }
}
