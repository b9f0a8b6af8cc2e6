//! The command line.

use std::collections::BTreeSet;
use std::path::PathBuf;

use clap::error::ErrorKind;
use clap::{Args, CommandFactory, Parser, Subcommand, ValueEnum, value_parser};
use vtd_recording::replay::{Assign, Options, UnknownPages};
use vtd_spec::{ParseSourceIdError, SourceId};

/// Tools for a virtual Intel VT-d remapping unit
#[derive(Debug, Parser)]
#[command(name = "vtd", version, arg_required_else_help = true)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Replays recordings against the unit and compares every answer
    ///
    /// The inputs of each recording (register accesses, requests of devices, devices that come and go) are given to a unit that shows the
    /// recorded capabilities. What the unit answers, reports, writes and sends is compared with what was recorded.
    Replay(ReplayArguments),
}

#[derive(Debug, Args)]
#[command(after_help = EXIT_STATUS)]
pub(crate) struct ReplayArguments {
    /// Recordings to replay; `-` is standard input
    #[arg(required = true, value_name = "FILE")]
    pub(crate) files: Vec<PathBuf>,

    /// How to report
    #[arg(long, value_enum, default_value_t, value_name = "FORMAT")]
    pub(crate) format: Format,

    /// Say nothing but errors; the exit status tells the result
    #[arg(short, long, conflicts_with_all = ["format", "step"])]
    pub(crate) quiet: bool,

    /// Show each line of the recording with what the unit did
    #[arg(long)]
    pub(crate) step: bool,

    /// How many differences of each file to show, and how many uses after an invalidation
    #[arg(long, default_value_t = 10, value_name = "N")]
    differences: usize,

    /// Make devices host-backed: `all`, or a list such as 00:03.0,00:04.0
    ///
    /// Their bindings go to a model of a host, and their DMA is answered from what that host holds. Needs a recording with
    /// caching mode (CM in CAP): without it the guest does not tell of new entries.
    #[arg(long, value_parser = parse_assign, value_name = "BDF,…|all")]
    assign: Option<Assign>,

    /// Save the unit after every N inputs, and go on with a new one made from what was saved
    #[arg(long, value_parser = value_parser!(u64).range(1..), value_name = "N")]
    save_restore_every: Option<u64>,

    /// Hold the recorded answers against what the guest had been told is invalid (the default)
    ///
    /// A request that was answered with what no longer was in the guest's tables, after the guest had been told that its invalidation
    /// is done, counts as a difference for the exit status.
    #[arg(long, overrides_with = "no_audit")]
    audit: bool,

    /// Leave that out
    #[arg(long, overrides_with = "audit")]
    no_audit: bool,

    /// Replay without caches: every request walks the tables
    #[arg(long)]
    no_cache: bool,

    /// What a page of guest memory is that no line of the recording names
    #[arg(long, value_enum, default_value_t, value_name = "WHAT")]
    unknown: Unknown,
}

const EXIT_STATUS: &str = "\
Exit status:
  0  every answer agrees, or a known departure of the recorded unit explains it
  1  answers differ, or a request used what the guest had been told is invalid
  2  bad input: a file that cannot be read or replayed, or a wrong command line

Of several files each is replayed, and the worst decides.";

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// A summary of each file, for people
    #[default]
    Text,
    /// One JSON document for all files
    Json,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
enum Unknown {
    /// Zeros; such reads are counted
    #[default]
    Zero,
    /// Bad input
    Error,
}

impl Arguments {
    /// Reads the command line. Ends the program where it is wrong, or asks for help or the version.
    pub(crate) fn from_command_line() -> Self {
        let arguments = Self::parse();
        let Command::Replay(replay) = &arguments.command;
        if replay.step && replay.format == Format::Json {
            usage_error("the argument '--step' cannot be used with '--format json'");
        }
        arguments
    }
}

/// Ends the program as a wrong command line does.
fn usage_error(why: &str) -> ! {
    let mut command = Arguments::command();
    // Its subcommands know their full names only then.
    command.build();
    let command = match command.find_subcommand_mut("replay") {
        Some(replay) => replay,
        None => &mut command,
    };
    command.error(ErrorKind::ArgumentConflict, why).exit()
}

impl ReplayArguments {
    pub(crate) fn options(&self) -> Options {
        let mut options = Options::default();
        options.assign = self.assign.clone().unwrap_or_default();
        options.save_restore_every = self.save_restore_every;
        options.without_caches = self.no_cache;
        options.unknown_pages = match self.unknown {
            Unknown::Zero => UnknownPages::Zero,
            Unknown::Error => UnknownPages::Error,
        };
        options.audit = self.audit || !self.no_audit;
        options.differences = self.differences;
        options
    }
}

fn parse_assign(text: &str) -> Result<Assign, ParseSourceIdError> {
    if text == "all" {
        return Ok(Assign::All);
    }
    let devices: Result<BTreeSet<SourceId>, _> = text.split(',').map(str::parse).collect();
    devices.map(Assign::These)
}
