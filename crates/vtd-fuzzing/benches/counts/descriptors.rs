//! Descriptors of each frequent kind through the queue, of an emulated device.

use vtd::Capacities;

use crate::machine::Guest;
use crate::machine::descriptors::KINDS;
use crate::{Scenario, measured};

const DESCRIPTORS: usize = 256;

pub(crate) fn scenarios() -> Vec<Scenario> {
    let scenario = |(name, words)| Scenario {
        name: format!("queue-{name}"),
        operations: DESCRIPTORS,
        is_quick: true,
        run: Box::new(move || carry_out(words)),
    };
    KINDS.map(scenario).into()
}

fn carry_out(words: [u64; 2]) {
    let guest = Guest::new(0x2001_0000, 1);
    guest.bind_one(0);
    guest.map_everything();
    let mut machine = guest.start(Capacities::default()).with_emulated(1);
    machine.invalidate(words);
    (0..DESCRIPTORS).for_each(|_| machine.queue(words));
    measured(1, |_| machine.ring());
    machine.assert_done();
}
