//! How the program ends.

use std::process::ExitCode;

/// How the program ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ExitStatus {
    Passed = 0,
    Failed = 1,
    // 2 is clap's, for a wrong command line.
    MachineLacks = 3,
    NotPrepared = 4,
    Interrupted = 130,
}

impl From<ExitStatus> for ExitCode {
    fn from(status: ExitStatus) -> Self {
        Self::from(status as u8)
    }
}

/// What `--help` says of it.
pub(crate) const HELP: &str = "\
Exit status:
  0    every check of every boot passed, or was skipped with a reason
  1    a check failed, a boot hung, or a recording did not replay
  2    a wrong command line
  3    this machine lacks something; what, is said by name. No guest was started
  4    something could not be prepared, built or started; the message says which step, and where its log is
  130  interrupted";
