//! `vtd-machine --block`.

use std::process::Command;

/// What the program says when it is given these blocks. It ends with exit status 2.
fn refusal(blocks: &[&str]) -> String {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("disk"), [0; 512]).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_vtd-machine"));
    command.current_dir(folder.path()).args(["--folder", "."]);
    for block in blocks {
        command.args(["--block", block]);
    }
    let output = command.output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    String::from_utf8(output.stderr).unwrap()
}

#[test]
fn a_block_that_cannot_be_is_refused_in_words() {
    for (blocks, words) in [
        (["9.0=missing"].as_slice(), "missing: No such file"),
        (&["9.0=."], "directory"),
        (&["9.0=/dev/null"], "whole sectors"),
        (&["9.0"], "DEVICE.FUNCTION=FILE"),
        (&["9.0="], "DEVICE.FUNCTION=FILE"),
        (&["20.0=disk"], "no place on bus 0"),
        (&["9.0=disk", "9.0=disk"], "00:09.0"),
    ] {
        let said = refusal(blocks);
        assert!(said.contains(words), "{blocks:?}: {said}");
    }
}
