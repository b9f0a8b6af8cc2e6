//! The targets: one line for one row of the page.

use super::figure::Figure::{
    ByReading, Count, Counts, Fact, FewestInstructions, LargestFact, MostInstructions, PerSecond,
    Scaling, Time,
};
use super::figure::{Figure, Unit};
use super::row::Target::{AtLeast, AtMost, RatioAtLeast, RatioAtMost, Reported};
use super::row::{Need, Row, Target};

/// What is said to be flat, or independent of something, is at most so many times its least.
const FLAT: f64 = 1.2;
/// The capacity with which invalidations are counted.
const CAPACITY: u64 = 1 << 20;

const HIT: Figure = Time("hit/4k");
const LEAST: &str = "the fewest";

const AM_0: &[&str] = &["page-am0-of-1k", "page-am0-of-64k", "page-am0-of-1m"];
const AM_9: &[&str] = &["page-am9-of-1k", "page-am9-of-64k", "page-am9-of-1m"];
const AM_18: &[&str] = &["page-am18-of-1k", "page-am18-of-64k", "page-am18-of-1m"];
const AM_63: &[&str] = &["page-am63-of-1k", "page-am63-of-64k", "page-am63-of-1m"];
const DOMAIN: &[&str] = &["domain-of-1k", "domain-of-64k", "domain-of-1m"];
const GLOBAL: &[&str] = &["global-of-1k", "global-of-64k", "global-of-1m"];
const BY_PASID: &[&str] = &["pasid-of-1k", "pasid-of-64k", "pasid-of-1m"];
const LOOKUPS: &[&str] = &["pasids-2^0", "pasids-2^10", "pasids-2^20", "pasids-2^10-with-gaps"];

const ALLOCATIONS: &[&str] = &[
    "allocations-pasid-iotlb-by-pasid",
    "allocations-pasid-iotlb-by-page",
    "allocations-iotlb-by-page",
    "allocations-iotlb-by-domain",
    "allocations-iotlb-global",
    "allocations-pasid-cache-by-pasid",
    "allocations-pasid-cache-global",
    "allocations-context-cache-global",
    "allocations-interrupt-entry-cache",
    "allocations-wait",
];

const READ_FULL: Figure = Time("pasid-cache/read-full");
const READ_SPARSE: Figure = Time("pasid-cache/read-sparse");

/// All rows, in the order of the page.
pub(super) const ROWS: &[Row] = &[
    // Requests.
    compared(
        "hit, 4 KiB page, one thread",
        HIT,
        ("hash-table design", Time("hit/hash-table")),
        RatioAtMost(0.4),
    ),
    compared("hit, 4 KiB page, one thread", HIT, ("table", Time("hit/table")), RatioAtMost(2.0)),
    compared(
        "hit, 4 KiB page, one thread",
        HIT,
        ("rust-vmm's IOTLB", Time("hit/vm-memory")),
        Reported,
    ),
    compared("hit, 2 MiB page", Time("hit/2m"), ("4 KiB hit", HIT), RatioAtMost(1.2)),
    compared("hit, 1 GiB page", Time("hit/1g"), ("4 KiB hit", HIT), RatioAtMost(1.2)),
    compared(
        "hit through a guard of its own",
        Time("hit/guarded"),
        ("without", HIT),
        RatioAtMost(1.5),
    )
    .needing(Need::Membarrier),
    compared(
        "hit through a guard, without membarrier",
        Time("hit/guarded"),
        ("without", HIT),
        RatioAtMost(6.0),
    )
    .needing(Need::NoMembarrier),
    compared(
        "two threads, two devices: how many times as much as one",
        Scaling("threads/ours-1", "threads/ours-2"),
        ("table", Scaling("threads/table-1", "threads/table-2")),
        RatioAtLeast(0.95),
    )
    .needing(Need::Cores(2)),
    compared(
        "two threads, with 100,000 invalidations a second of other domains",
        Time("threads/ours-2-invalidated"),
        ("without", Time("threads/ours-2")),
        RatioAtMost(1.1),
    )
    .needing(Need::Cores(3)),
    compared(
        "misses of 32,768 random addresses",
        Fact("random-misses-percent", Unit::Percent),
        ("hash-table design", Fact("hash-table-random-misses-percent", Unit::Percent)),
        AtMost(2.0),
    ),
    alone(
        "hits of a working set of twice the capacity, cyclic",
        Fact("cyclic-hits-percent", Unit::Percent),
        AtLeast(40.0),
    ),
    compared(
        "miss, four levels, 256 MiB of page tables",
        Time("miss/walk"),
        ("chain", Time("miss/chain")),
        RatioAtMost(1.3),
    ),
    // The ledger.
    compared(
        "(device, PASID) lookup, 1 to 2^20 PASIDs",
        MostInstructions(LOOKUPS),
        (LEAST, FewestInstructions(LOOKUPS)),
        RatioAtMost(1.2),
    ),
    alone(
        "(device, PASID) lookup: dependent loads, by reading the code",
        ByReading(3.0, Unit::Loads),
        AtMost(3.0),
    ),
    compared(
        "(device, PASID) lookup, 1 PASID",
        Time("lookup/2^0"),
        ("chain", Time("lookup/chain-2^0")),
        RatioAtMost(1.5),
    ),
    compared(
        "(device, PASID) lookup, 2^10 PASIDs",
        Time("lookup/2^10"),
        ("chain", Time("lookup/chain-2^10")),
        RatioAtMost(1.5),
    ),
    compared(
        "(device, PASID) lookup, 2^20 PASIDs",
        Time("lookup/2^20"),
        ("chain", Time("lookup/chain-2^20")),
        RatioAtMost(1.5),
    ),
    // Invalidations of emulated devices.
    flat("page-selective invalidation, AM 0, 1 thousand to 1 million cached", AM_0),
    flat("page-selective invalidation, AM 9, 1 thousand to 1 million cached", AM_9),
    flat("page-selective invalidation, AM 18, 1 thousand to 1 million cached", AM_18),
    flat("page-selective invalidation, AM 63, 1 thousand to 1 million cached", AM_63),
    bounded(
        "page-selective invalidation, AM 9",
        "page-am9-of-1m",
        Counts(1 << 9, "page-am0-of-1m"),
    ),
    bounded(
        "page-selective invalidation, AM 18",
        "page-am18-of-1m",
        Counts(1 << 18, "page-am0-of-1m"),
    ),
    bounded(
        "page-selective invalidation, AM 63",
        "page-am63-of-1m",
        Counts(CAPACITY, "page-am0-of-1m"),
    ),
    flat("PASID-IOTLB invalidation by PASID, 1 thousand to 1 million cached", BY_PASID),
    flat("domain-selective invalidation, 1 thousand to 1 million cached", DOMAIN),
    flat("global invalidation, 1 thousand to 1 million cached", GLOBAL),
    // Bindings of assigned devices.
    unchanged(
        "global PASID-cache invalidation, 2^20 unchanged entries",
        "pasid-cache/global-full",
        READ_FULL,
    ),
    unchanged(
        "global PASID-cache invalidation, one present table in 64",
        "pasid-cache/global-sparse",
        READ_SPARSE,
    ),
    unchanged(
        "domain-selective PASID-cache invalidation, 2^20 unchanged entries",
        "pasid-cache/domain-full",
        READ_FULL,
    ),
    unchanged(
        "domain-selective PASID-cache invalidation, one present table in 64",
        "pasid-cache/domain-sparse",
        READ_SPARSE,
    ),
    unchanged("context replay, 2^20 unchanged entries", "pasid-cache/contexts-full", READ_FULL),
    unchanged(
        "context replay, one present table in 64",
        "pasid-cache/contexts-sparse",
        READ_SPARSE,
    ),
    compared(
        "PASID-selective invalidation, 256 assigned devices, unchanged",
        Time("pasid-cache/pasid-of-256"),
        ("chain", Time("pasid-cache/chain-of-256")),
        RatioAtMost(1.5),
    ),
    alone(
        "memory of one binding, full tables",
        Fact("binding-bytes-full-tables", Unit::Bytes),
        AtMost(48.0),
    ),
    alone(
        "memory of one binding, one entry of each table present",
        Fact("binding-bytes-one-of-each-table", Unit::Bytes),
        AtMost(128.0),
    ),
    // The queue.
    alone(
        "allocations of one descriptor, the most of any kind",
        LargestFact(ALLOCATIONS, Unit::Allocations),
        AtMost(0.0),
    ),
    queued("descriptors a second: PASID-IOTLB by PASID", "queue/pasid-iotlb-by-pasid"),
    queued("descriptors a second: PASID-IOTLB by page", "queue/pasid-iotlb-by-page"),
    queued("descriptors a second: IOTLB by page", "queue/iotlb-by-page"),
    queued("descriptors a second: IOTLB by domain", "queue/iotlb-by-domain"),
    queued("descriptors a second: IOTLB, global", "queue/iotlb-global"),
    queued("descriptors a second: PASID cache by PASID", "queue/pasid-cache-by-pasid"),
    queued("descriptors a second: PASID cache, global", "queue/pasid-cache-global"),
    queued("descriptors a second: context cache, global", "queue/context-cache-global"),
    queued("descriptors a second: interrupt entry cache", "queue/interrupt-entry-cache"),
    queued("descriptors a second: wait", "queue/wait"),
];

const fn alone(what: &'static str, ours: Figure, target: Target) -> Row {
    Row { what, ours, against: None, target, needs: Need::Nothing }
}

const fn compared(
    what: &'static str,
    ours: Figure,
    against: (&'static str, Figure),
    target: Target,
) -> Row {
    Row { what, ours, against: Some(against), target, needs: Need::Nothing }
}

const fn flat(what: &'static str, counts: &'static [&'static str]) -> Row {
    compared(what, MostInstructions(counts), (LEAST, FewestInstructions(counts)), RatioAtMost(FLAT))
}

/// It takes at most what so many pages take one by one: those of the range, or as many as the cache holds.
const fn bounded(what: &'static str, ours: &'static str, against: Figure) -> Row {
    compared(what, Count(ours), ("page by page", against), RatioAtMost(1.0))
}

const fn unchanged(what: &'static str, ours: &'static str, read: Figure) -> Row {
    compared(what, Time(ours), ("read", read), RatioAtMost(1.5))
}

const fn queued(what: &'static str, name: &'static str) -> Row {
    alone(what, PerSecond(name), Reported)
}

impl Row {
    const fn needing(mut self, needs: Need) -> Self {
        self.needs = needs;
        self
    }
}
