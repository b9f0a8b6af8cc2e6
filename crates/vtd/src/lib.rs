#![doc = include_str!("../README.md")]
#![forbid(unsafe_code)]

mod agreement;
mod ats;
mod config;
mod counts;
mod device;
mod diagnostics;
mod dma;
mod effect;
mod endpoint;
mod engine;
mod error;
mod event_registers;
mod fault_recording;
mod fences;
mod guards;
mod host_calls;
mod interrupt_listener;
mod interrupt_message;
mod interrupt_remapping;
mod invalidation_queue;
mod observer;
mod page_request_queue;
mod page_requests;
mod protected_memory;
mod register_page;
mod remapped_interrupt;
mod renumbering;
mod responses;
mod save_restore;
mod shared;
mod shared_dma;
mod state;
mod sync;
mod translation;
mod unit;
mod unit_endpoints;
mod worker;

pub use ats::{Completion, TranslationRequest};
pub use config::UnitConfig;
pub use counts::UnitCounts;
pub use device::{Attachment, DeviceId, DeviceView};
pub use diagnostics::{Diagnostic, DiagnosticEvent, DiagnosticLimits, RateLimit};
pub use dma::{DmaError, DmaGuard, DmaHandle, DmaPiece, GuardedTranslation};
pub use effect::{Effect, HostOperation, Wake};
pub use endpoint::{
    DeviceTlbAnswer, DeviceTlbInvalidation, DeviceTlbPasids, Endpoint, InvalidationId,
};
pub use engine::{DEFAULT_BUDGET, Step};
pub use error::{AttachError, RenumberError, RestoreError, SaveError, UnknownDevice};
pub use interrupt_listener::{InterruptListener, InvalidatedInterruptEntries};
pub use interrupt_message::InterruptMessage;
pub use observer::{HostCallView, Observer};
pub use page_requests::PageRequestError;
pub use register_page::ResetKind;
pub use remapped_interrupt::{InterruptError, RemappedInterrupt};
pub use save_restore::RestoreOnto;
pub use shared_dma::{SharedDma, SharedGuard};
pub use state::{STATE_VERSION, UnitState};
pub use unit::{HostFault, RemappingUnit};
pub use worker::{Worker, WorkerWake};

pub use vtd_cache::{
    CacheCounts, Capacities, Failure, FailureKind, Held, LedgerCounts, Quotas, ShadowRange,
    SlotState,
};
pub use vtd_host as host;
pub use vtd_memory as memory;
pub use vtd_spec as spec;
pub use vtd_walk::{Access, Fault, Granted, RootTable};
