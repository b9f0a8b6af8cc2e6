//! What the ledger holds for a (device, PASID).

use std::hint::black_box;

use criterion::{Criterion, Throughput};
use vtd::spec::{Pasid, Slot, SourceId};
use vtd_cache::{DeviceKey, Ledger, PasidMap, Quotas};

use crate::baseline::in_turn;
use crate::machine::random::Random;

/// So long that what a pass brings into the processor's caches is gone when the next one comes by, where there are many.
const STREAM: usize = 1 << 20;
/// How much of it one iteration takes.
const PART: usize = 1 << 14;

pub(crate) fn measure(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("lookup");
    group.throughput(Throughput::Elements(PART as u64));
    for bits in [0, 10, 20] {
        let mut map = PasidMap::default();
        for number in 0..1 << bits {
            map.insert(Pasid::from_low_bits(number), [number; 5]);
        }
        let stream: Vec<_> = (0..STREAM)
            .map({
                let mut random = Random::new();
                move |_| random.below(1 << bits)
            })
            .collect();
        let mut parts = stream.chunks(PART).cycle();
        let mut next = move || parts.next().unwrap_or_default();
        group.bench_function(format!("2^{bits}"), |bencher| {
            bencher.iter(|| {
                in_turn(next(), |number| {
                    map.get(Pasid::from_low_bits(number)).map_or(0, |held| held[0])
                })
            });
        });
        // As many places as there are PASIDs, behind two levels of 128 and tables of 64.
        let leaves: Vec<Vec<[u64; 5]>> =
            (0..(1_u64 << bits).div_ceil(64)).map(|leaf| vec![[leaf; 5]; 64]).collect();
        let middles: Vec<Vec<&[[u64; 5]]>> =
            leaves.chunks(128).map(|leaves| leaves.iter().map(Vec::as_slice).collect()).collect();
        let top: Vec<&[&[[u64; 5]]]> = middles.iter().map(Vec::as_slice).collect();
        group.bench_function(format!("chain-2^{bits}"), |bencher| {
            let top = black_box(&top);
            bencher.iter(|| {
                in_turn(next(), |number| {
                    let number = number as usize;
                    top[number >> 13][number >> 6 & 0x7f][number & 0x3f][0]
                })
            });
        });
    }
    let mut ledger = Ledger::new(Quotas::default());
    for device in 0..256 {
        ledger.add_device(DeviceKey(device), SourceId(0x100), 1 << 20);
    }
    let stream = Random::new().addresses(PART, 256, 12);
    group.bench_function("device-of-256", |bencher| {
        bencher.iter(|| {
            in_turn(&stream, |number| {
                u64::from(ledger.slot(DeviceKey((number >> 12) as u32), Slot::Rid).is_some())
            })
        });
    });
}
