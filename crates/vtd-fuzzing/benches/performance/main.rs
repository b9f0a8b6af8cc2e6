//! What requests and invalidations cost in time, next to what they are compared with. `cargo xtask bench` runs this and makes a page of it.

#![allow(clippy::expect_used, reason = "a benchmark that cannot be set up is to stop")]
#![allow(clippy::cast_possible_truncation, reason = "numbers are below what they are cast to")]
#![allow(clippy::indexing_slicing, reason = "tables are indexed by what is in range")]

mod baseline;
mod hits;
mod lookups;
mod misses;
mod pasid_cache;
mod queue;
mod threads;

#[path = "../machine/mod.rs"]
mod machine;

use std::time::Duration;

use criterion::Criterion;

fn main() {
    let mut criterion = Criterion::default()
        .without_plots()
        .warm_up_time(Duration::from_millis(300))
        .measurement_time(Duration::from_secs(1))
        .sample_size(50)
        .configure_from_args();
    hits::measure(&mut criterion);
    misses::measure(&mut criterion);
    lookups::measure(&mut criterion);
    pasid_cache::measure(&mut criterion);
    queue::measure(&mut criterion);
    threads::measure(&mut criterion);
    criterion.final_summary();
}
