//! Memory that bindings take, and allocations that descriptors take.

use dhat::HeapStats;
use vtd::Capacities;

use crate::machine::Guest;
use crate::machine::descriptors::KINDS;

const DESCRIPTORS: u64 = 10_000;

pub(crate) fn facts() -> Vec<(String, f64)> {
    let full = bytes_for_each(|guest| guest.bind_all(1));
    let one_of_each = bytes_for_each(Guest::bind_one_of_each_table);
    let mut facts = vec![
        ("binding-bytes-full-tables".into(), full),
        ("binding-bytes-one-of-each-table".into(), one_of_each),
    ];
    facts.extend(allocations());
    facts
}

/// What a binding takes of the allocator: by how much more is live with these bindings than with one alone.
fn bytes_for_each(bind: impl Fn(&Guest)) -> f64 {
    let (one, least) = live(|guest| guest.bind_one(0));
    let (count, bytes) = live(bind);
    assert_eq!(one, 1, "PASID 1");
    (bytes - least) as f64 / (count - one) as f64
}

/// How many bindings a unit has over such tables, and by how many bytes its allocations grow as it gets them.
fn live(bind: impl Fn(&Guest)) -> (usize, usize) {
    let guest = Guest::new(0x1400_0000, 1);
    bind(&guest);
    let machine = guest.start(Capacities::default());
    let before = HeapStats::get().curr_bytes;
    let machine = machine.with_assigned(1);
    let after = HeapStats::get().curr_bytes;
    (machine.unit.counts().ledger.held, after - before)
}

/// Allocations of 10,000 descriptors of each kind. The queue has room for them.
fn allocations() -> Vec<(String, f64)> {
    let guest = Guest::new(0x2001_0000, 1);
    guest.bind_one(0);
    guest.map_everything();
    let mut machine = guest.start(Capacities::default()).with_emulated(1);
    let mut of_kind = |(name, words): (&str, _)| {
        // What is only done the first time is not what is counted.
        machine.invalidate(words);
        (0..DESCRIPTORS).for_each(|_| machine.queue(words));
        let before = HeapStats::get().total_blocks;
        machine.ring();
        let after = HeapStats::get().total_blocks;
        machine.assert_done();
        (format!("allocations-{name}"), (after - before) as f64 / DESCRIPTORS as f64)
    };
    KINDS.into_iter().map(&mut of_kind).collect()
}
