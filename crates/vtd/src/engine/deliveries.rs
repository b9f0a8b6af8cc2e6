//! What devices are told: device-TLB invalidations and page group responses, in order, and what becomes of them.

use std::sync::Arc;

use vtd_spec::SourceId;
use vtd_spec::descriptor::{Descriptor, PageGroupResponse, PageRange, PasidSelection};

use super::Engine;
use super::device_tlbs::Answered;
use super::outgoing::OutgoingCall;
use crate::device::Device;
use crate::diagnostics::Subject;
use crate::shared::{Shared, count};
use crate::{DeviceId, DeviceTlbPasids, Effect, InvalidationId};

/// A device-TLB invalidation as a descriptor of type 3 or 8 asks for it.
struct Wanted {
    source_id: SourceId,
    pfsid: SourceId,
    pasids: DeviceTlbPasids,
    pages: PageRange,
}

impl Wanted {
    fn of(descriptor: &Descriptor) -> Option<Self> {
        match descriptor {
            Descriptor::DeviceTlb(asked) => Some(Self {
                source_id: asked.source_id,
                pfsid: asked.pfsid,
                pasids: DeviceTlbPasids::WithoutPasid,
                pages: asked.pages,
            }),
            Descriptor::PasidDeviceTlb(asked) => Some(Self {
                source_id: asked.source_id,
                pfsid: asked.pfsid,
                pasids: match asked.pasids {
                    PasidSelection::One(pasid) => DeviceTlbPasids::One(pasid),
                    PasidSelection::All => DeviceTlbPasids::All,
                },
                pages: asked.pages,
            }),
            _ => None,
        }
    }
}

impl Engine {
    /// Whether a descriptor has to wait until devices have answered what they were told before.
    pub(super) fn is_held_back(&self, shared: &Shared, descriptor: &Descriptor) -> bool {
        match (descriptor, Wanted::of(descriptor)) {
            (_, Some(wanted)) => attached(shared, wanted.source_id)
                .is_some_and(|device| device.has_endpoint() && self.device_tlbs.is_full(device.id)),
            (Descriptor::PageGroupResponse(_), None) => {
                shared.responses.change(|responses| responses.is_full())
            }
            (_, None) => false,
        }
    }

    /// Type 3 or 8. A device without an endpoint has no device TLB, and a host flushes those of assigned devices itself.
    pub(super) fn invalidate_device_tlb(&mut self, shared: &Shared, descriptor: &Descriptor) {
        if let Some(Wanted { source_id, pfsid, pasids, pages }) = Wanted::of(descriptor)
            && let Some(device) = attached(shared, source_id)
            && device.has_endpoint()
        {
            let barrier = shared.guards.barrier();
            self.device_tlbs.enter(device.id, source_id, pfsid, pasids, pages, barrier);
        }
        self.advance_head(shared);
    }

    /// Type 9.
    pub(super) fn respond_to_page_group(&mut self, shared: &Shared, response: &PageGroupResponse) {
        match attached(shared, response.source_id) {
            Some(device) if device.has_endpoint() || !device.is_emulated() => {
                shared.responses.change(|responses| responses.push(device.id, *response));
            }
            _ => count(&shared.figures.page_responses_dropped),
        }
        self.advance_head(shared);
    }

    /// Whether devices have been told everything so far, and have answered.
    pub(super) fn is_settled(&self, shared: &Shared) -> bool {
        self.device_tlbs.is_empty() && shared.responses.is_empty()
    }

    /// Whether something can be delivered now. What waits for the VMM to name an endpoint cannot, nor what waits for a guard.
    pub(super) fn has_delivery(&self, shared: &Shared) -> bool {
        let nothing = !self.device_tlbs.has_undelivered() && shared.responses.is_empty();
        !nothing && self.delivery_to(shared).is_some()
    }

    fn delivery_to(&self, shared: &Shared) -> Option<(Arc<Device>, Kind)> {
        let found = |device| shared.devices().get(device).cloned();
        // A device's invalidations have their barriers in order, so what is found is its first.
        let ready = |(device, barrier)| {
            let past = shared.guards.passed_by(barrier, device);
            past.then(|| found(device)).flatten().filter(|device| device.endpoint().is_some())
        };
        if let Some(device) = self.device_tlbs.undelivered().find_map(ready) {
            return Some((device, Kind::DeviceTlb));
        }
        let waiting: Vec<_> = shared.responses.change(|responses| responses.devices().collect());
        let device = waiting
            .into_iter()
            .filter_map(found)
            .find(|device| !device.is_emulated() || device.endpoint().is_some())?;
        Some((device, Kind::Response))
    }

    /// The next thing to tell a device.
    pub(super) fn take_delivery(&mut self, shared: &Shared) -> Option<OutgoingCall> {
        let (device, kind) = self.delivery_to(shared)?;
        match kind {
            Kind::DeviceTlb => {
                let endpoint = device.endpoint()?;
                let invalidation = self.device_tlbs.deliver(device.id)?;
                Some(OutgoingCall::DeviceTlb(device, endpoint, invalidation))
            }
            Kind::Response => {
                let response = shared.responses.change(|responses| responses.take(device.id))?;
                Some(OutgoingCall::Response(device, response))
            }
        }
    }

    /// A device has answered: what it was told is done, or the answer means nothing any more, or it is to nothing that the
    /// device was told (FSTS.ICE).
    pub(crate) fn take_device_tlb_answer(
        &mut self,
        shared: &Shared,
        device: &Device,
        id: InvalidationId,
    ) {
        match self.device_tlbs.answer(device.id, id) {
            Answered::Outstanding(invalidation) => {
                if let Some(observer) = &shared.config.observer {
                    observer.device_tlb_answered(&invalidation);
                }
                shared.want_wake();
            }
            Answered::Late => {}
            Answered::Unexpected => {
                let mut registers = shared.registers();
                if let Some(message) = registers.completion_error(device.source_id()) {
                    shared.send(message);
                }
            }
        }
    }

    /// The VMM says that a device does not answer any more.
    pub(crate) fn expire_device_tlb(&mut self, device: DeviceId) {
        self.device_tlbs.expire(device);
    }

    /// The device has another endpoint.
    pub(crate) fn deliver_again(&mut self, device: DeviceId) {
        self.device_tlbs.deliver_again(device);
    }

    /// The device is gone: what it has not answered counts as done.
    pub(crate) fn forget_device_tlb(&mut self, device: DeviceId) {
        self.device_tlbs.forget(device);
    }

    /// Tells the guest of a device that has not answered in time. The wait at the head is aborted: IQH moves on without a
    /// status, so that it is not carried out when software clears ITE. Until then no other time-out is told, since IQERCD
    /// names one device. Whether any was found.
    pub(super) fn tell_time_outs(&mut self, shared: &Shared) -> bool {
        let mut found = false;
        // A restored unit takes up its wait first, which is then aborted.
        while !self.device_tlbs.is_empty() && !self.descriptor_begun {
            let told = shared.registers().faults.has_time_out();
            if told && !self.queue_closing {
                break;
            }
            let patience = shared.config.device_tlb_patience;
            let Some((device, overdue)) = self.device_tlbs.take_overdue(patience) else { break };
            found = true;
            count(&shared.figures.device_tlb_time_outs);
            let told_vmm = Effect::DeviceTlbTimedOut(device);
            shared.push_limited(Subject::DeviceTlbTimedOut(device), told_vmm);
            if let Some(observer) = &shared.config.observer {
                observer.device_tlb_timed_out(&overdue);
            }
            if told {
                // Nothing waits for it any more but the end of the queue.
                continue;
            }
            let mut registers = shared.registers();
            if let Some(message) = registers.time_out(overdue.source_id) {
                shared.send(message);
            }
            drop(registers);
            if let Some((wait, _)) = self.wait.take() {
                if let Some(observer) = &shared.config.observer {
                    observer.wait_aborted(&wait);
                }
                self.advance_head(shared);
            }
        }
        found
    }
}

enum Kind {
    DeviceTlb,
    Response,
}

/// The device of a source-id, if it is there and not on its way out.
fn attached(shared: &Shared, source_id: SourceId) -> Option<Arc<Device>> {
    let devices = shared.devices();
    devices.of_source(source_id).filter(|device| !device.is_released()).cloned()
}

/// Drops responses that no device takes: of those that have been released or have nobody to be told. Nothing is to wait for them.
pub(super) fn drop_undeliverable(shared: &Shared) {
    if shared.responses.is_empty() {
        return;
    }
    let waiting: Vec<_> = shared.responses.change(|responses| responses.devices().collect());
    let takes = |device: &DeviceId| {
        let device = shared.devices().get(*device).cloned();
        device.is_some_and(|device| {
            !device.is_released() && (!device.is_emulated() || device.has_endpoint())
        })
    };
    let gone: Vec<_> = waiting.into_iter().filter(|device| !takes(device)).collect();
    let keep = |device| !gone.contains(&device);
    let dropped = shared.responses.change(|responses| responses.retain(keep));
    for _ in 0..dropped {
        count(&shared.figures.page_responses_dropped);
    }
}
