//! The register page.
#![cfg(test)]

#[path = "../guest/mod.rs"]
mod guest;

mod commands;
mod fault_recording;
mod invalidation_queue;
mod page;
mod register_invalidation;
mod reset;
mod writable_bits;
