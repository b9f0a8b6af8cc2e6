//! Page requests: what a device asks software to make present.

use vtd_spec::descriptor::{PageGroupResponse, ResponseCode};
use vtd_spec::planted::is_planted;
use vtd_spec::{AddressType, FaultReason, FaultRecord, PageRequest, Pasid, RequestKind};
use vtd_walk::{Fault, RootTable, read_context};

use crate::device::Device;
use crate::page_request_queue::Queued;
use crate::shared::{Shared, count};
use crate::translation::Mode;
use crate::{DiagnosticEvent, UnknownDevice};

/// How often a request begins anew because translation is switched under it; after that it is blocked.
const ATTEMPTS: u32 = 4;

/// Why a page request is not in the queue.
///
/// Where the request was the last of its group and no stop marker, the device is given a page group response by the next step:
/// failure. [`UnknownDevice`](Self::UnknownDevice), [`NotShown`](Self::NotShown) and [`Busy`](Self::Busy) are exceptions:
/// then nothing was done, and nothing follows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PageRequestError {
    /// The device has been released, or never was.
    #[error(transparent)]
    UnknownDevice(#[from] UnknownDevice),
    /// ECAP.PRS is 0: the unit has no page requests.
    #[error("the unit shows no page requests (ECAP.PRS)")]
    NotShown,
    /// As many responses as the unit keeps are waiting for a step to deliver them, and this request might need another. To be
    /// handed in again after a step.
    #[error("too many page group responses are waiting to be delivered")]
    Busy,
    /// Blocked without a record: translation is off, or the root table aborts everything.
    #[error("blocked, without a fault record")]
    Blocked,
    /// The request faults. The guest has been told, unless FPD says not to.
    #[error("blocked: {0}")]
    Fault(Fault),
    /// Dropped: the queue is full, or was and PRS.PRO is still set.
    #[error("the page request queue is full")]
    QueueFull,
    /// Dropped, and PRS.PRO set: the entry could not be written to where PQA says.
    #[error("the page request queue cannot be written")]
    QueueNotWritable,
}

impl From<Fault> for PageRequestError {
    fn from(fault: Fault) -> Self {
        Self::Fault(fault)
    }
}

impl Shared {
    /// Checks a page request and enters it in the queue, or refuses it and has the device told.
    pub(crate) fn page_request(
        &self,
        device: &Device,
        request: PageRequest,
    ) -> Result<(), PageRequestError> {
        if !self.caps().page_requests() {
            return Err(PageRequestError::NotShown);
        }
        if device.is_released() {
            return Err(UnknownDevice.into());
        }
        let request = PageRequest {
            source_id: device.source_id(),
            address: request.address.page(),
            group_index: request.group_index & 0x1ff,
            ..request
        };
        // Planted (68): nobody answers a page request that was refused.
        let answered = request.last_in_group && !request.is_stop_marker() && !is_planted(68);
        if answered && self.responses.change(|responses| responses.is_full()) {
            return Err(PageRequestError::Busy);
        }
        let refused = match self.queue_page_request(device, &request) {
            Ok(()) => return Ok(()),
            Err(refused) => refused,
        };
        count(&self.figures.page_requests_dropped);
        match &refused {
            PageRequestError::Fault(fault) => {
                self.record_fault(&fault_record(&request, fault.reason), fault);
            }
            _ => {
                let PageRequest { source_id, pasid, .. } = request;
                self.diagnose(DiagnosticEvent::PageRequestDropped { source_id, pasid });
            }
        }
        if let Some(observer) = &self.config.observer {
            observer.page_request_dropped(&request, &refused);
        }
        if answered {
            self.responses.change(|responses| responses.push(device.id, failure(&request)));
            self.want_wake();
        }
        Err(refused)
    }

    fn queue_page_request(
        &self,
        device: &Device,
        request: &PageRequest,
    ) -> Result<(), PageRequestError> {
        for _ in 0..ATTEMPTS {
            let mode = self.translator().mode;
            let pasid = self.check_page_request(mode, request)?;
            // Planted (69): a page request leaves what is cached of its page.
            if device.is_emulated() && !is_planted(69) {
                let page = request.address.0 >> 12;
                self.translator().caches.invalidate_page(device.id.key(), pasid, page);
            }
            // The registers are held until the entry is in memory and the tail has moved: a reset or the end of translation
            // comes before both or after both.
            let mut registers = self.registers();
            if self.translator().mode != mode {
                continue;
            }
            let memory = &*self.config.memory;
            let (queued, message) =
                registers.with_page_request_cause(|queue| queue.enter(memory, request));
            if queued == Queued::Entered {
                count(&self.figures.page_requests);
                if let Some(observer) = &self.config.observer {
                    observer.page_request_queued(request);
                }
            }
            if let Some(message) = message {
                self.send(message);
            }
            return match queued {
                Queued::Entered => Ok(()),
                Queued::Full => Err(PageRequestError::QueueFull),
                Queued::NotWritable => Err(PageRequestError::QueueNotWritable),
            };
        }
        Err(PageRequestError::Blocked)
    }

    /// Whether the guest's tables admit a page request; the PASID whose translations it is about. The context entry is read
    /// from memory each time: page requests are rare, and what was cached for DMA says nothing of assigned devices.
    fn check_page_request(
        &self,
        mode: Mode,
        request: &PageRequest,
    ) -> Result<Pasid, PageRequestError> {
        let root = match mode {
            Mode::Off | Mode::On(RootTable::Abort) => return Err(PageRequestError::Blocked),
            Mode::On(RootTable::Unusable) => {
                return Err(Fault::new(FaultReason::RootTablePointer).into());
            }
            Mode::On(RootTable::Legacy(_)) => {
                return Err(Fault::new(FaultReason::PageGroupUnderLegacy).into());
            }
            Mode::On(RootTable::Scalable(root)) => root,
        };
        let caps = self.caps();
        let context =
            self.with_memory(|memory| read_context(memory, caps, root, request.source_id))?;
        let beyond = |pasid: Pasid| pasid.get() >= context.pasid_end();
        let (pasid, reason) = match request.pasid {
            _ if !context.page_requests => (Pasid::ZERO, Some(FaultReason::PageRequestDisabled)),
            Some(pasid) if !context.pasids => (pasid, Some(FaultReason::PasidDisabled)),
            Some(pasid) => (pasid, beyond(pasid).then_some(FaultReason::PasidBeyondDirectory)),
            None => {
                let pasid = context.rid_pasid;
                (pasid, beyond(pasid).then_some(FaultReason::PageRequestForRidPasid))
            }
        };
        match reason {
            Some(reason) => Err(Fault { reason, fpd: context.fpd, field: "" }.into()),
            None => Ok(pasid),
        }
    }
}

/// What the unit itself tells a device whose request it did not queue.
fn failure(request: &PageRequest) -> PageGroupResponse {
    PageGroupResponse {
        source_id: request.source_id,
        pasid: request.pasid,
        code: ResponseCode::Failure,
        last_in_group: true,
        group_index: request.group_index,
    }
}

fn fault_record(request: &PageRequest, reason: FaultReason) -> FaultRecord {
    FaultRecord {
        address: request.address.0,
        source_id: request.source_id,
        pasid: request.pasid,
        reason,
        kind: RequestKind::PageRequest,
        execute: request.execute,
        privileged: request.privileged,
        address_type: AddressType::Untranslated,
    }
}
