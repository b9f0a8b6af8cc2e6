#![doc = include_str!("../README.md")]
#![forbid(unsafe_code)]

pub mod cached_translation;
pub mod decoding;
pub mod dmar_table;
pub mod program;
pub mod reconciliation;
pub mod recording_lines;
pub mod recording_oracle;
pub mod small_memory;
pub mod whole_unit;
