#![doc = include_str!("../README.md")]
#![forbid(unsafe_code)]

mod accessed_dirty;
mod answer;
mod bits;
mod capabilities;
mod choices;
mod context;
mod coverage;
mod descriptor;
mod desired;
mod device_tlb;
mod fault_records;
mod first_stage;
mod history;
mod interrupt;
mod invalidation;
mod memory;
mod oracle;
mod page_request;
mod pasid;
mod past;
mod path;
mod queue;
mod registers;
mod request;
mod second_stage;
mod stages;
mod tables;
mod translate;
mod unit;
mod walker;

pub use answer::{Answer, Fault, Grant, TranslatedAnswer, Translation, TranslationAnswer};
pub use capabilities::Capabilities;
pub use descriptor::{
    Descriptor, DeviceTlb, DeviceTlbScope, PageGroupResponse, Wait, decode as decode_descriptor,
};
pub use desired::{Desired, Mode, Slot};
pub use fault_records::FaultRecords;
pub use history::{History, Moment};
pub use interrupt::{Interrupt, InterruptAnswer, InterruptRequest};
pub use invalidation::{Invalidation, Pages};
pub use memory::Memory;
pub use oracle::{Allowed, Due, Refused};
pub use page_request::{PageRequest, PageRequestFate, PageRequestOutcome};
pub use path::{EntryKind, Path, Read, Update};
pub use queue::{Queue, QueueStep};
pub use registers::Registers;
pub use request::{Access, Request};
pub use unit::{InterruptState, PageRequestQueue, ProtectedMemory, Unit};
