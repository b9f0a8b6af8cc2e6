//! What is not a matter of time: how much the caches hit, and how much memory things take. Prints it as JSON, for `cargo xtask bench`.

#![allow(clippy::expect_used, reason = "what cannot be set up is to stop")]
#![allow(clippy::cast_precision_loss, reason = "figures are for people")]
#![allow(clippy::indexing_slicing, reason = "tables are indexed by what is in range")]

mod hit_rates;
mod memory;

#[allow(dead_code, reason = "one of them is for what is not a matter of time")]
#[path = "../performance/baseline.rs"]
mod baseline;
#[path = "../machine/mod.rs"]
mod machine;

use serde_json::{Map, Value};

/// Counts what is allocated.
#[global_allocator]
static ALLOCATOR: dhat::Alloc = dhat::Alloc;

fn main() {
    let _profiler = dhat::Profiler::builder().testing().build();
    let facts = hit_rates::facts().into_iter().chain(memory::facts());
    let facts: Map<_, _> = facts.map(|(name, value)| (name, Value::from(value))).collect();
    println!("{}", Value::Object(facts));
}
