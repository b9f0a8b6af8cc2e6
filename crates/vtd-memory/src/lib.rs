#![doc = include_str!("../README.md")]
#![no_std]
#![deny(unsafe_code)]

#[cfg(feature = "std")]
extern crate std;

mod access_error;
#[cfg(feature = "file")]
mod file;
#[cfg(feature = "file")]
mod file_error;
mod guest_memory;
#[cfg(feature = "std")]
mod page;
#[cfg(feature = "std")]
mod qword;
#[cfg(feature = "file")]
mod region;
#[cfg(feature = "std")]
mod span;
#[cfg(feature = "std")]
mod sparse;

pub use access_error::{AccessError, AccessErrorKind};
#[cfg(feature = "file")]
pub use file::FileMemory;
#[cfg(feature = "file")]
pub use file_error::FileMemoryError;
pub use guest_memory::GuestMemory;
#[cfg(feature = "file")]
pub use region::Region;
#[cfg(feature = "std")]
pub use sparse::SparseMemory;
