//! The calls that a step makes to the outside, with no lock held.

use std::sync::Arc;

use vtd_host::{HostError, HostErrorKind};
use vtd_spec::Slot;
use vtd_spec::descriptor::PageGroupResponse;

use super::virtual_commands::{AllocatorAnswer, AllocatorCall};
use super::{Engine, interrupts, virtual_commands};
use crate::device::Device;
use crate::diagnostics::Subject;
use crate::host_calls::{HostAnswer, HostRequest, perform};
use crate::shared::{Shared, count};
use crate::{
    Attachment, DeviceId, DeviceTlbAnswer, DeviceTlbInvalidation, Effect, Endpoint, HostOperation,
    InvalidatedInterruptEntries,
};

/// A call to be made.
pub(super) enum OutgoingCall {
    /// The host, for a binding.
    Host(Arc<Device>, HostRequest),
    /// An endpoint, to drop translations.
    DeviceTlb(Arc<Device>, Arc<dyn Endpoint>, DeviceTlbInvalidation),
    /// An endpoint or the host, for a page group response.
    Response(Arc<Device>, PageGroupResponse),
    /// Whoever keeps remapped interrupts.
    InterruptListener(InvalidatedInterruptEntries),
    /// The allocator of the guest's PASIDs.
    Allocator(AllocatorCall),
}

/// What came back.
pub(super) enum Returned {
    Host(Arc<Device>, HostRequest, HostAnswer),
    DeviceTlb(Arc<Device>, DeviceTlbInvalidation, DeviceTlbAnswer),
    Response(Arc<Device>, PageGroupResponse, Result<(), HostError>),
    InterruptListener,
    Allocator(AllocatorCall, AllocatorAnswer),
}

impl OutgoingCall {
    /// The call for a request, if its device is still there.
    pub(super) fn to_host(shared: &Shared, request: HostRequest) -> Option<Self> {
        let device = shared.devices().get(DeviceId(request.device().0)).cloned()?;
        Some(Self::Host(device, request))
    }

    /// Makes the call. No lock of the unit is held.
    pub(super) fn make(self, shared: &Shared) -> Returned {
        match self {
            Self::Host(device, request) => {
                let answer = perform(shared, &device, &request);
                Returned::Host(device, request, answer)
            }
            Self::DeviceTlb(device, endpoint, invalidation) => {
                count(&shared.figures.device_tlb_invalidations);
                if let Some(observer) = &shared.config.observer {
                    observer.device_tlb_invalidation(&invalidation);
                }
                let answer = endpoint.invalidate_device_tlb(&invalidation);
                Returned::DeviceTlb(device, invalidation, answer)
            }
            Self::Response(device, response) => {
                count(&shared.figures.page_responses);
                if let Some(observer) = &shared.config.observer {
                    observer.page_response(&response);
                }
                let answer = respond(shared, &device, &response);
                Returned::Response(device, response, answer)
            }
            Self::InterruptListener(entries) => {
                interrupts::tell(shared, entries);
                Returned::InterruptListener
            }
            Self::Allocator(call) => Returned::Allocator(call, virtual_commands::ask(shared, call)),
        }
    }
}

fn respond(
    shared: &Shared,
    device: &Device,
    response: &PageGroupResponse,
) -> Result<(), HostError> {
    match (device.attachment, &shared.config.host, device.endpoint()) {
        (Attachment::Emulated, _, Some(endpoint)) => {
            endpoint.page_group_response(response);
            Ok(())
        }
        // Released meanwhile.
        (Attachment::Emulated, _, None) => Ok(()),
        (Attachment::Assigned(host_device), Some(host), _) => {
            count(&shared.figures.host_calls);
            let answer = host.respond(host_device, response);
            if answer.is_err() {
                count(&shared.figures.host_failures);
            }
            answer
        }
        // Assigned devices are refused without a host.
        (Attachment::Assigned(_), None, _) => Err(HostErrorKind::NoSuchDevice.into()),
    }
}

impl Engine {
    /// Enters what a call has come to.
    pub(super) fn take_returned(&mut self, shared: &Shared, returned: Returned) {
        match returned {
            Returned::Host(device, request, answer) => {
                self.take_answer(shared, &device, request, answer);
            }
            Returned::DeviceTlb(_, _, DeviceTlbAnswer::Later) | Returned::InterruptListener => {}
            Returned::Allocator(call, answer) => self.take_allocated(shared, call, answer),
            Returned::DeviceTlb(device, invalidation, DeviceTlbAnswer::Done) => {
                self.take_device_tlb_answer(shared, &device, invalidation.id);
            }
            Returned::Response(_, _, Ok(())) => {}
            Returned::Response(device, response, Err(error)) => {
                let (device, operation) = (device.id, HostOperation::Respond);
                let slot = response.pasid.map_or(Slot::Rid, Slot::Pasid);
                let failed = Effect::HostCallFailed { device, slot, operation, error };
                shared.push_limited(Subject::HostCallFailed(device), failed);
            }
        }
    }
}
