//! The registers of a remapping unit, decoded.
//!
//! Every type has `from_bits`, which takes any value and drops what has no meaning, and `bits`, its inverse on what has one.
//! CAP and ECAP are [`Capabilities`](crate::Capabilities), a fault recording register is a [`FaultRecord`](crate::FaultRecord).

mod context_command;
mod event;
mod fault_status;
mod global;
mod interrupt_table;
mod invalidation_queue;
mod iotlb_command;
pub mod offset;
mod page_request_queue;
mod protected_memory;
mod root_table;
mod version;
mod virtual_command;

pub use context_command::ContextCommand;
pub use event::EventControl;
pub use fault_status::FaultStatus;
pub use global::{GlobalCommand, GlobalStatus};
pub use interrupt_table::InterruptTableAddress;
pub use invalidation_queue::{
    InvalidationCompletion, QueueAddress, QueueError, QueueErrorInfo, QueuePointer,
};
pub use iotlb_command::{InvalidateAddress, IotlbCommand};
pub use page_request_queue::{PageRequestQueueAddress, PageRequestQueuePointer, PageRequestStatus};
pub use protected_memory::ProtectedMemoryEnable;
pub use root_table::{RootTableAddress, TableMode};
pub use version::Version;
pub use virtual_command::{VirtualCommand, VirtualCommandCapability, VirtualCommandResponse};

/// Bits 63:12, where a register keeps the address of a 4 KiB aligned table or queue.
const BASE: u64 = !0xfff;
