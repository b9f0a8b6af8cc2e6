//! Figures of a unit, for people and for tests.

use vtd_cache::{CacheCounts, LedgerCounts};

/// What a unit has done since it was made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct UnitCounts {
    /// Hits and misses of the caches.
    pub caches: CacheCounts,
    /// Slots held, failed and refused.
    pub ledger: LedgerCounts,
    /// Invalidation descriptors carried out.
    pub descriptors: u64,
    /// Descriptors that stopped the queue.
    pub queue_errors: u64,
    /// Faults recorded for the guest.
    pub faults_recorded: u64,
    /// Faults lost to overflow.
    pub faults_lost: u64,
    /// Faults whose recording FPD suppressed.
    pub faults_suppressed: u64,
    /// Calls of the host.
    pub host_calls: u64,
    /// Calls that the host refused.
    pub host_failures: u64,
    /// Effects dropped because nobody took them.
    pub effects_lost: u64,
    /// Effects that [`UnitConfig::diagnostic_limits`](crate::UnitConfig::diagnostic_limits) held back.
    pub effects_suppressed: u64,
    /// Page requests that were queued.
    pub page_requests: u64,
    /// Page requests that were blocked, or dropped because the queue was full.
    pub page_requests_dropped: u64,
    /// Page group responses given to devices and hosts.
    pub page_responses: u64,
    /// Page group responses for devices that are not there or ask for no pages.
    pub page_responses_dropped: u64,
    /// Device-TLB invalidations given to endpoints.
    pub device_tlb_invalidations: u64,
    /// Device-TLB invalidations that no answer came to in time.
    pub device_tlb_time_outs: u64,
}
