//! Answers that are held against what the guest had been told is invalid.

use serde_json::Value;

use crate::program::{Files, SVA, replay, shipped};

/// A recording in which every answer is what the unit gives, and a device uses what it was told to drop: in line 40 it is given a
/// page for the first time, which the descriptor that line 54 tells of takes back, and line 56 is its last request.
fn used_after_invalidation() -> String {
    let words = [0x1_0018_0008_u64, 0x7fff_ffff_ffff_f800, 0, 0, 0x1_0000_0025, 0x9000, 0, 0];
    let bytes: String = words
        .iter()
        .flat_map(|word| word.to_le_bytes())
        .map(|byte| format!("{byte:02x}"))
        .collect();
    let lines = [
        "translated 00:03.0 - r 777abc ok",
        &format!("mem 8000 {bytes}"),
        "write 88 8 40",
        "iommu-write 9000 01000000",
        "translated 00:03.0 - r 777abc ok",
    ];
    shipped("vectors/requests/translate.rec") + &lines.join("\n") + "\n"
}

#[test]
fn a_use_after_an_invalidation_is_1_and_is_shown() {
    let files = Files::new();
    let file = files.add("used.rec", used_after_invalidation());
    let run = replay([&file]);
    assert_eq!((run.code, run.stderr.as_str()), (1, ""));
    let name = format!("{file}: ");
    let shown: String = run.stdout.replace(&name, "");
    insta::assert_snapshot!(shown);
    let several = replay([&file, SVA]);
    assert_eq!(several.code, 1);
    let total = several.stdout.lines().last().unwrap();
    assert!(total.ends_with(" 0 differ, 1 used after invalidation"), "{total}");
}

#[test]
fn the_json_of_a_use_after_an_invalidation() {
    let files = Files::new();
    let run = replay(["--format", "json", &files.add("used.rec", used_after_invalidation())]);
    assert_eq!(run.code, 1);
    let document: Value = serde_json::from_str(&run.stdout).unwrap();
    assert_eq!(document["violations"], 1);
    assert_eq!(document["total"]["differ"], 0);
    insta::assert_snapshot!(serde_json::to_string_pretty(&document["files"][0]["audit"]).unwrap());
}

#[test]
fn the_audit_can_be_left_out() {
    let files = Files::new();
    let file = files.add("used.rec", used_after_invalidation());
    for (options, code) in [
        (&[][..], 1),
        (&["--audit"], 1),
        (&["--quiet", "--audit"], 1),
        (&["--no-audit"], 0),
        (&["--no-audit", "--audit"], 1),
        (&["--audit", "--no-audit"], 0),
        (&["--no-cache"], 1),
        (&["--save-restore-every", "1"], 1),
        (&["--differences", "0"], 1),
    ] {
        let run = replay(options.iter().copied().chain([file.as_str()]));
        assert_eq!((run.code, run.stderr.as_str()), (code, ""), "{options:?}");
    }
    assert!(!replay(["--no-audit", &file]).stdout.contains("audit"));
    let none_shown = replay(["--differences", "0", &file]).stdout;
    assert!(
        none_shown.contains("  and 1 more uses that --differences would show\n"),
        "{none_shown}"
    );
    let json = replay(["--format", "json", "--no-audit", &file]).stdout;
    let document: Value = serde_json::from_str(&json).unwrap();
    assert_eq!(document["files"][0]["audit"], Value::Null);
}
