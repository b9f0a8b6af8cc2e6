//! The program under test.

use std::ffi::OsStr;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use tempfile::TempDir;

pub(crate) const SVA: &str = "recordings/linux-7.3-sva.rec";
pub(crate) const CACHING_MODE: &str = "recordings/linux-6.12-caching-mode.rec";
pub(crate) const VECTOR: &str = "vectors/pasid-d1-d2-d3.rec";

/// Where the shipped files are.
pub(crate) fn corpus() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../corpus")
}

/// What a run of the program left behind.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Run {
    pub(crate) code: i32,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

/// `vtd replay` in the folder of the shipped files, so that messages name them the same way everywhere.
pub(crate) fn command<A: AsRef<OsStr>>(arguments: impl IntoIterator<Item = A>) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_vtd"));
    command.current_dir(corpus()).arg("replay").args(arguments);
    command
}

/// Runs `vtd replay` with these arguments.
pub(crate) fn replay<A: AsRef<OsStr>>(arguments: impl IntoIterator<Item = A>) -> Run {
    replay_with_input(arguments, b"")
}

/// The same, with this on standard input.
pub(crate) fn replay_with_input<A: AsRef<OsStr>>(
    arguments: impl IntoIterator<Item = A>,
    input: &[u8],
) -> Run {
    let mut child = command(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // The program need not read all of it.
    let _ = child.stdin.take().unwrap().write_all(input);
    let output = child.wait_with_output().unwrap();
    Run {
        code: output.status.code().unwrap(),
        stdout: String::from_utf8(output.stdout).unwrap(),
        stderr: String::from_utf8(output.stderr).unwrap(),
    }
}

/// A shipped file's text.
pub(crate) fn shipped(file: &str) -> String {
    fs::read_to_string(corpus().join(file)).unwrap()
}

/// A folder for files of a test.
pub(crate) struct Files(TempDir);

impl Files {
    pub(crate) fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    pub(crate) fn add(&self, name: &str, content: impl AsRef<[u8]>) -> String {
        fs::write(self.0.path().join(name), content).unwrap();
        self.path(name)
    }

    pub(crate) fn path(&self, name: &str) -> String {
        self.0.path().join(name).to_str().unwrap().to_owned()
    }

    /// A recording in which the guest read another value once: line 11 has the answer 7.
    pub(crate) fn add_differing(&self) -> String {
        let text = shipped(SVA).replacen("read 1c 4 0\n", "read 1c 4 7\n", 1);
        self.add("differing.rec", text)
    }
}
