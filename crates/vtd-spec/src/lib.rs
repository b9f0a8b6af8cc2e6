#![doc = include_str!("../README.md")]
#![no_std]
#![forbid(unsafe_code)]

mod address;
mod binding;
mod capability;
mod capability_builder;
mod capability_list;
pub mod descriptor;
mod entry;
mod fault;
mod fault_record;
mod identity;
mod interrupt_remapping_entry;
mod interrupt_request;
mod page_request;
#[doc(hidden)]
pub mod planted;
pub mod register;
pub mod table;

pub use address::{Gpa, Iova};
pub use binding::{Binding, FirstStage, FirstStageLevels, Slot};
pub use capability::{Capabilities, CapabilityError};
pub use capability_builder::{CapabilitiesBuilder, InterruptRemapping};
pub use entry::{Entry, Malformed};
pub use fault::FaultReason;
pub use fault_record::{AddressType, FaultRecord, RequestKind};
pub use identity::{DomainId, ParseSourceIdError, Pasid, SourceId};
pub use interrupt_remapping_entry::{InterruptDelivery, InterruptRemappingEntry, SourceValidation};
pub use interrupt_request::InterruptRequest;
pub use page_request::{PageRequest, PageRequestError};
