#![doc = include_str!("../README.md")]
#![no_std]
#![forbid(unsafe_code)]

mod access;
mod context;
mod fault;
mod first_stage;
mod interrupt_entry;
mod nested;
mod pasid;
mod pasid_range;
mod read_ahead;
mod root_table;
mod second_stage;
mod second_stage_range;
mod translate;

pub use access::{Access, Granted, TableUpdates};
pub use context::{read_context, read_legacy_context};
pub use fault::Fault;
pub use first_stage::{FirstStageRules, walk_first_stage};
pub use interrupt_entry::read_interrupt_entry;
pub use nested::walk_nested;
pub use pasid::{
    PasidLookup, read_pasid, read_pasid_directory, read_pasid_entry, read_stable_entry,
};
pub use pasid_range::{PasidRange, RangeStep};
pub use root_table::RootTable;
pub use second_stage::{SecondStageCodes, walk_second_stage};
pub use second_stage_range::{LeafStep, SecondStageLeaf, SecondStageRange};
pub use translate::{Translated, translate, translate_legacy};
