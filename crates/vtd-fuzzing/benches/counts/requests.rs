//! Requests of an emulated device.

use std::hint::black_box;

use vtd::spec::Iova;
use vtd::{Access, Capacities};

use crate::machine::random::Random;
use crate::machine::{Guest, Machine, PageSize, translate};
use crate::{Scenario, measured};

const OPERATIONS: usize = 4096;
const PAGES: u64 = 512;

pub(crate) fn scenarios() -> Vec<Scenario> {
    let scenario = |name: &str, run: fn()| Scenario {
        name: name.into(),
        operations: OPERATIONS,
        is_quick: true,
        run: Box::new(run),
    };
    vec![
        scenario("hit-4k", || hit(PageSize::Small)),
        scenario("hit-2m", || hit(PageSize::Large)),
        scenario("hit-1g", || hit(PageSize::Huge)),
        scenario("hit-guarded", hit_guarded),
        scenario("miss-4-levels", miss),
    ]
}

fn cached(size: PageSize) -> (Machine, Vec<u64>) {
    let guest = Guest::new(0x2200_0000, 1);
    guest.bind_one(0);
    guest.map(PAGES, size);
    let machine = guest.start(Capacities::default()).with_emulated(1);
    (machine, Random::new().addresses(OPERATIONS, PAGES, size as u32))
}

fn hit(size: PageSize) {
    let (machine, stream) = cached(size);
    let dma = machine.dma(0);
    dma.with_guard(|guard| {
        let get = |number: usize| {
            let found = guard.translate(Iova(stream[number]), Access::READ);
            black_box(found.map_or(0, |found| found.address().0));
        };
        (0..OPERATIONS).for_each(get);
        measured(OPERATIONS, get);
    });
    assert_eq!(machine.unit.counts().caches.translation_misses, PAGES, "the others hit");
}

fn hit_guarded() {
    let (machine, stream) = cached(PageSize::Small);
    let dma = machine.dma(0);
    let get = |number: usize| {
        black_box(translate(&dma, stream[number]));
    };
    (0..OPERATIONS).for_each(get);
    measured(OPERATIONS, get);
    assert_eq!(machine.unit.counts().caches.translation_misses, PAGES, "the others hit");
}

/// Through one table of each level, so that what it takes is not a matter of caches.
fn miss() {
    let guest = Guest::new(0x2001_0000, 1);
    guest.bind_one(0);
    guest.map_everything();
    let machine =
        guest.start(Capacities { translations: 0, ..Capacities::default() }).with_emulated(1);
    let dma = machine.dma(0);
    // Its context and PASID-table entries are cached.
    translate(&dma, 0x1000);
    // None of the pages comes again.
    let stream = Random::new().addresses(OPERATIONS, 1 << 35, 12);
    measured(OPERATIONS, |number| {
        black_box(translate(&dma, stream[number]));
    });
    let misses = machine.unit.counts().caches.translation_misses;
    assert_eq!(misses, OPERATIONS as u64 + 1, "none hits");
}
