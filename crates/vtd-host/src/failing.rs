//! A host that fails on request.

use core::fmt;
use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use vtd_spec::descriptor::PageGroupResponse;
use vtd_spec::{Binding, Iova, Slot};

use crate::{
    HostCall, HostCapabilities, HostDevice, HostError, HostErrorKind, HostIommu, InvalidateError,
    Mapping, StageOneInvalidation,
};

/// A host in front of another that fails on request, to test what a unit makes of it.
///
/// A call that fails does not reach the host behind, so it leaves what is held as it is; only a batch of invalidations may
/// be [done in part](Self::handle_at_most). Every call but [`HostIommu::capabilities`] counts and may fail.
pub struct FailingHost<H> {
    inner: H,
    plan: Mutex<Plan>,
}

type Predicate = dyn Fn(&HostCall<'_>) -> bool + Send + Sync;

struct Plan {
    calls: u64,
    failed: u64,
    /// The numbers of calls to come that fail; the first call ever is 1.
    failing: BTreeSet<u64>,
    predicate: Option<Arc<Predicate>>,
    handle_at_most: Option<usize>,
    error: HostError,
}

impl<H> FailingHost<H> {
    /// A host that does what `inner` does until it is told to fail.
    #[must_use]
    pub fn new(inner: H) -> Self {
        let plan = Plan {
            calls: 0,
            failed: 0,
            failing: BTreeSet::new(),
            predicate: None,
            handle_at_most: None,
            error: HostError::new(HostErrorKind::Other),
        };
        Self { inner, plan: Mutex::new(plan) }
    }

    /// The host behind. Calls made to it neither count nor fail.
    pub fn inner(&self) -> &H {
        &self.inner
    }

    /// The host behind, alone again.
    pub fn into_inner(self) -> H {
        self.inner
    }

    /// The next call fails.
    pub fn fail_next(&self) {
        self.fail_nth(1);
    }

    /// The `n`th call from now fails, where 1 is the next. Several may be asked for; one asked for twice fails once. 0 names
    /// a call that is over, and does nothing.
    pub fn fail_nth(&self, n: u64) {
        let mut plan = self.plan();
        let number = plan.calls.saturating_add(n);
        if number > plan.calls {
            plan.failing.insert(number);
        }
    }

    /// From now on every call fails for which `predicate` holds, in addition to those asked for by number; takes the place of
    /// an earlier predicate. It is called with no lock held, and may look at this host.
    ///
    /// ```
    /// use vtd_host::{FailingHost, HostCall, ModelHost};
    ///
    /// let host = FailingHost::new(ModelHost::new());
    /// host.fail_calls(|call| matches!(call, HostCall::Unbind { .. }));
    /// ```
    pub fn fail_calls(&self, predicate: impl Fn(&HostCall<'_>) -> bool + Send + Sync + 'static) {
        self.plan().predicate = Some(Arc::new(predicate));
    }

    /// Of the next batch of invalidations that does not fail as a whole, at most the first `entries` are done; a longer one
    /// then fails at the entry behind.
    pub fn handle_at_most(&self, entries: usize) {
        self.plan().handle_at_most = Some(entries);
    }

    /// What calls fail with from now on. At first it is [`HostErrorKind::Other`] and nothing more.
    pub fn fail_with(&self, error: HostError) {
        self.plan().error = error;
    }

    /// Takes back every request to fail.
    pub fn stop_failing(&self) {
        let mut plan = self.plan();
        plan.failing.clear();
        plan.predicate = None;
        plan.handle_at_most = None;
    }

    /// How many calls were made, failed ones included.
    #[must_use]
    pub fn calls(&self) -> u64 {
        self.plan().calls
    }

    /// How many calls failed on request.
    #[must_use]
    pub fn failed_calls(&self) -> u64 {
        self.plan().failed
    }

    fn plan(&self) -> MutexGuard<'_, Plan> {
        self.plan.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts a call, and fails it if that was asked for.
    fn admit(&self, call: &HostCall<'_>) -> Result<(), HostError> {
        let (by_number, predicate) = {
            let mut plan = self.plan();
            plan.calls = plan.calls.saturating_add(1);
            let number = plan.calls;
            (plan.failing.remove(&number), plan.predicate.clone())
        };
        if by_number || predicate.is_some_and(|holds| holds(call)) {
            Err(self.fail())
        } else {
            Ok(())
        }
    }

    fn fail(&self) -> HostError {
        let mut plan = self.plan();
        plan.failed = plan.failed.saturating_add(1);
        plan.error.clone()
    }
}

impl<H: fmt::Debug> fmt::Debug for FailingHost<H> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FailingHost")
            .field("inner", &self.inner)
            .field("calls", &self.calls())
            .field("failed_calls", &self.failed_calls())
            .finish_non_exhaustive()
    }
}

impl<H: HostIommu> HostIommu for FailingHost<H> {
    fn capabilities(&self, device: HostDevice) -> Result<HostCapabilities, HostError> {
        self.inner.capabilities(device)
    }

    fn bind(&self, device: HostDevice, slot: Slot, binding: &Binding) -> Result<(), HostError> {
        self.admit(&HostCall::Bind { device, slot, binding })?;
        self.inner.bind(device, slot, binding)
    }

    fn replace(&self, device: HostDevice, slot: Slot, binding: &Binding) -> Result<(), HostError> {
        self.admit(&HostCall::Replace { device, slot, binding })?;
        self.inner.replace(device, slot, binding)
    }

    fn unbind(&self, device: HostDevice, slot: Slot) -> Result<(), HostError> {
        self.admit(&HostCall::Unbind { device, slot })?;
        self.inner.unbind(device, slot)
    }

    fn invalidate(
        &self,
        device: HostDevice,
        slot: Slot,
        batch: &[StageOneInvalidation],
    ) -> Result<(), InvalidateError> {
        self.admit(&HostCall::Invalidate { device, slot, batch })
            .map_err(|error| InvalidateError { handled: 0, error })?;
        let handled = self.plan().handle_at_most.take().unwrap_or(batch.len());
        match batch.get(..handled) {
            Some(part) if handled < batch.len() => {
                self.inner.invalidate(device, slot, part)?;
                Err(InvalidateError { handled, error: self.fail() })
            }
            _ => self.inner.invalidate(device, slot, batch),
        }
    }

    fn map(&self, device: HostDevice, slot: Slot, mapping: &Mapping) -> Result<(), HostError> {
        self.admit(&HostCall::Map { device, slot, mapping })?;
        self.inner.map(device, slot, mapping)
    }

    fn unmap(
        &self,
        device: HostDevice,
        slot: Slot,
        first: Iova,
        pages: u64,
    ) -> Result<(), HostError> {
        self.admit(&HostCall::Unmap { device, slot, first, pages })?;
        self.inner.unmap(device, slot, first, pages)
    }

    fn respond(&self, device: HostDevice, response: &PageGroupResponse) -> Result<(), HostError> {
        self.admit(&HostCall::Respond { device, response })?;
        self.inner.respond(device, response)
    }
}
