//! Device-TLB invalidations: what devices are told, and what waits for their answers.
#![cfg(test)]

#[path = "../guest/mod.rs"]
mod guest;

mod delivery;
mod hostile;
mod queue;
mod saved;
mod time_out;
mod waits;
