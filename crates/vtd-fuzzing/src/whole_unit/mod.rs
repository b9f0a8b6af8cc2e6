//! A whole unit, whatever its guest, its devices, its VMM and its host do, held against the model at every step.
//!
//! A program's first record says what the unit shows and which devices there are ([`Setup`]); the others are
//! [operations](crate::program). After each the oracles look:
//!
//! | oracle | what has to hold |
//! | --- | --- |
//! | answers | every answer to a request is one that the model's tables give, present or as a cache may hold them |
//! | queue | head, error and error code are the model's |
//! | bindings | after an invalidation over them, what the host holds is what the tables say |
//! | host calls | none is illegal |
//! | bounds | a unit that nothing holds up comes to rest |
//! | save | a unit restored is the unit that was saved |

mod bindings;
mod card;
mod composites;
mod eyes;
mod host;
mod lifecycle;
mod mirror;
mod oracles;
mod page_requests;
mod raw_queue;
mod recording;
mod remapping;
mod requests;
mod reuse;
mod setup;
mod world;

pub(crate) use host::Legal;
pub use oracles::Figures;
pub use page_requests::{record_page_requests, run_page_requests};
pub use raw_queue::{record_raw_queue, run_raw_queue};
pub use recording::Output;
pub use setup::Setup;

use vtd::UnitState;

use crate::program::{Operation, RECORD, decode};
use world::World;

/// Runs the program that these bytes are.
///
/// # Panics
/// Where an oracle finds something wrong; the message names the oracle.
pub fn run(bytes: &[u8]) -> Figures {
    let (setup, rest) = split(bytes);
    run_operations(setup, &decode(rest))
}

/// Runs the program that these bytes are, and writes down what it does to the unit, up to its end or to where an oracle objects.
///
/// # Panics
/// As [`run`]; the recording is whole then as well.
pub fn record(bytes: &[u8], output: Output) -> Figures {
    let (setup, rest) = split(bytes);
    perform(World::recorded(setup, output), &decode(rest))
}

fn split(bytes: &[u8]) -> (Setup, &[u8]) {
    match bytes.split_first_chunk::<RECORD>() {
        Some((record, rest)) => (Setup::decode(*record), rest),
        None => (Setup::default(), &[][..]),
    }
}

/// Runs a program.
///
/// # Panics
/// As [`run`].
pub fn run_operations(setup: Setup, operations: &[Operation]) -> Figures {
    perform(World::new(setup), operations)
}

/// What a unit is saved as just behind a program, whatever is under way, and the qwords that its guest's memory holds then.
///
/// # Panics
/// As [`run`].
#[must_use]
pub fn saved_behind(setup: Setup, operations: &[Operation]) -> (UnitState, Vec<(u64, u64)>) {
    let mut world = World::new(setup);
    for operation in operations {
        world.perform(operation);
    }
    let state = world.unit.save().unwrap_or_else(|error| oracles::wrong("save", &error));
    (state, world.memory.qwords())
}

fn perform(mut world: World, operations: &[Operation]) -> Figures {
    for operation in operations {
        world.perform(operation);
    }
    world.finish()
}
