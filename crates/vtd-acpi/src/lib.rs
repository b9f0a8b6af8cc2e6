#![doc = include_str!("../README.md")]
#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;

mod decode_error;
mod device_scope;
mod dmar;
mod encode_error;
mod reader;
mod structures;
mod writer;

pub use decode_error::{DecodeError, DecodeErrorKind};
pub use device_scope::{DeviceScope, PathStep, ScopedDevice};
pub use dmar::{Dmar, TableIds};
pub use encode_error::EncodeError;
pub use structures::{Andd, Atsr, Drhd, OtherStructure, Rhsa, Rmrr, Satc, Sidp};
