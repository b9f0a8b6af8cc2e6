//! The exit status, what goes to which stream, and options that are taken or refused.

use std::process::Stdio;

use crate::program::{
    CACHING_MODE, Files, SVA, VECTOR, command, replay, replay_with_input, shipped,
};

#[test]
fn agreement_is_0_and_leaves_stderr_empty() {
    for options in [
        &[][..],
        &["--no-cache"],
        &["--save-restore-every", "1"],
        &["--save-restore-every", "1000", "--no-cache"],
        &["--unknown", "error"],
        &["--unknown=zero"],
        &["--differences", "0"],
        &["--format", "json"],
    ] {
        let run = replay(options.iter().copied().chain([SVA, VECTOR]));
        assert_eq!((run.code, run.stderr.as_str()), (0, ""), "{options:?}");
    }
}

#[test]
fn a_difference_is_1_and_shows_line_and_both_values() {
    let files = Files::new();
    let run = replay([files.add_differing()]);
    assert_eq!((run.code, run.stderr.as_str()), (1, ""));
    let difference = concat!(
        "  line 11: read differs\n",
        "    recorded: read 1c 4 7\n",
        "    ours:     read 1c 4 0\n",
    );
    assert!(run.stdout.contains(difference), "{}", run.stdout);
    assert!(run.stdout.ends_with("\n  1 differ\n"), "{}", run.stdout);
}

#[test]
fn differences_beyond_the_wanted_ones_are_counted() {
    let files = Files::new();
    let text = shipped(SVA).replace("read 34 4 2\n", "read 34 4 3\n");
    let wrong = text.matches("read 34 4 3\n").count();
    let file = files.add("many.rec", text);
    for shown in [0, 1, 3] {
        let run = replay(["--differences", &shown.to_string(), &file]);
        assert_eq!(run.code, 1);
        assert_eq!(run.stdout.matches("    recorded: read 34 4 3\n").count(), shown);
        let more = format!("  and {} more that --differences would show\n", wrong - shown);
        assert!(run.stdout.contains(&more), "{}", run.stdout);
    }
}

#[test]
fn quiet_prints_nothing_but_errors() {
    let files = Files::new();
    let differing = files.add_differing();
    for (arguments, code) in [
        (vec!["-q", SVA], 0),
        (vec!["--quiet", VECTOR, SVA], 0),
        (vec!["-q", differing.as_str(), SVA], 1),
    ] {
        let run = replay(&arguments);
        assert_eq!((run.code, run.stdout.as_str(), run.stderr.as_str()), (code, "", ""));
    }
    let run = replay(["-q", "none.rec", &differing]);
    assert_eq!((run.code, run.stdout.as_str()), (2, ""));
    assert!(run.stderr.starts_with("error: none.rec: "), "{}", run.stderr);
}

#[test]
fn the_worst_of_several_files_decides_and_all_are_replayed() {
    let files = Files::new();
    let differing = files.add_differing();
    let garbage = files.add("garbage.rec", "no recording\n");
    for (order, code) in [
        (vec![SVA, VECTOR], 0),
        (vec![SVA, &differing, VECTOR], 1),
        (vec![&garbage, SVA, "none.rec", &differing, VECTOR], 2),
        (vec![&differing, &garbage], 2),
    ] {
        let run = replay(&order);
        assert_eq!(run.code, code, "{order:?}");
        for file in &order {
            let is_bad = *file == garbage || *file == "none.rec";
            assert_eq!(run.stderr.contains(&format!("error: {file}: ")), is_bad, "{file}");
            assert_eq!(run.stdout.contains(&format!("{file}: ")), !is_bad, "{file}");
        }
        let bad = match run.stderr.lines().count() {
            0 => String::new(),
            1 => "; 1 file is bad input".to_owned(),
            bad => format!("; {bad} files are bad input"),
        };
        let last = run.stdout.lines().last().unwrap();
        assert!(last.starts_with(&format!("{} files: ", order.len())), "{last}");
        assert!(last.ends_with(&format!(" differ{bad}")), "{last}");
    }
}

#[test]
fn a_dash_is_standard_input() {
    let run = replay_with_input(["-"], shipped(VECTOR).as_bytes());
    assert_eq!((run.code, run.stderr.as_str()), (0, ""));
    assert!(run.stdout.starts_with("-: three devices"), "{}", run.stdout);

    let run = replay_with_input(["-"], b"");
    assert_eq!(run.code, 2);
    assert!(run.stderr.starts_with("error: -: line 1: "), "{}", run.stderr);
}

#[test]
fn assigned_devices_need_caching_mode() {
    let run = replay(["--assign", "00:03.0", CACHING_MODE]);
    assert_eq!((run.code, run.stderr.as_str()), (0, ""));
    assert!(run.stdout.contains("\n  host calls: bind "), "{}", run.stdout);
    assert!(run.stdout.contains("host-fault "), "{}", run.stdout);

    // A device that the recording does not have makes no call, and the summary says so.
    let run = replay(["--assign", "ff:1f.7", CACHING_MODE]);
    let none =
        "  host calls: bind 0, replace 0, unbind 0, invalidate 0, map 0, unmap 0, failed 0\n";
    assert!(run.stdout.contains(none), "{}", run.stdout);

    for assign in ["all", "00:03.0,00:04.0"] {
        let run = replay(["--assign", assign, SVA]);
        assert_eq!((run.code, run.stdout.as_str()), (2, ""));
        let error = format!("error: {SVA}: line 4: no device can be assigned: ");
        assert!(run.stderr.starts_with(&error), "{}", run.stderr);
        assert!(run.stderr.contains("CM (caching mode) 0"), "{}", run.stderr);
    }
}

#[test]
fn a_wrong_command_line_is_2() {
    for (arguments, complaint) in [
        (&[][..], "<FILE>"),
        (&["--assign", "00:03.8", SVA], "not a source-id of the form bus:device.function"),
        (&["--assign", "00:20.0", SVA], "not a source-id"),
        (&["--assign", "00:03.0,", SVA], "not a source-id"),
        (&["--assign", "all,00:03.0", SVA], "not a source-id"),
        (&["--assign", "", SVA], "not a source-id"),
        (&["--save-restore-every", "0", SVA], "--save-restore-every"),
        (&["--save-restore-every", "often", SVA], "--save-restore-every"),
        (&["--differences", "-1", SVA], "-1"),
        (&["--unknown", "ones", SVA], "zero, error"),
        (&["--format", "xml", SVA], "text, json"),
        (&["--format", "json", "--step", SVA], "'--step' cannot be used with '--format json'"),
        (&["--quiet", "--step", SVA], "--step"),
        (&["--quiet", "--format", "json", SVA], "--format"),
        (&["--cache", SVA], "--cache"),
    ] {
        let run = replay(arguments);
        assert_eq!((run.code, run.stdout.as_str()), (2, ""), "{arguments:?}");
        assert!(run.stderr.contains(complaint), "{arguments:?}: {}", run.stderr);
    }
}

#[test]
fn help_tells_the_exit_status() {
    for help in ["-h", "--help"] {
        let run = replay([help]);
        assert_eq!((run.code, run.stderr.as_str()), (0, ""));
        assert!(run.stdout.contains("Exit status:\n  0  every answer agrees"), "{}", run.stdout);
    }
}

#[test]
fn a_reader_that_goes_away_is_no_error() {
    for options in [&["--step"][..], &[], &["--format", "json"]] {
        let arguments = options.iter().copied().chain([SVA]);
        let mut child =
            command(arguments).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        drop(child.stdout.take());
        let output = child.wait_with_output().unwrap();
        assert_eq!(output.status.code(), Some(0), "{options:?}");
        assert_eq!(String::from_utf8_lossy(&output.stderr), "", "{options:?}");
    }
}

#[cfg(target_os = "linux")]
#[test]
fn an_output_that_is_full_is_an_error() {
    let full = std::fs::File::options().write(true).open("/dev/full").unwrap();
    let output = command([SVA]).stdout(full).stderr(Stdio::piped()).output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(stderr.starts_with("error: standard output: "), "{stderr}");
}
