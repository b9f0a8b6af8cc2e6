//! Page requests of any bytes.

use vtd::spec::{Iova, PageRequest, Pasid, SourceId};

use super::oracles::Figures;
use super::recording::Output;
use super::setup::Setup;
use super::world::World;
use crate::program::pools::{PAGES, PASIDS, SOURCES, of};
use crate::program::{Operation, RECORD};

/// Records after the setup's: a page request, the registers of the queue, or an operation of a program.
///
/// # Panics
/// Where an oracle finds something wrong; the message names the oracle.
pub fn run_page_requests(bytes: &[u8]) -> Figures {
    carry_out(bytes, World::new)
}

/// The same, written down.
///
/// # Panics
/// As [`run_page_requests`]; the recording is whole then as well.
pub fn record_page_requests(bytes: &[u8], output: Output) -> Figures {
    carry_out(bytes, |setup| World::recorded(setup, output))
}

fn carry_out(bytes: &[u8], world: impl FnOnce(Setup) -> World) -> Figures {
    let Some((record, rest)) = bytes.split_first_chunk::<RECORD>() else {
        return Figures::default();
    };
    // All that has page requests shown, and the queue on.
    let setup = Setup::decode(*record);
    let enabled = if setup.enabled == 255 { 0 } else { setup.enabled };
    let mut world = world(Setup { capabilities: 0, enabled: enabled | 1 << 5, ..setup });
    let (records, _) = rest.as_chunks::<RECORD>();
    for record in records {
        step(&mut world, *record);
    }
    world.finish()
}

fn step(world: &mut World, record: [u8; RECORD]) {
    let [code, source, pasid, page, bits, group, wide, offset, ..] = record;
    let has = |bit: u8| bits >> bit & 1 == 1;
    match code % 16 {
        0..=7 => {
            let Some(device) = world.device(source % 3) else { return };
            let request = PageRequest {
                // Not only its own.
                source_id: SourceId(of(&SOURCES, source % 3)),
                pasid: Some(of(&PASIDS, pasid)).filter(|_| has(0)).and_then(Pasid::new),
                address: Iova(of(&PAGES, page) << 12),
                read: has(1),
                write: has(2),
                execute: has(3),
                privileged: has(4),
                last_in_group: has(5),
                group_index: u16::from(group) | u16::from(wide & 1) << 8,
            };
            world.page_request(device, &request);
        }
        // The head is moved, PRS is cleared, the tail is moved, the queue is somewhere else or smaller.
        8 => world.write(0xc0, 8, u64::from(group) << 5 | u64::from(wide) << 13),
        9 => world.write(0xdc, 4, u64::from(bits & 3)),
        10 => world.write(0xc8, 8, u64::from(group) << 5),
        11 => world.write(0xd0, 8, of(&[0x1_9000, 0x1_a000, 0x1_9001, 0x7f_ffff_f000], offset)),
        _ => world.perform(&Operation::decode({
            let mut record = record;
            record.rotate_left(1);
            record
        })),
    }
    world.look();
}
