//! Every kind of request that a device can make: zero-length reads, execute and supervisor requests, translation requests and
//! translated ones; and the page tables that they go through.
#![cfg(test)]

#[path = "../guest/mod.rs"]
mod guest;

mod accessed_dirty;
mod completion_cache;
mod levels;
mod machine;
mod privilege;
mod translated;
mod translation;
mod translation_faults;
mod zero_length;
