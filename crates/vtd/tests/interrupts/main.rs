//! Interrupt remapping: requests, entries, the entry cache, and who is told.
#![cfg(test)]

#[path = "../guest/mod.rs"]
mod guest;

mod commands;
mod entries;
mod faults;
mod invalidation;
mod machine;
mod requests;
mod state;
mod threads;
