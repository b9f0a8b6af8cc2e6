#![doc = include_str!("../README.md")]
#![forbid(unsafe_code)]

pub mod block;
pub mod capability;
pub mod config_space;
pub mod endpoint;
mod event_log;
pub mod function;
pub mod guest_map;
pub mod interrupts;
pub mod machine;
pub mod machine_unit;
pub mod pci_address;
pub mod relay;
pub mod unit_function;
