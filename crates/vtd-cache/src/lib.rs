#![doc = include_str!("../README.md")]
#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;

mod caches;
mod change;
mod device_key;
mod domain_epochs;
mod domain_filter;
mod domain_generations;
mod handle_cache;
mod interrupt_entry_cache;
mod iotlb;
mod ledger;
mod number_set;
mod pasid_map;
mod range_request;
mod range_requests;
mod reconciliation;
mod saved;
mod scope;
mod set_cache;
mod shadow;
mod shadow_walk;
mod slot_state;
mod stage_one_walk;
mod sync;
mod translation;
mod wanted;
mod watch;

pub use caches::{CacheCounts, CachedContext, CachedPasid, Caches, Capacities, Lookup};
pub use change::{Call, Change, Outcome};
pub use device_key::DeviceKey;
pub use handle_cache::{HandleCache, Resolution};
pub use interrupt_entry_cache::{InterruptEntryCache, InterruptLookup};
pub use ledger::{Ledger, LedgerCounts, Quotas};
pub use pasid_map::PasidMap;
pub use range_request::RangeRequest;
pub use range_requests::RangeRequests;
pub use reconciliation::{Next, Reconciliation};
pub use saved::SavedSlot;
pub use scope::{DeviceScope, Scope, SlotScope};
pub use shadow::{SavedShadow, ShadowRange};
pub use shadow_walk::{MappingCall, MappingChange, NextMapping, ShadowScope, ShadowWalk};
pub use slot_state::{Failure, FailureKind, Held, SlotState};
pub use stage_one_walk::{NextStageOne, StageOneScope, StageOneWalk};
pub use translation::{PackedTranslation, Tag, Translation};
pub use wanted::{Tables, Wanted};
