#![doc = include_str!("../README.md")]
#![forbid(unsafe_code)]

pub mod cached_translation;
pub mod decoding;
pub mod dmar_table;
pub mod memory_image;
pub mod page_walk;
pub mod pasid_range_walk;
pub mod program;
pub mod reconciliation;
pub mod recording_lines;
pub mod recording_oracle;
pub mod search;
pub mod seeds;
pub mod small_memory;
pub mod state_restore;
pub mod table_image;
pub mod targets;
pub mod whole_unit;
