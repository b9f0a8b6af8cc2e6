//! Makes recordings: a remapping unit that writes down what its guest, its devices and its host do with it.
//!
//! A VMM makes a [`RecordedUnit`] from the configuration that it has for its unit, and drives it in the unit's place. The
//! recording tells a replay everything that the unit was given: register accesses, resets, requests of every kind, endpoints,
//! assigned devices and what failed on the host, and of guest memory those 64-byte lines that the unit read, whenever their
//! content is not what the recording says already. What the unit did about it follows as outputs.
//!
//! Before each request of an emulated device the recorder also walks the guest's tables itself, without any cache and without
//! setting a bit in them. So the recording says what the tables held at every request, even where the unit answered from its
//! caches and read nothing, and an [audit](crate::audit) can tell from outside whether the answer was still allowed.
//!
//! Where the unit must not be run at each input, a [`Chronicle`] is told what the inputs are.
//!
//! # What it costs
//! - One input at a time: each runs the unit until nothing is left but what waits for the host, as a replay does. So a register write
//!   waits for host calls, and for guards that are open on other threads.
//! - Memory for every 64-byte line that the unit ever reads, about twice its size: as much as the guest makes of its tables
//!   and queues.
//! - A walk of the tables for every request, as if there were no caches: some two or three microseconds.
//!
//! # Device TLBs
//! What an [`Endpoint`](vtd::Endpoint) answers at once is recorded as an input of its own, behind the one in which it was told: the
//! wait behind the invalidation completes there. Time passes for it ([`UnitConfig::device_tlb_patience`](vtd::UnitConfig)) at
//! the inputs of the recorded unit, [`RecordedUnit::run`] among them, and what is overdue then is an input too.
//!
//! # What a recording cannot say
//! The format has no line for these. Where one of the first seven happens, a comment `# note: …` stands in the recording, and
//! [`RecordingSummary::notes`] counts it:
//!
//! - In a recording of version 1 whatever needs version 2: requests that are more than a read or a write, device TLBs, page
//!   requests, interrupt requests, other source-ids and shadowed tables.
//! - A host call that fails after another call of the same input succeeded: `host-fail` is about the next call, so
//!   only the first calls of an input can fail in a replay.
//! - [`RecordedUnit::retry`] and [`RecordedUnit::report_host_fault`].
//! - [`ResetKind::Warm`](vtd::ResetKind::Warm): in the format every reset is a power-on.
//! - Guest memory that is not there: a replay reads zeros.
//! - A write that asks to execute, and an answer to an invalidation that the device was never told while it has others to answer.
//! - What happens between two inputs, where someone steps the unit past the recorder.
//! - Attach and release of an emulated device without an endpoint: a replay attaches it at its first request, and keeps it.
//! - What the host can bind and the quotas of bindings: a replay has a host that can do everything.
//! - Memory that the guest changes while one input is carried out: the recording has the last content that the unit read.
//! - What came before: a recording begins with a unit as it is after power-on.

mod chronicle;
mod device_tlbs;
mod draft;
mod known_memory;
mod note;
mod onlooker;
mod recorded_dma;
mod recorded_requests;
mod recorded_unit;
mod recording_memory;
mod recording_observer;
mod requester;
mod summary;
mod tape;

pub use chronicle::Chronicle;
pub use recorded_dma::{RecordedDma, RecordedGuard};
pub use recorded_unit::RecordedUnit;
pub use requester::Requester;
pub use summary::RecordingSummary;
