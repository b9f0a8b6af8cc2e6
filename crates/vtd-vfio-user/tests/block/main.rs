//! The block device as its driver sees it: registers and rings, in raw integers.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test that finds nothing there has failed"
)]

mod command_line;
mod faults;
mod guest;
mod hostile;
mod recorded;
mod registers;
mod requests;
mod resets;
