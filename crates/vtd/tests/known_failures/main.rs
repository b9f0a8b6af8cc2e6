//! Where existing emulations fail: each row of the project's table of known failures, as a guest would see it.
//!
//! A test whose name begins with `known_failure_NN` belongs to row NN. `cargo xtask planted` plants the fault of each row and
//! expects one of these tests to fail. Tables, descriptors and registers are raw integers, never made by the code under test.
#![cfg(test)]

mod bindings;
mod codes;
mod endpoints;
mod entries;
mod failing_host;
mod fault_cases;
mod flood;
mod fpd;
mod guest;
mod interrupts;
mod invalidation;
mod nested;
mod ordering;
mod path;
mod queue;
mod ram;
mod raw;
mod records;
mod registers;
mod request_cases;
mod shadows;
mod storm;
mod translation;
