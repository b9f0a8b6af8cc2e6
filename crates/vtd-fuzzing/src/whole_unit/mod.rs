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

mod card;
mod eyes;
mod host;
mod mirror;
mod oracles;
mod page_requests;
mod raw_queue;
mod setup;
mod world;

pub use oracles::Figures;
pub use page_requests::run_page_requests;
pub use raw_queue::run_raw_queue;
pub use setup::Setup;

use crate::program::{Operation, RECORD, decode};
use world::World;

/// Runs the program that these bytes are.
///
/// # Panics
/// Where an oracle finds something wrong; the message names the oracle.
pub fn run(bytes: &[u8]) -> Figures {
    let (setup, rest) = match bytes.split_first_chunk::<RECORD>() {
        Some((record, rest)) => (Setup::decode(*record), rest),
        None => (Setup::default(), &[][..]),
    };
    run_operations(setup, &decode(rest))
}

/// Runs a program.
///
/// # Panics
/// As [`run`].
pub fn run_operations(setup: Setup, operations: &[Operation]) -> Figures {
    let mut world = World::new(setup);
    for operation in operations {
        world.perform(operation);
    }
    world.finish()
}
