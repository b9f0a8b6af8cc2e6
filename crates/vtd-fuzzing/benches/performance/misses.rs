//! Walks of four levels over more page tables than a processor caches.

use criterion::{Criterion, Throughput};
use vtd::Capacities;
use vtd::spec::Gpa;
use vtd_memory::GuestMemory;

use crate::baseline::in_turn;
use crate::machine::random::Random;
use crate::machine::{Guest, PAGES, PageSize, translate};

/// So long that what a pass brings into the processor's caches, and into ours, is gone when the next one comes by.
const STREAM: usize = 1 << 22;
/// How much of it one iteration takes.
const PART: usize = 1 << 14;
/// 256 MiB of last-level tables.
const MAPPED: u64 = 1 << 25;

pub(crate) fn measure(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("miss");
    group.throughput(Throughput::Elements(PART as u64));
    let guest = Guest::new(0x4000_0000, 1);
    guest.bind_one(0);
    guest.map(MAPPED, PageSize::Small);
    let stream = Random::new().addresses(STREAM, MAPPED, 12);
    let chain = |iova: u64| {
        let step = |table: u64, bits: u32| {
            let entry = guest.memory.load_u64(Gpa(table + (iova >> bits & 0x1ff) * 8));
            entry.map_or(0, |entry| entry & 0x000f_ffff_ffff_f000)
        };
        step(step(step(step(PAGES, 39), 30), 21), 12)
    };
    let mut parts = stream.chunks(PART).cycle();
    let mut next = move || parts.next().unwrap_or_default();
    group.bench_function("chain", |bencher| bencher.iter(|| in_turn(next(), chain)));
    let machine = guest.start(Capacities::default()).with_emulated(1);
    let dma = machine.dma(0);
    group.bench_function("walk", |bencher| {
        bencher.iter(|| in_turn(next(), |iova| translate(&dma, iova)));
    });
    let counts = machine.unit.counts().caches;
    assert!(counts.translation_hits * 20 <= counts.translation_misses, "nearly all miss");
}
