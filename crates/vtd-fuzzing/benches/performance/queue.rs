//! Descriptors through the queue, of emulated devices.

use criterion::{Criterion, Throughput};
use vtd::Capacities;

use crate::machine::Guest;
use crate::machine::descriptors::KINDS;

const DESCRIPTORS: u64 = 4096;

pub(crate) fn measure(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("queue");
    group.throughput(Throughput::Elements(DESCRIPTORS));
    let guest = Guest::new(0x3000_0000, 1);
    guest.bind_one(0);
    guest.map_everything();
    let mut machine = guest.start(Capacities::default()).with_emulated(1);
    for (name, words) in KINDS {
        group.bench_function(name, |bencher| {
            bencher.iter(|| {
                (0..DESCRIPTORS).for_each(|_| machine.queue(words));
                machine.ring();
            });
        });
        machine.assert_done();
    }
}
