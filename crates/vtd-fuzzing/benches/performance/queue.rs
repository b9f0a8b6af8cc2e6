//! Descriptors through the queue, of emulated devices.

use criterion::{Criterion, Throughput};
use vtd::Capacities;

use crate::machine::Guest;

const DESCRIPTORS: u64 = 4096;

pub(crate) fn measure(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("queue");
    group.throughput(Throughput::Elements(DESCRIPTORS));
    let guest = Guest::new(0x3000_0000, 1);
    guest.bind_one(0);
    guest.map_everything();
    let mut machine = guest.start(Capacities::default()).with_emulated(1);
    for (name, words) in [
        ("pasid-iotlb-by-pasid", [0x1_0001_0026, 0]),
        ("pasid-iotlb-by-page", [0x1_0001_0036, 0x1000]),
        ("iotlb-by-page", [0x1_0032, 0x1000]),
        ("iotlb-by-domain", [0x1_0022, 0]),
        ("iotlb-global", [0x12, 0]),
        ("pasid-cache-by-pasid", [0x1_0001_0017, 0]),
        ("pasid-cache-global", [0x37, 0]),
        ("context-cache-global", [0x11, 0]),
        ("interrupt-entry-cache", [0x04, 0]),
        ("wait", [0x45, 0]),
    ] {
        group.bench_function(name, |bencher| {
            bencher.iter(|| {
                (0..DESCRIPTORS).for_each(|_| machine.queue(words));
                machine.ring();
            });
        });
        machine.assert_done();
    }
}
