//! What the ledger holds for a (device, PASID), with few and many PASIDs.

use std::hint::black_box;

use vtd::spec::Pasid;
use vtd_cache::PasidMap;

use crate::machine::random::Random;
use crate::{Scenario, measured};

const OPERATIONS: usize = 4096;

pub(crate) fn scenarios() -> Vec<Scenario> {
    let scenario = |(name, bits, step): (&str, u32, u64)| Scenario {
        name: format!("pasids-{name}"),
        operations: OPERATIONS,
        is_quick: bits < 20,
        run: Box::new(move || look_up(1_u64 << bits, step)),
    };
    // Guests leave gaps as well, when they give PASIDs back.
    [("2^0", 0, 1), ("2^10", 10, 1), ("2^20", 20, 1), ("2^10-with-gaps", 10, 3)]
        .map(scenario)
        .into()
}

/// `count` PASIDs, each of them `step` behind the one before.
fn look_up(count: u64, step: u64) {
    let pasid = |number: u64| Pasid::from_low_bits(number * step);
    let mut map = PasidMap::default();
    for number in 0..count {
        map.insert(pasid(number), [number; 5]);
    }
    let mut random = Random::new();
    let stream: Vec<_> = (0..OPERATIONS).map(|_| pasid(random.below(count))).collect();
    measured(OPERATIONS, |number| {
        black_box(map.get(stream[number]));
    });
}
