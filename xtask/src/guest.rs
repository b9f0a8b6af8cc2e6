//! `cargo xtask guest`: unmodified Linux on the unit, in a stock QEMU, and what its checks came to.
//!
//! Everything that is needed comes from packages and lies in a cache folder. Each boot has a `vtd-machine` of its own, which is
//! the unit, endpoints and a disk over vfio-user; the guest tells on its serial console what it checks. From outside, the
//! recording of each boot is replayed.

mod arguments;
mod boot;
mod cache;
mod checks;
mod chroot;
mod console;
mod display;
mod dmar;
mod error;
mod exit_status;
mod fingerprint;
mod guest_side;
mod kept;
mod kernel;
mod lack;
mod machine;
mod mirror;
mod mode;
mod outcome;
mod preparation;
mod programs;
mod qemu;
mod recording;
mod run;
mod run_folder;
mod steps;
mod table;
mod trial;
mod watch;

use std::collections::BTreeMap;

pub(crate) use arguments::Arguments;
use boot::{Boot, Plan, boots};
use cache::{Cache, write_whole};
use display::Display;
use error::GuestError;
pub(crate) use exit_status::ExitStatus;
use guest_side::GuestSide;
use kernel::Series;
use outcome::Outcome;
use preparation::{Prepared, prepare};
use programs::Programs;
use recording::Replayer;
use steps::Steps;
use table::Results;
use trial::Trial;

use crate::interruption::Interruption;
use crate::terminal;

/// Does what the command line asks for, and says how it went.
pub(crate) fn run(arguments: &Arguments) -> ExitStatus {
    match attempt(arguments) {
        Ok(status) => status,
        Err(error) => {
            eprintln!("error: {error}");
            error.exit_status()
        }
    }
}

fn attempt(arguments: &Arguments) -> Result<ExitStatus, GuestError> {
    let wanted = arguments.wanted();
    let mut boots = boots(&wanted);
    if arguments.is_quick() {
        boots.retain(|boot| matches!(boot.plan, Plan::Checks(_)));
    }
    if arguments.list {
        for boot in &boots {
            println!("{boot}: {}", boot.kernel_arguments(arguments.volume()));
        }
        return Ok(ExitStatus::Passed);
    }
    let interruption = Interruption::listen()
        .map_err(|error| GuestError::Other(format!("cannot listen for signals: {error}")))?;
    let folder = arguments.cache_folder().ok_or_else(|| {
        GuestError::Other(
            "no cache folder: neither --cache, $VTD_GUEST_CACHE, $XDG_CACHE_HOME nor $HOME is set"
                .into(),
        )
    })?;
    let cache = Cache::open(&folder)?;
    let lacks = lack::survey(&cache)?;
    if !lacks.is_empty() {
        return Err(GuestError::MachineLacks(lacks));
    }
    let prepared = prepare(&cache, &wanted.kernels, arguments.renew, &interruption)?;
    run_folder::remove_left(&prepared.chroot)?;
    if arguments.prepare_only {
        eprintln!("all is prepared in {}", cache.folder().display());
        return Ok(ExitStatus::Passed);
    }
    let programs = Programs::build();
    // Ctrl-C ends cargo as well, and is then no failure of its own.
    interruption.check()?;
    let programs = programs?;
    let sides = build_guest_sides(arguments, &cache, &prepared, &interruption)?;
    let trial = Trial {
        cache: &cache,
        prepared: &prepared,
        programs: &programs,
        replayer: Replayer::new(&programs.vtd)?,
        volume: arguments.volume(),
        patience: arguments.patience(),
        keep: arguments.keep.as_deref(),
        interruption: &interruption,
    };
    let outcomes = try_all(&trial, &boots, &sides)?;
    report(arguments, &prepared, &outcomes, outcomes.len() < boots.len())
}

fn build_guest_sides(
    arguments: &Arguments,
    cache: &Cache,
    prepared: &Prepared,
    interruption: &Interruption,
) -> Result<BTreeMap<Series, GuestSide>, GuestError> {
    let mut steps = Steps::open(cache.folder().join("preparation.log"), interruption)?;
    let mut sides = BTreeMap::new();
    for kernel in &prepared.kernels {
        let side = GuestSide::build(&arguments.guest_side(), kernel, &prepared.chroot, &mut steps)?;
        sides.insert(kernel.series, side);
    }
    Ok(sides)
}

/// Boots one after another. What came of each is said at once; Ctrl-C still gives the table of those that are over.
fn try_all(
    trial: &Trial<'_>,
    boots: &[Boot],
    sides: &BTreeMap<Series, GuestSide>,
) -> Result<Vec<Outcome>, GuestError> {
    let display = Display::new(boots.len());
    let mut outcomes = Vec::new();
    for boot in boots {
        let Some(side) = sides.get(&boot.kernel) else { continue };
        match trial.run(boot, side, &display) {
            Ok(outcome) => outcomes.push(outcome),
            Err(GuestError::Interrupted) if !outcomes.is_empty() => {
                display.say("interrupted: the table has the boots before");
                return Ok(outcomes);
            }
            // The first one tells that nothing works; a later one is a failure among others.
            Err(error) if outcomes.is_empty() => return Err(error),
            Err(error) => {
                display.say(&format!("{boot}: {error}"));
                outcomes.push(Outcome::not_started(boot.clone(), &error.to_string()));
            }
        }
        display.one_more();
    }
    Ok(outcomes)
}

/// Prints the tables, and says what has failed and why something was skipped.
fn report(
    arguments: &Arguments,
    prepared: &Prepared,
    outcomes: &[Outcome],
    interrupted: bool,
) -> Result<ExitStatus, GuestError> {
    let mut markdown = String::new();
    for kernel in &prepared.kernels {
        let of_kernel: Vec<_> =
            outcomes.iter().filter(|outcome| outcome.boot.kernel == kernel.series).collect();
        if of_kernel.is_empty() {
            continue;
        }
        let heading = format!("Linux {}, QEMU {}", kernel.release, prepared.qemu_version);
        let results = Results::new(heading, of_kernel);
        println!("\n{}", results.for_terminal(terminal::width()));
        for (what, list) in [("failed", results.failed()), ("skipped", results.skipped())] {
            for entry in list {
                println!("{what}: {entry}");
            }
        }
        if !markdown.is_empty() {
            markdown.push('\n');
        }
        markdown.push_str(&results.in_markdown());
    }
    for outcome in outcomes {
        if let Some(kept) = &outcome.kept {
            println!("kept: {}: {}", outcome.boot, kept.display());
        }
    }
    if let Some(file) = &arguments.markdown {
        write_whole(file, markdown.as_bytes())?;
    }
    if interrupted {
        return Ok(ExitStatus::Interrupted);
    }
    let failed = outcomes.iter().any(Outcome::has_failed);
    Ok(if failed { ExitStatus::Failed } else { ExitStatus::Passed })
}
