//! An invalidation queue of any bytes.

use super::oracles::Figures;
use super::recording::Output;
use super::setup::Setup;
use super::world::World;
use crate::program::RECORD;
use crate::program::pools::QUEUE;

/// Has a unit carry out the descriptors that these bytes are: after the setup's record, a byte that says how many bytes each tail that
/// is written moves by. The queue is off and on again where it has stopped.
///
/// # Panics
/// Where an oracle finds something wrong; the message names the oracle.
pub fn run_raw_queue(bytes: &[u8]) -> Figures {
    carry_out(bytes, World::new)
}

/// The same, written down.
///
/// # Panics
/// As [`run_raw_queue`]; the recording is whole then as well.
pub fn record_raw_queue(bytes: &[u8], output: Output) -> Figures {
    carry_out(bytes, |setup| World::recorded(setup, output))
}

fn carry_out(bytes: &[u8], world: impl FnOnce(Setup) -> World) -> Figures {
    let Some((record, rest)) = bytes.split_first_chunk::<RECORD>() else {
        return Figures::default();
    };
    let [_, _, on, ..] = record;
    let Some((stride, rest)) = rest.split_first() else { return Figures::default() };
    let mut world = world(Setup { enabled: *on & 0x6f, ..Setup::decode(*record) });
    let stride = 16 * (1 + u64::from(stride % 16));
    let (qwords, _) = rest.as_chunks::<8>();
    let mut place = 0;
    let mut written = 0;
    // As much as fits in a page without a wrap, again and again.
    for chunk in qwords.chunks(510) {
        world.restart_queue();
        for qword in chunk {
            world.memory.put(QUEUE + place, u64::from_le_bytes(*qword));
            place += 8;
            if place - written >= stride {
                world.move_tail(place);
                written = place;
            }
        }
        world.move_tail(place & !0xf);
        (place, written) = (0, 0);
    }
    world.finish()
}
