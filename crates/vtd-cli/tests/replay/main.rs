//! Runs `vtd replay` on the shipped files and on bad ones.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test that cannot set up its files has failed"
)]

mod audit;
mod bad_input;
mod exit_status;
mod program;
mod reports;
