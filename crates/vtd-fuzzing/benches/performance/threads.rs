//! Two threads, each with a device of its own.

use std::hint::black_box;
use std::sync::Barrier;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use criterion::{Criterion, Throughput};
use vtd::spec::Iova;
use vtd::{Access, Capacities, DmaHandle};

use crate::baseline::{Table, sum};
use crate::machine::random::Random;
use crate::machine::{Guest, Machine, PageSize};

const STREAM: usize = 4096;
const PAGES: u64 = 512;

/// Of other domains.
const INVALIDATION: [u64; 2] = [0x1_0002_0026, 0];
/// 100,000 descriptors a second.
const BATCH: u32 = 10;
const PERIOD: Duration = Duration::from_micros(100);

pub(crate) fn measure(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("threads");
    group.throughput(Throughput::Elements(STREAM as u64));
    let stream = Random::new().addresses(STREAM, PAGES, 12);
    let guest = Guest::new(0x4000_0000, 2);
    guest.map(PAGES, PageSize::Small);
    (0..2).for_each(|device| guest.bind_one(device));
    let mut machine = guest.start(Capacities::default()).with_emulated(2);
    for threads in [1, 2] {
        group.bench_function(format!("table-{threads}"), |bencher| {
            let tables: Vec<_> = (0..threads).map(|_| Table::new(PAGES)).collect();
            bencher.iter_custom(|rounds| {
                together(
                    rounds,
                    tables.iter().map(|table| {
                        let (table, stream) = (black_box(table), &stream);
                        move || sum(stream, |iova| table.get(iova).unwrap_or(0))
                    }),
                )
            });
        });
        let handles: Vec<_> = (0..threads).map(|device| machine.dma(device)).collect();
        group.bench_function(format!("ours-{threads}"), |bencher| {
            bencher.iter_custom(|rounds| together(rounds, hits(&handles, &stream)));
        });
    }
    // With fewer cores it would be measured how they are shared.
    if std::thread::available_parallelism().is_ok_and(|cores| cores.get() >= 3) {
        let handles = [0, 1].map(|device| machine.dma(device));
        let is_over = AtomicBool::new(false);
        std::thread::scope(|scope| {
            scope.spawn(|| invalidate_until(&is_over, &mut machine));
            group.bench_function("ours-2-invalidated", |bencher| {
                bencher.iter_custom(|rounds| together(rounds, hits(&handles, &stream)));
            });
            is_over.store(true, Ordering::Relaxed);
        });
    }
}

/// For each handle its requests, which hit.
fn hits<'a>(
    handles: &'a [DmaHandle],
    stream: &'a [u64],
) -> impl Iterator<Item = impl FnMut() -> u64 + Send + 'a> {
    handles.iter().map(move |dma| {
        let dma = dma.clone();
        move || {
            dma.with_guard(|guard| {
                sum(stream, |iova| {
                    let found = guard.translate(Iova(iova), Access::READ);
                    found.map_or(0, |found| found.address().0)
                })
            })
        }
    })
}

fn invalidate_until(is_over: &AtomicBool, machine: &mut Machine) {
    let mut next = Instant::now();
    while !is_over.load(Ordering::Relaxed) {
        (0..BATCH).for_each(|_| machine.queue(INVALIDATION));
        machine.ring();
        next += PERIOD;
        while Instant::now() < next {
            std::hint::spin_loop();
        }
    }
    machine.assert_done();
}

/// How long it takes until each of these has been done so many times, each by a thread of its own.
fn together<W: FnMut() -> u64 + Send>(rounds: u64, work: impl Iterator<Item = W>) -> Duration {
    let work: Vec<_> = work.collect();
    let ready = Barrier::new(work.len() + 1);
    std::thread::scope(|scope| {
        let threads: Vec<_> = work
            .into_iter()
            .map(|mut work| {
                let ready = &ready;
                scope.spawn(move || {
                    black_box(work());
                    ready.wait();
                    for _ in 0..rounds {
                        black_box(work());
                    }
                })
            })
            .collect();
        ready.wait();
        let start = Instant::now();
        for thread in threads {
            thread.join().expect("it does not panic");
        }
        start.elapsed()
    })
}
