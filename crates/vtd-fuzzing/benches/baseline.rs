//! The base line: translation, PASID lookup and a walk of 2^20 PASIDs, before any of it was made fast.
//!
//! Run with `cargo bench -p vtd-fuzzing`. `docs/performance.md` keeps the figures.

#![allow(clippy::expect_used, reason = "a benchmark that cannot be set up is to stop")]

use std::sync::Arc;

use divan::{Bencher, black_box};
use vtd::spec::{Capabilities, Gpa, Iova, Pasid, SourceId};
use vtd::{Access, Attachment, Capacities, DmaHandle, RemappingUnit, UnitConfig};
use vtd_cache::{PasidMap, Quotas};
use vtd_memory::{GuestMemory, SparseMemory};
use vtd_walk::{PasidRange, RangeStep, read_context};

fn main() {
    divan::main();
}

const ROOT: u64 = 0x1000;
const CONTEXTS: u64 = 0x2000;
const DIRECTORY: u64 = 0x10_0000;
const TABLES: u64 = 0x20_0000;
const PAGES: u64 = 0x1000_0000;

fn caps() -> Capabilities {
    Capabilities::new(0x81d2_008c_222f_0686, 0x3_c998_0000_0f46).expect("a consistent pair")
}

fn put(memory: &SparseMemory, place: u64, value: u64) {
    memory.write_u64(Gpa(place), value).expect("memory grows on a write");
}

/// Tables of one device, 00:03.0: PDTS 7, so that the directory covers all 2^20 PASIDs.
fn tables() -> SparseMemory {
    let memory = SparseMemory::zero_filled();
    put(&memory, ROOT, CONTEXTS | 1);
    put(&memory, CONTEXTS + 0x18 * 32, DIRECTORY | 0xe09);
    memory
}

/// The same with `pages` pages of 4 KiB mapped for PASID 1, from address 0.
fn paged(pages: u64) -> SparseMemory {
    let memory = tables();
    put(&memory, DIRECTORY, TABLES | 1);
    put(&memory, TABLES + 64, 0x41);
    put(&memory, TABLES + 64 + 8, 1);
    put(&memory, TABLES + 64 + 16, PAGES);
    put(&memory, PAGES, (PAGES + 0x1000) | 0x67);
    put(&memory, PAGES + 0x1000, (PAGES + 0x2000) | 0x67);
    for page in 0..pages {
        let table = PAGES + 0x3000 + page / 512 * 0x1000;
        put(&memory, PAGES + 0x2000 + page / 512 * 8, table | 0x67);
        put(&memory, table + page % 512 * 8, (0x10_0000_0000 + page * 0x1000) | 0x67);
    }
    memory
}

fn unit(memory: SparseMemory, capacities: Capacities) -> RemappingUnit {
    let mut config = UnitConfig::new(caps(), Arc::new(memory));
    config.capacities = capacities;
    let unit = RemappingUnit::new(config);
    unit.write(0x20, 8, ROOT | 0x400);
    unit.write(0x18, 4, 0x4000_0000);
    unit.write(0x18, 4, 0x8000_0000);
    unit
}

fn handle(unit: &RemappingUnit) -> DmaHandle {
    let device = unit.attach(SourceId(0x18), Attachment::Emulated).expect("a new device");
    unit.dma(device, Pasid::new(1)).expect("an emulated device")
}

/// One translation within a guard of its own.
fn translate(bencher: Bencher<'_, '_>, capacities: Capacities) {
    let unit = unit(paged(512), capacities);
    let dma = handle(&unit);
    let mut page = 0_u64;
    bencher.bench_local(|| {
        page = (page * 5 + 3) % 512;
        dma.with_guard(|guard| {
            guard
                .translate(Iova(black_box(page * 0x1000)), Access::READ)
                .map(|found| found.address())
        })
    });
}

// A fixed sample size: the first translation takes the caches' memory, which is not what a sample should be sized by.
#[divan::bench(sample_size = 1000)]
fn translation_hit(bencher: Bencher<'_, '_>) {
    translate(bencher, Capacities::default());
}

#[divan::bench(sample_size = 1000)]
fn translation_walk(bencher: Bencher<'_, '_>) {
    translate(bencher, Capacities::NONE);
}

/// A lookup of one PASID among this many of a device.
#[divan::bench(args = [1, 1 << 10, 1 << 20])]
fn pasid_lookup(bencher: Bencher<'_, '_>, count: u32) {
    let mut map = PasidMap::default();
    for number in 0..count {
        map.insert(Pasid::from_low_bits(number.into()), number);
    }
    let mut number = 0_u32;
    bencher.bench_local(|| {
        number = (number * 5 + 3) % count;
        map.get(Pasid::from_low_bits(black_box(number).into())).copied()
    });
}

/// Every entry of a directory whose 16,384 tables are all present and full.
fn full_directory() -> SparseMemory {
    let memory = tables();
    put(&memory, TABLES, 0);
    for index in 0..16_384 {
        let table = TABLES + index * 0x1000;
        put(&memory, DIRECTORY + index * 8, table | 1);
        for entry in 0..64 {
            put(&memory, table + entry * 64, 0x109);
            put(&memory, table + entry * 64 + 8, 1);
        }
    }
    memory
}

#[divan::bench(sample_count = 5, sample_size = 1)]
fn walk_of_2_to_the_20_pasids(bencher: Bencher<'_, '_>) {
    let memory = full_directory();
    let caps = caps();
    let context = read_context(&memory, &caps, Gpa(ROOT), SourceId(0x18)).expect("it is present");
    bencher.bench_local(|| {
        let mut found = 0_u32;
        memory.with_snapshot(&mut |memory| {
            let mut walk = PasidRange::new(memory, &caps, &context, 0, 1 << 20);
            let mut budget = u32::MAX;
            while let RangeStep::Entry { .. } = walk.step(&mut budget) {
                found += 1;
            }
        });
        assert_eq!(found, 1 << 20);
    });
}

/// A global PASID-cache invalidation over as many unchanged bindings as the default quota of a device allows.
#[divan::bench(sample_count = 20)]
fn reconciliation_of_a_full_quota(bencher: Bencher<'_, '_>) {
    use vtd_cache::{DeviceKey, Ledger, Next, Outcome, Reconciliation, Scope, Tables, Wanted};
    let memory = tables();
    for index in 0..64 {
        let table = TABLES + index * 0x1000;
        put(&memory, DIRECTORY + index * 8, table | 1);
        for entry in 0..64 {
            put(&memory, table + entry * 64, 0x109);
            put(&memory, table + entry * 64 + 8, 1);
        }
    }
    let caps = caps();
    let mut ledger = Ledger::new(Quotas::default());
    ledger.add_device(DeviceKey(0), SourceId(0x18), 1 << 20);
    let mut reconcile = || {
        let mut cursor = Reconciliation::new(Scope::everything());
        let mut changes = 0;
        loop {
            let tables = Tables { memory: &memory, caps: &caps, root: Gpa(ROOT) };
            let mut budget = u32::MAX;
            let wanted = Wanted::Scalable(tables);
            match ledger.next_change(&mut cursor, &wanted, &|_, _, _| true, &mut budget) {
                Next::Change(change) => {
                    changes += 1;
                    ledger.settle(&change, Outcome::Done);
                }
                Next::More => {}
                Next::Done => return changes,
            }
        }
    };
    assert_eq!(reconcile(), 4_096);
    bencher.bench_local(|| assert_eq!(reconcile(), 0));
}
