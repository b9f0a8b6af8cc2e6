#![doc = include_str!("../README.md")]
#![forbid(unsafe_code)]

mod map;
mod memory;
mod span;

pub use memory::VmMemory;
