//! What threads of a unit do to each other, under every order that a model checker finds within a bound.
//!
//! Built and run with `RUSTFLAGS="--cfg loom"` alone, see docs/verification.md. The unit is the real one: its locks and atomics are
//! loom's then, and so are the status of waits and the quadword of a table that the guest changes.
#![cfg(test)]
#![cfg(loom)]

#[path = "../guest/mod.rs"]
mod guest;

mod bindings;
mod dma;
mod interrupts;
mod machine;
#[cfg(feature = "planted")]
mod planted;
