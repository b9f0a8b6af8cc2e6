//! The command line.

use std::path::PathBuf;

/// Measures what requests and invalidations cost, next to what they are compared with, and writes docs/performance.md
///
/// Times (criterion), instructions (valgrind's callgrind), hit rates and memory come from the benchmarks of vtd-fuzzing, each side of a comparison in the same run.
/// It takes about three minutes on an idle machine, and times mean little on one that is not idle.
#[derive(clap::Args)]
#[command(after_help = "\
Exit status:
  0    done; with --check every target that can be measured here is met; with --counts nothing takes more instructions than is kept
  1    with --check targets are missed, which are named; with --counts something takes more instructions, which is named
  2    a wrong command line
  3    this machine lacks something; what, is said by name
  4    something could not be built or started
  130  interrupted")]
pub(crate) struct Arguments {
    /// Fails if a target is missed, and names it. Writes no page unless --markdown says where
    #[arg(long)]
    pub(crate) check: bool,
    /// Measures briefly, leaves out what takes long to set up, and writes no page unless --markdown says where
    #[arg(long)]
    pub(crate) quick: bool,
    /// Counts instructions alone, and compares them with those that are kept in the project
    #[arg(long, conflicts_with_all = ["check", "quick", "markdown"])]
    pub(crate) counts: bool,
    /// Keeps what is counted, instead of comparing it
    #[arg(long, requires = "counts")]
    pub(crate) keep: bool,
    /// Writes the page there instead of to docs/performance.md
    #[arg(long, value_name = "FILE")]
    pub(crate) markdown: Option<PathBuf>,
}
