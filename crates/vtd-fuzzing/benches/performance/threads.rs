//! Two threads, each with a device of its own.

use std::hint::black_box;
use std::sync::Barrier;
use std::time::{Duration, Instant};

use criterion::Criterion;
use vtd::spec::Iova;
use vtd::{Access, Capacities, DmaHandle};

use crate::baseline::{Table, sum};
use crate::machine::random::Random;
use crate::machine::{Guest, PageSize};

const PAGES: u64 = 512;

pub(crate) fn measure(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("threads");
    let stream = Random::new().addresses(4096, PAGES, 12);
    let guest = Guest::new(0x4000_0000, 2);
    guest.map(PAGES, PageSize::Small);
    (0..2).for_each(|device| guest.bind_one(device));
    let machine = guest.start(Capacities::default()).with_emulated(2);
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
        group.bench_function(format!("ours-{threads}"), |bencher| {
            let handles: Vec<_> = (0..threads).map(|device| machine.dma(device)).collect();
            bencher.iter_custom(|rounds| {
                together(
                    rounds,
                    handles.iter().map(|dma| {
                        let (dma, stream): (DmaHandle, _) = (dma.clone(), &stream);
                        move || {
                            dma.with_guard(|guard| {
                                sum(stream, |iova| {
                                    let found = guard.translate(Iova(iova), Access::READ);
                                    found.map_or(0, |found| found.address().0)
                                })
                            })
                        }
                    }),
                )
            });
        });
    }
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
