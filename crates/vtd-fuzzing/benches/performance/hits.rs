//! Translations that are cached.

use std::hint::black_box;

use criterion::{Criterion, Throughput};
use std::sync::RwLock;
use vm_memory::iommu::Iotlb;
use vm_memory::{GuestAddress, Permissions};
use vtd::spec::Iova;
use vtd::{Access, Capacities};

use crate::baseline::{HashTable, Table, sum};
use crate::machine::random::Random;
use crate::machine::{Guest, PageSize, translate};

const STREAM: usize = 4096;
const PAGES: u64 = 512;

pub(crate) fn measure(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("hit");
    group.throughput(Throughput::Elements(STREAM as u64));
    let stream = Random::new().addresses(STREAM, PAGES, 12);

    let table = Table::new(PAGES);
    group.bench_function("table", |bencher| {
        let table = black_box(&table);
        bencher.iter(|| sum(&stream, |iova| table.get(iova).unwrap_or(0)));
    });

    let hash_table = HashTable::default();
    (0..PAGES).for_each(|page| hash_table.insert(page << 12, page << 12));
    group.bench_function("hash-table", |bencher| {
        bencher.iter(|| sum(&stream, |iova| hash_table.get(iova).unwrap_or(0)));
    });

    let mut iotlb = Iotlb::new();
    for page in 0..PAGES {
        let [iova, address] = [page << 12, 0x10_0000_0000 + (page << 13)].map(GuestAddress);
        iotlb.set_mapping(iova, address, 0x1000, Permissions::ReadWrite).expect("a mapping");
    }
    let iotlb = RwLock::new(iotlb);
    group.bench_function("vm-memory", |bencher| {
        bencher.iter(|| {
            sum(&stream, |iova| {
                let iotlb = iotlb.read().expect("nothing panics with it");
                let found = Iotlb::lookup(&*iotlb, GuestAddress(iova), 8, Permissions::Read);
                found.ok().and_then(|mut pieces| pieces.next()).map_or(0, |piece| piece.base.0)
            })
        });
    });

    for (name, size) in [("4k", PageSize::Small), ("2m", PageSize::Large), ("1g", PageSize::Huge)] {
        let guest = Guest::new(0x4000_0000, 1);
        guest.bind_one(0);
        guest.map(PAGES, size);
        let machine = guest.start(Capacities::default()).with_emulated(1);
        let dma = machine.dma(0);
        let stream = Random::new().addresses(STREAM, PAGES, size as u32);
        group.bench_function(name, |bencher| {
            bencher.iter(|| {
                dma.with_guard(|guard| {
                    sum(&stream, |iova| {
                        let found = guard.translate(Iova(iova), Access::READ);
                        found.map_or(0, |found| found.address().0)
                    })
                })
            });
        });
        if let PageSize::Small = size {
            group.bench_function("guarded", |bencher| {
                bencher.iter(|| sum(&stream, |iova| translate(&dma, iova)));
            });
        }
    }
}
