//! What the ledger holds for a (device, PASID), with few and many PASIDs.

use std::hint::black_box;

use vtd::spec::Pasid;
use vtd_cache::PasidMap;

use crate::machine::random::Random;
use crate::{Scenario, measured};

const OPERATIONS: usize = 4096;

pub(crate) fn scenarios() -> Vec<Scenario> {
    let scenario = |bits: u32| Scenario {
        name: format!("pasids-2^{bits}"),
        operations: OPERATIONS,
        is_quick: bits < 20,
        run: Box::new(move || look_up(bits)),
    };
    [0, 10, 20].map(scenario).into()
}

fn look_up(bits: u32) {
    let mut map = PasidMap::default();
    for number in 0..1 << bits {
        map.insert(Pasid::from_low_bits(number), [number; 5]);
    }
    let mut random = Random::new();
    let stream: Vec<_> =
        (0..OPERATIONS).map(|_| Pasid::from_low_bits(random.below(1 << bits))).collect();
    measured(OPERATIONS, |number| {
        black_box(map.get(stream[number]));
    });
}
