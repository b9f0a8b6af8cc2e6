//! How much of what is used again is found again, with the default capacities.

use vtd::Capacities;

use crate::baseline::HashTable;
use crate::machine::random::Random;
use crate::machine::{Guest, translate};

const RANDOM: usize = 32_768;

pub(crate) fn facts() -> Vec<(String, f64)> {
    // First-stage tables of four levels translate 48 bits, and of those addresses the lower half is taken: bit 47 is clear.
    let random = Random::new().addresses(RANDOM, 1 << 35, 12);
    let twice = 2 * Capacities::default().translations;
    let cyclic: Vec<_> = (0..twice as u64).map(|page| page << 12).collect();
    vec![
        ("random-misses-percent".into(), 100.0 * missed(&random, 1)),
        ("hash-table-random-misses-percent".into(), 100.0 * missed_by_hash_table(&random)),
        ("cyclic-hits-percent".into(), 100.0 * (1.0 - missed(&cyclic, 8))),
    ]
}

/// The part of these addresses that misses once they have been used so many times, in turn.
fn missed(addresses: &[u64], turns: u32) -> f64 {
    let guest = Guest::new(0x2001_0000, 1);
    guest.bind_one(0);
    guest.map_everything();
    let machine = guest.start(Capacities::default()).with_emulated(1);
    let dma = machine.dma(0);
    let turn = || {
        for address in addresses {
            translate(&dma, *address);
        }
        machine.unit.counts().caches.translation_misses
    };
    let before = (0..turns).fold(0, |_, _| turn());
    (turn() - before) as f64 / addresses.len() as f64
}

/// The same with the design that hits are compared with.
fn missed_by_hash_table(addresses: &[u64]) -> f64 {
    let table = HashTable::default();
    let turn = || {
        let misses = addresses.iter().filter(|address| {
            let is_missing = table.get(**address).is_none();
            if is_missing {
                table.insert(**address, 0);
            }
            is_missing
        });
        misses.count()
    };
    turn();
    turn() as f64 / addresses.len() as f64
}
