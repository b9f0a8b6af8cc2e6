//! Devices with device TLBs, page requests, interrupt requests and other source-ids, recorded.

use std::sync::Arc;

use vtd::spec::{PageRequest, SourceId};
use vtd::{
    AttachError, Attachment, DeviceId, Endpoint, InterruptError, InvalidationId, PageRequestError,
    RemappedInterrupt, RenumberError, UnknownDevice,
};

use super::device_tlbs::{AnswerLine, RecordedEndpoint};
use super::note::Note;
use super::recorded_unit::{Recorded, RecordedUnit};
use crate::format::Event;
use crate::requests;

impl Recorded {
    fn name_endpoint(
        &self,
        device: DeviceId,
        endpoint: Arc<dyn Endpoint>,
    ) -> Result<Option<Event>, UnknownDevice> {
        let endpoint = RecordedEndpoint::new(endpoint, device, Arc::clone(&self.device_tlbs));
        self.unit.set_endpoint(device, Arc::new(endpoint))?;
        self.device_tlbs.enter(device);
        let source_id = self.source_id(device);
        Ok(source_id.map(|source_id| Event::Endpoint { source_id, later: true }))
    }

    /// A device has answered: the line of it, if it has one.
    pub(super) fn answer_device_tlb(
        &self,
        device: DeviceId,
        id: InvalidationId,
    ) -> Result<Option<Event>, UnknownDevice> {
        self.unit.device_tlb_invalidated(device, id)?;
        let source_id = self.source_id(device);
        Ok(match self.device_tlbs.answer(device, id) {
            AnswerLine::Done => source_id.map(|source_id| Event::DeviceTlbDone { source_id }),
            AnswerLine::Nothing => None,
            AnswerLine::Unsaid => {
                if let Some(source_id) = source_id {
                    self.note(Note::UnexpectedAnswer(source_id));
                }
                None
            }
        })
    }
}

impl RecordedUnit {
    /// [`RemappingUnit::attach_endpoint`](vtd::RemappingUnit::attach_endpoint). In the recording the endpoint answers later, and
    /// behind an input come its answers.
    ///
    /// # Errors
    /// As there; the recording does not have the attempt then.
    pub fn attach_endpoint(
        &self,
        source_id: SourceId,
        endpoint: Arc<dyn Endpoint>,
    ) -> Result<DeviceId, AttachError> {
        self.input(|recorded| {
            let device = match recorded.unit.attach(source_id, Attachment::Emulated) {
                Ok(device) => device,
                Err(error) => return (Err(error), None),
            };
            // It was attached within this input, so it is there.
            let line = recorded.name_endpoint(device, endpoint).ok().flatten();
            (Ok(device), line)
        })
    }

    /// [`RemappingUnit::set_endpoint`](vtd::RemappingUnit::set_endpoint).
    ///
    /// # Errors
    /// As there.
    pub fn set_endpoint(
        &self,
        device: DeviceId,
        endpoint: Arc<dyn Endpoint>,
    ) -> Result<(), UnknownDevice> {
        self.input(|recorded| match recorded.name_endpoint(device, endpoint) {
            Ok(line) => (Ok(()), line),
            Err(error) => (Err(error), None),
        })
    }

    /// [`RemappingUnit::device_tlb_invalidated`](vtd::RemappingUnit::device_tlb_invalidated).
    ///
    /// # Errors
    /// As there.
    pub fn device_tlb_invalidated(
        &self,
        device: DeviceId,
        id: InvalidationId,
    ) -> Result<(), UnknownDevice> {
        self.input(|recorded| match recorded.answer_device_tlb(device, id) {
            Ok(line) => (Ok(()), line),
            Err(error) => (Err(error), None),
        })
    }

    /// [`RemappingUnit::expire_device_tlb`](vtd::RemappingUnit::expire_device_tlb).
    ///
    /// # Errors
    /// As there.
    pub fn expire_device_tlb(&self, device: DeviceId) -> Result<(), UnknownDevice> {
        self.input(|recorded| {
            let expired = recorded.unit.expire_device_tlb(device);
            let told = expired.is_ok() && recorded.device_tlbs.contains(device);
            if told {
                recorded.device_tlbs.expire(device);
            }
            let source_id = recorded.source_id(device).filter(|_| told);
            (expired, source_id.map(|source_id| Event::DeviceTlbTimeout { source_id }))
        })
    }

    /// [`RemappingUnit::page_request`](vtd::RemappingUnit::page_request).
    ///
    /// # Errors
    /// As there.
    pub fn page_request(
        &self,
        device: DeviceId,
        request: PageRequest,
    ) -> Result<(), PageRequestError> {
        self.input(|recorded| {
            let answer = recorded.unit.page_request(device, request);
            let nothing_was_done = matches!(
                answer,
                Err(PageRequestError::UnknownDevice(_)
                    | PageRequestError::NotShown
                    | PageRequestError::Busy)
            );
            let source_id = recorded.source_id(device).filter(|_| !nothing_was_done);
            let line = |source_id| requests::recorded_page_request(source_id, &request);
            (answer, source_id.map(line))
        })
    }

    /// [`RemappingUnit::renumber`](vtd::RemappingUnit::renumber).
    ///
    /// # Errors
    /// As there.
    pub fn renumber(&self, device: DeviceId, source_id: SourceId) -> Result<(), RenumberError> {
        self.input(|recorded| {
            let before = recorded.source_id(device).filter(|before| *before != source_id);
            let renumbered = recorded.unit.renumber(device, source_id);
            let line = before.map(|before| Event::Renumber { source_id: before, new: source_id });
            (renumbered, line.filter(|_| renumbered.is_ok()))
        })
    }

    /// [`RemappingUnit::remap_interrupt`](vtd::RemappingUnit::remap_interrupt).
    ///
    /// # Errors
    /// As there.
    pub fn remap_interrupt(
        &self,
        source_id: SourceId,
        address: u64,
        data: u32,
    ) -> Result<RemappedInterrupt, InterruptError> {
        self.deliver_interrupt(source_id, address, data, |interrupt| *interrupt)
    }

    /// [`RemappingUnit::deliver_interrupt`](vtd::RemappingUnit::deliver_interrupt).
    ///
    /// # Errors
    /// As there.
    pub fn deliver_interrupt<T>(
        &self,
        source_id: SourceId,
        address: u64,
        data: u32,
        deliver: impl FnOnce(&RemappedInterrupt) -> T,
    ) -> Result<T, InterruptError> {
        self.input(|recorded| {
            let mut delivered = None;
            let answer = recorded.unit.deliver_interrupt(source_id, address, data, |interrupt| {
                delivered = Some(*interrupt);
                deliver(interrupt)
            });
            let answered = match (&answer, delivered) {
                (Err(InterruptError::NotAnInterrupt), _) => None,
                (Err(error), _) => Some(requests::interrupt_answer(&Err(*error))),
                (Ok(_), interrupt) => {
                    interrupt.map(|interrupt| requests::interrupt_answer(&Ok(interrupt)))
                }
            };
            let line = |answer| Event::Interrupt { source_id, address, data, answer };
            (answer, answered.map(line))
        })
    }
}
