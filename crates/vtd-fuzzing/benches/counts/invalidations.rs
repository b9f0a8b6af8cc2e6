//! IOTLB invalidations, with few and many translations cached.

use vtd::Capacities;

use crate::machine::descriptors::{DOMAIN_IOTLB, GLOBAL_IOTLB, PASID_IOTLB, pages_iotlb};
use crate::machine::{Guest, translate};
use crate::{Scenario, measured};

/// The cache has room for each of them.
const CACHED: [(&str, u64); 3] = [("1k", 1 << 10), ("64k", 1 << 16), ("1m", 1 << 20)];
const CAPACITIES: Capacities =
    Capacities { contexts: 4096, pasids: 4096, translations: 1 << 20, interrupt_entries: 4096 };

pub(crate) fn scenarios() -> Vec<Scenario> {
    let by_page = [0, 9, 18, 63].map(|mask| (format!("page-am{mask}"), pages_iotlb(mask)));
    let by_scope = [("pasid", PASID_IOTLB), ("domain", DOMAIN_IOTLB), ("global", GLOBAL_IOTLB)];
    let by_scope = by_scope.map(|(name, words)| (name.to_string(), words));
    let kinds: Vec<_> = by_page.into_iter().chain(by_scope).collect();
    let scenarios = CACHED.into_iter().flat_map(|(name, cached)| {
        kinds.iter().map(move |(kind, words)| {
            let words = *words;
            Scenario {
                name: format!("{kind}-of-{name}"),
                operations: 1,
                is_quick: cached <= 1 << 16,
                run: Box::new(move || invalidate(words, cached)),
            }
        })
    });
    scenarios.collect()
}

/// One descriptor, from the guest's write of the tail to its end. The pages from address 0 on are cached, so that those that it names are.
fn invalidate(words: [u64; 2], cached: u64) {
    let guest = Guest::new(0x2001_0000, 1);
    guest.bind_one(0);
    guest.map_everything();
    let mut machine = guest.start(CAPACITIES).with_emulated(1);
    let dma = machine.dma(0);
    // What is only done the first time is not what is counted.
    machine.invalidate(words);
    for page in 0..cached {
        translate(&dma, page << 12);
    }
    machine.queue(words);
    measured(1, |_| machine.ring());
    machine.assert_done();
}
