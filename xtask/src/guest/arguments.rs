//! The arguments of `cargo xtask guest`.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, value_parser};

use super::boot::{Volume, Wanted};
use super::cache::Cache;
use super::exit_status;
use super::kernel::{Kernels, Series};
use super::mode::{Mode, Modes, Tables};
use super::watch::Patience;

/// Boots unmodified Linux on the unit, and prints what its checks came to
///
/// Prepares all that it needs in a cache folder: a small Debian with QEMU and the kernels. That needs root, network and 3 GiB of
/// disk once, and names each package that it installs. Each boot is recorded; its recording has to replay with the same answers.
#[derive(Debug, Args)]
#[command(after_help = exit_status::HELP)]
pub(crate) struct Arguments {
    /// A series of kernels, such as 6.12 or 7.3, or all: these two
    #[arg(long, value_delimiter = ',', default_value = "all", value_name = "SERIES,…")]
    kernel: Vec<Kernels>,

    /// A mode such as legacy, second-stage+lazy, first-stage+caching+pass-through; usual, or all: every one
    ///
    /// Tables first: legacy, second-stage, first-stage or nested (both stages). Then, in any order, caching (the unit shows caching mode) and either lazy
    /// (unmapped addresses are invalidated later) or pass-through (drivers' own DMA is not translated). Checks that end their
    /// kernel (kexec, reset) run in modes that say no more than the tables, and with all in every mode.
    #[arg(long, value_delimiter = ',', default_value = "usual", value_name = "MODE,…")]
    mode: Vec<Modes>,

    /// Only these checks; else all that the mode and the kernel have
    #[arg(long, value_delimiter = ',', value_name = "NAME,…", value_parser = parse_check)]
    check: Vec<String>,

    /// One short boot: the newest kernel, first-stage tables
    #[arg(long, conflicts_with_all = ["kernel", "mode"])]
    quick: bool,

    /// The cache folder; else $VTD_GUEST_CACHE, $XDG_CACHE_HOME/vtd-guest or ~/.cache/vtd-guest
    #[arg(long, value_name = "FOLDER")]
    cache: Option<PathBuf>,

    /// Keep recordings, consoles and logs of all boots here; those of failed boots are always kept, in the cache folder
    #[arg(long, value_name = "FOLDER")]
    pub(crate) keep: Option<PathBuf>,

    /// Write the table in Markdown, too
    #[arg(long, value_name = "FILE")]
    pub(crate) markdown: Option<PathBuf>,

    /// What random choices of the checks begin with
    #[arg(long, default_value_t = 1, value_name = "N")]
    seed: u64,

    /// How much the checks do, in hundredths of the usual
    #[arg(long, default_value_t = 100, value_name = "N", value_parser = value_parser!(u64).range(1..))]
    rounds: u64,

    /// Cut a boot after so many seconds without a line on its console
    #[arg(long, default_value_t = 90, value_name = "SECONDS", value_parser = value_parser!(u64).range(1..))]
    silence: u64,

    /// Cut a boot after so many seconds
    #[arg(long, default_value_t = 900, value_name = "SECONDS", value_parser = value_parser!(u64).range(1..))]
    limit: u64,

    /// Look for newer packages and kernels than those in the cache folder
    #[arg(long)]
    pub(crate) renew: bool,

    /// Prepare, and boot nothing
    #[arg(long)]
    pub(crate) prepare_only: bool,

    /// List the boots, and do nothing
    #[arg(long)]
    pub(crate) list: bool,

    /// What runs in the guest, in place of the project's folder guest/
    #[arg(long, value_name = "FOLDER")]
    guest_side: Option<PathBuf>,
}

impl Arguments {
    pub(crate) fn wanted(&self) -> Wanted {
        if self.quick {
            return Wanted {
                kernels: Series::TRIED.last().copied().into_iter().collect(),
                modes: vec![Mode::plain(Tables::FirstStage)],
                checks: self.check.clone(),
                thorough: false,
            };
        }
        let mut kernels: Vec<_> = self.kernel.iter().flat_map(|kernels| kernels.series()).collect();
        kernels.sort();
        kernels.dedup();
        Wanted {
            kernels,
            modes: self.mode.iter().flat_map(|modes| modes.modes()).collect(),
            checks: self.check.clone(),
            thorough: self.mode.contains(&Modes::All),
        }
    }

    /// Whether boots for checks that end their kernel are left out.
    pub(crate) fn is_quick(&self) -> bool {
        self.quick && self.check.is_empty()
    }

    pub(crate) fn cache_folder(&self) -> Option<PathBuf> {
        self.cache.clone().or_else(Cache::default_folder)
    }

    pub(crate) fn guest_side(&self) -> PathBuf {
        let ours = || PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../guest"));
        self.guest_side.clone().unwrap_or_else(ours)
    }

    pub(crate) fn volume(&self) -> Volume {
        Volume { seed: self.seed, rounds: self.rounds }
    }

    pub(crate) fn patience(&self) -> Patience {
        Patience {
            silence: Duration::from_secs(self.silence),
            total: Duration::from_secs(self.limit),
            power_off: Duration::from_secs(30),
        }
    }
}

/// A name that can stand in a kernel's command line.
fn parse_check(text: &str) -> Result<String, String> {
    let fits = |character: char| character.is_ascii_alphanumeric() || "-_.:".contains(character);
    if text.is_empty() || !text.chars().all(fits) {
        return Err(format!("{text:?} is no name of a check: letters, digits, and - _ . :"));
    }
    Ok(text.into())
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Program {
        #[command(flatten)]
        arguments: Arguments,
    }

    fn parsed(line: &str) -> Result<Arguments, clap::Error> {
        Program::try_parse_from(line.split(' ')).map(|program| program.arguments)
    }

    #[test]
    fn the_command_line_as_documented() {
        let usual = parsed("guest").unwrap().wanted();
        assert_eq!((usual.kernels, usual.modes), (Series::TRIED.to_vec(), Mode::usual()));
        let all = parsed("guest --kernel 7.3,6.12,all --mode all").unwrap().wanted();
        assert_eq!(all.kernels, Series::TRIED);
        assert!(all.thorough && all.modes.len() == 24);
        let one = parsed("guest --kernel 6.12 --mode legacy,first-stage+lazy --check sva,kexec")
            .unwrap()
            .wanted();
        assert_eq!((one.kernels.len(), one.modes.len(), one.checks.len()), (1, 2, 2));
        assert!(parsed("guest --quick").unwrap().is_quick());
        assert!(!parsed("guest --quick --check kexec").unwrap().is_quick());
    }

    #[test]
    fn wrong_command_lines_are_refused() {
        for line in [
            "guest --kernel six",
            "guest --mode scalable",
            "guest --quick --mode legacy",
            "guest --check a=b",
            "guest --silence 0",
            "guest sva",
        ] {
            assert_eq!(parsed(line).unwrap_err().exit_code(), 2, "{line}");
        }
    }
}
