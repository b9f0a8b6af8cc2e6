//! What the host answers, and what has to follow.

use vtd_cache::{Call, MappingCall, Outcome};
use vtd_host::{HostError, HostErrorKind};
use vtd_spec::planted::is_planted;

use super::Engine;
use super::task::Purpose;
use crate::Effect;
use crate::device::Device;
use crate::diagnostics::Subject;
use crate::host_calls::{HostAnswer, HostRequest, InvalidateRequest};
use crate::shared::Shared;

impl Engine {
    /// Enters what the host answered, and what has to follow.
    pub(super) fn take_answer(
        &mut self,
        shared: &Shared,
        device: &Device,
        request: HostRequest,
        answer: HostAnswer,
    ) {
        // Planted (row 23): a reset relies on the host.
        let relied_on = is_planted(23) && self.is_at(Purpose::Reset);
        assert!(!(relied_on && answer.error.is_some()), "the host failed during reset");
        let errno = answer.error.as_ref().and_then(|error| error.errno);
        let (slot, operation) = (request.slot(), request.operation());
        self.follow_up = match (request, &answer.error) {
            (HostRequest::Change(change), error) => {
                let outcome = outcome(error.as_ref(), change.call == Call::Unbind);
                self.ledger.settle(&change, outcome).map(HostRequest::Change)
            }
            (HostRequest::Mapping(change), error) => {
                let removes = matches!(change.call, MappingCall::Unmap { .. });
                let outcome = outcome(error.as_ref(), removes);
                self.ledger.settle_mapping(&change, outcome).map(HostRequest::Change)
            }
            (HostRequest::Invalidate(_), None) => None,
            (HostRequest::Invalidate(request), Some(_)) => {
                self.after_failed_invalidation(&request, answer.handled, errno)
            }
        };
        if let Some(error) = answer.error {
            let failed = Effect::HostCallFailed { device: device.id, slot, operation, error };
            shared.push_limited(Subject::HostCallFailed(device.id), failed);
        }
    }

    /// What the host did not drop is tried once more; after that the binding goes.
    fn after_failed_invalidation(
        &mut self,
        request: &InvalidateRequest,
        handled: usize,
        errno: Option<i32>,
    ) -> Option<HostRequest> {
        if request.again {
            let unbind = self.ledger.distrust(request.device, request.slot, errno);
            return unbind.map(HostRequest::Change);
        }
        let batch = request.batch.get(handled..).unwrap_or(&request.batch).to_vec();
        let InvalidateRequest { device, slot, .. } = *request;
        Some(HostRequest::Invalidate(InvalidateRequest { device, slot, batch, again: true }))
    }
}

/// What an answer means for what the host holds. A host that does not have the device holds nothing for it, so nothing is left
/// to be removed.
fn outcome(error: Option<&HostError>, removes: bool) -> Outcome {
    match error {
        None => Outcome::Done,
        Some(error) if removes && error.kind == HostErrorKind::NoSuchDevice => Outcome::Done,
        Some(error) => Outcome::Failed { errno: error.errno },
    }
}
