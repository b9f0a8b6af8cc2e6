//! A machine as a VMM and its guest see it: over the protocol, in raw integers.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test that finds nothing there has failed"
)]

mod device_tlb;
mod dma;
mod hostile;
mod interrupts;
mod recorded;
mod vmm;
