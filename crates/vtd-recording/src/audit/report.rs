//! What an audit found.

use serde::Serialize;

/// What an audit found.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct AuditReport {
    /// Requests with an answer that were judged: `dma`, `translate` and `translated` lines.
    pub requests: u64,
    /// Those whose answer is no longer what the tables say, though the guest has not been told so yet.
    pub stale: u64,
    /// Requests that were answered and not judged: those of host-backed devices; translated requests to addresses that the device was
    /// never given; and those where the guest has changed an entry too often without an invalidation.
    pub unjudged: u64,
    /// Invalidations that the guest was told are done.
    pub invalidations: u64,
    /// Requests that were answered with what the guest had been told is invalid, or with what the tables never said.
    pub violations: u64,
    /// The first of these.
    pub uses: Vec<UseAfterInvalidation>,
}

/// A request that was answered with what the guest had been told is invalid.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct UseAfterInvalidation {
    /// The request's line, counted from 1.
    pub line: u64,
    /// The request with its answer, as its line.
    pub request: String,
    /// What the tables said of it at that moment.
    pub tables: String,
    /// The last line at which the tables gave this answer, if they ever did.
    pub valid_until: Option<u64>,
    /// The invalidation that covers it, in words; none where the tables never gave the answer.
    pub invalidation: Option<String>,
    /// The line at which the guest asked for the invalidation.
    pub asked: Option<u64>,
    /// The line at which the guest could know that it is done.
    pub done: Option<u64>,
}

impl AuditReport {
    pub(super) fn violation(&mut self, keep: usize, found: impl FnOnce() -> UseAfterInvalidation) {
        self.violations += 1;
        if self.uses.len() < keep {
            self.uses.push(found());
        }
    }
}
