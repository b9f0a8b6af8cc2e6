//! The command line.

use std::path::PathBuf;

/// Runs fuzz targets, minimises what they find, and keeps it.
#[derive(clap::Args)]
#[command(after_help = "\
Exit status:
  0  nothing was found; with --planted, everything was
  1  an oracle objected to an input, which is kept as a regression; with --planted, a fault was missed
  3  this machine lacks something; what, is said by name
  4  something could not be built or started")]
pub(crate) struct Arguments {
    /// Which targets; all if none is named.
    pub(crate) targets: Vec<String>,
    /// Seconds for each target.
    #[arg(long, default_value_t = 60)]
    pub(crate) time: u64,
    /// Processes at once, which share what they find.
    #[arg(long, default_value_t = 1)]
    pub(crate) workers: u32,
    /// With the address sanitizer, which takes a nightly toolchain.
    #[arg(long)]
    pub(crate) address: bool,
    /// Inputs that reach something new go into corpus/fuzz, which is for the project to keep.
    #[arg(long)]
    pub(crate) keep: bool,
    /// Shows what the kept corpus covers of the library crates, and fuzzes nothing.
    #[arg(long)]
    pub(crate) coverage: bool,
    /// Shows that each planted fault is found from an empty corpus, and fuzzes nothing else.
    #[arg(long)]
    pub(crate) planted: bool,
    /// Only the planted faults of these numbers.
    #[arg(long, value_delimiter = ',')]
    pub(crate) numbers: Vec<u16>,
    /// How many seeds each planted fault is looked for with.
    #[arg(long, default_value_t = 4)]
    pub(crate) seeds: u64,
    /// How many executions each seed has to find a planted fault.
    #[arg(long, default_value_t = 2_000_000)]
    pub(crate) executions: u64,
    /// Writes the table of planted faults there, as Markdown.
    #[arg(long)]
    pub(crate) markdown: Option<PathBuf>,
}
