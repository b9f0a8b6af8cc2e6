//! The command line.

use std::path::PathBuf;

use clap::value_parser;

/// Runs fuzz targets, minimises what they find, and keeps it
///
/// Each target runs under libFuzzer for its time, from corpus/fuzz, which the project keeps, and from fuzz/corpus, which is what libFuzzer found before. What an
/// oracle objects to is made smaller, kept as a regression in corpus/fuzz/TARGET/regressions, and shown. Needs cargo-fuzz and
/// a C++ compiler.
#[derive(clap::Args)]
#[command(after_help = "\
Everything after -- goes to libFuzzer: -use_value_profile=1 also counts operands of comparisons as something new (slower, for magic numbers), \
-len_control=0 tries long inputs at once, -seed=1 makes it the same each time. Its -jobs, -workers and -fork are --workers here.

Exit status:
  0    nothing was found; with --planted, everything was
  1    something was found, and is shown; with --planted, a fault was missed
  2    a wrong command line
  3    this machine lacks something; what, is said by name
  4    something could not be built or started
  130  interrupted")]
pub(crate) struct Arguments {
    /// Which targets; all if none is named
    #[arg(value_name = "TARGET")]
    pub(crate) targets: Vec<String>,
    /// Seconds for each target
    #[arg(long, default_value_t = 60, value_parser = value_parser!(u64).range(1..))]
    pub(crate) time: u64,
    /// Processes at once, which share what they find
    #[arg(long, default_value_t = 1, value_parser = value_parser!(u32).range(1..=256))]
    pub(crate) workers: u32,
    /// With the address sanitizer, which takes a nightly toolchain
    #[arg(long)]
    pub(crate) address: bool,
    /// A plain search from the kept corpus, which needs nothing beside Rust, instead of libFuzzer. It does not know what an input reaches
    #[arg(long, conflicts_with_all = ["address", "keep", "options"])]
    pub(crate) search: bool,
    /// Inputs that reach what no kept one does are made smaller and go into corpus/fuzz, which is for the project to keep
    #[arg(long)]
    pub(crate) keep: bool,
    /// Switches a planted fault on, to see it found. It is kept nowhere but in fuzz/artifacts
    #[arg(long, value_name = "NUMBER", conflicts_with_all = ["keep", "planted", "coverage"])]
    pub(crate) fault: Option<u16>,
    /// Shows what the kept corpus covers of the library crates, writes docs/coverage.md, and fuzzes nothing
    #[arg(long, conflicts_with_all = ["targets", "planted", "keep", "address", "search"])]
    pub(crate) coverage: bool,
    /// Shows that each planted fault is found from an empty corpus, and fuzzes nothing else
    #[arg(long, conflicts_with_all = ["targets", "keep", "address", "search"])]
    pub(crate) planted: bool,
    /// Only the planted faults of these numbers
    #[arg(long, value_delimiter = ',', requires = "planted", value_name = "NUMBER,…")]
    pub(crate) numbers: Vec<u16>,
    /// How many seeds each planted fault is looked for with
    #[arg(long, default_value_t = 4, value_parser = value_parser!(u64).range(1..))]
    pub(crate) seeds: u64,
    /// How many executions each seed has to find a planted fault
    #[arg(long, default_value_t = 2_000_000)]
    pub(crate) executions: u64,
    /// Writes the table of planted faults there, as Markdown
    #[arg(long, requires = "planted", value_name = "FILE")]
    pub(crate) markdown: Option<PathBuf>,
    /// Further options for libFuzzer
    #[arg(last = true, value_name = "OPTION")]
    pub(crate) options: Vec<String>,
}
