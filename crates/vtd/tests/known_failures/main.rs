//! Where existing emulations fail: each row of the project's table of known failures, as a guest would see it.
//!
//! A test whose name begins with `known_failure_NN` belongs to row NN. `cargo xtask planted` plants the fault of each row and
//! expects one of these tests to fail. Tables, descriptors and registers are raw integers, never made by the code under test.

#[cfg(test)]
mod bindings;
#[cfg(test)]
mod codes;
#[cfg(test)]
mod entries;
#[cfg(test)]
mod failing_host;
#[cfg(test)]
mod guest;
#[cfg(test)]
mod invalidation;
#[cfg(test)]
mod ordering;
#[cfg(test)]
mod path;
#[cfg(test)]
mod queue;
#[cfg(test)]
mod ram;
#[cfg(test)]
mod raw;
#[cfg(test)]
mod registers;
#[cfg(test)]
mod storm;
#[cfg(test)]
mod translation;
