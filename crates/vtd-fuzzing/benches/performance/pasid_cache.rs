//! PASID-cache and context-cache invalidations over bindings that all stay as they are.

use std::hint::black_box;

use criterion::{BatchSize, Criterion};
use std::sync::atomic::AtomicU64;
use vtd::Capacities;
use vtd::spec::Gpa;
use vtd_cache::SlotState;
use vtd_memory::GuestMemory;

use crate::baseline::read;
use crate::machine::{DIRECTORY, Guest, Machine, ROOT, TABLES};

const GLOBAL: [u64; 2] = [0x37, 0];
/// Of domain 1.
const DOMAIN: [u64; 2] = [0x1_0007, 0];
/// All devices' context entries.
const CONTEXTS: [u64; 2] = [0x11, 0];
/// PASID 1 of domain 1.
const PASID: [u64; 2] = [0x1_0001_0017, 0];
const DEVICES: u16 = 256;

pub(crate) fn measure(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("pasid-cache");
    group.sample_size(10);
    for (name, one_in) in [("full", 1), ("sparse", 64)] {
        let guest = Guest::new(0x2010_0000, 1);
        guest.bind_all(one_in);
        let tables = (1 << 14) / one_in;
        let entries = usize::try_from(tables * 64).expect("64 bits");
        let held: Box<[AtomicU64]> =
            bytemuck::zeroed_slice_box(entries * size_of::<SlotState>() / 8);
        let directory = guest.memory.words(DIRECTORY, 1 << 14);
        let words = guest.memory.words(TABLES, entries * 8);
        // Written once, so that they are pages of their own.
        held.iter().for_each(|word| word.store(1, std::sync::atomic::Ordering::Relaxed));
        group.bench_function(format!("read-{name}"), |bencher| {
            bencher.iter(|| read(directory) ^ read(words) ^ read(&held));
        });
        let mut machine = guest.start(Capacities::default()).with_assigned(1);
        let counts = machine.unit.counts().ledger;
        assert_eq!(counts.held, entries, "PASID 0 is that of requests without one");
        for (what, words) in [("global", GLOBAL), ("domain", DOMAIN), ("contexts", CONTEXTS)] {
            let carry_out = |machine: &mut Machine| machine.invalidate(words);
            group.bench_function(format!("{what}-{name}"), |bencher| {
                bencher.iter_batched_ref(
                    || (),
                    |()| carry_out(&mut machine),
                    BatchSize::PerIteration,
                );
            });
        }
    }

    let guest = Guest::new(0x2010_0000, DEVICES.into());
    (0..DEVICES).for_each(|device| guest.bind_one(device.into()));
    let mut machine = guest.start(Capacities::default()).with_assigned(DEVICES);
    group.sample_size(50);
    group.bench_function("pasid-of-256", |bencher| bencher.iter(|| machine.invalidate(PASID)));
    let load = |place: u64| guest.memory.load_u64(Gpa(place)).unwrap_or(0);
    group.bench_function("chain-of-256", |bencher| {
        bencher.iter(|| {
            (0..u64::from(DEVICES)).fold(0, |sum, device| {
                let contexts = load(black_box(ROOT) + 0x10 + (device >> 7) * 8) & !0xfff;
                let directory = load(contexts + (device & 0x7f) * 32) & !0xfff;
                let table = load(directory) & !0xfff;
                sum ^ load(table + 64)
            })
        });
    });
}
