//! How many instructions requests and invalidations take, counted by callgrind. `cargo xtask bench` runs this under it, one scenario at a
//! time, and counts what happens in [`measured`].

#![allow(clippy::expect_used, reason = "a scenario that cannot be set up is to stop")]
#![allow(clippy::cast_possible_truncation, reason = "numbers are below what they are cast to")]
#![allow(clippy::indexing_slicing, reason = "streams are indexed by what is in range")]

mod descriptors;
mod invalidations;
mod lookups;
mod requests;

#[path = "../machine/mod.rs"]
mod machine;

use std::process::ExitCode;

/// Something to count.
struct Scenario {
    name: String,
    /// How often it is done.
    operations: usize,
    /// It is set up in a few seconds under callgrind, so that every run of the continuous integration counts it.
    is_quick: bool,
    /// Sets it up and does it in [`measured`].
    run: Box<dyn Fn()>,
}

/// With the name of a scenario it runs it. Without one it says which there are, and how many operations each has.
fn main() -> ExitCode {
    let scenarios: Vec<_> = [
        requests::scenarios(),
        lookups::scenarios(),
        invalidations::scenarios(),
        descriptors::scenarios(),
    ]
    .into_iter()
    .flatten()
    .collect();
    // Cargo gives benchmarks this argument.
    let Some(name) = std::env::args().skip(1).find(|argument| argument != "--bench") else {
        for Scenario { name, operations, is_quick, .. } in scenarios {
            println!("{name} {operations} {}", if is_quick { "quick" } else { "slow" });
        }
        return ExitCode::SUCCESS;
    };
    match scenarios.iter().find(|scenario| scenario.name == name) {
        Some(scenario) => {
            (scenario.run)();
            ExitCode::SUCCESS
        }
        None => {
            eprintln!("error: there is no scenario \"{name}\"");
            ExitCode::from(2)
        }
    }
}

/// What is counted: callgrind collects within functions of this name alone.
#[inline(never)]
fn measured(operations: usize, mut operation: impl FnMut(usize)) {
    for number in 0..operations {
        operation(number);
    }
}
