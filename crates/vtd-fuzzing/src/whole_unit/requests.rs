//! What devices ask for.

use std::rc::Rc;
use std::sync::{Arc, PoisonError};

use vtd::spec::{Gpa, Iova, PageRequest, Pasid, SourceId};
use vtd::{Access, DeviceId, DmaError, DmaHandle, Step, TranslationRequest};
use vtd_recording::format::Event;
use vtd_recording::recorder::Requester;

use super::world::{IQT, World};
use crate::program::RequestOperation;
use crate::program::pools::{PAGES, PASIDS, SOURCES, of};

impl World {
    /// A request is recorded as one that is blocked, should it end the program before there is an answer.
    pub(super) fn request_begins(&self, line: impl FnOnce(DmaError) -> Option<Event>) {
        self.record(|recording| {
            line(DmaError::Blocked).into_iter().for_each(|line| recording.begin(line));
        });
    }

    pub(super) fn request(&mut self, request: &RequestOperation) {
        let Some(device) = self.device(request.source) else { return };
        let bits = request.bits;
        let pasid = of(&PASIDS, request.pasid);
        let pasid = if bits.has(4) { Pasid::new(pasid) } else { None };
        let source_id = of(&SOURCES, request.source);
        let address = of(&PAGES, request.page) << 12;
        let access = match (bits.has(0), bits.has(3)) {
            (true, _) => Access::WRITE,
            (false, true) => Access::ZERO_LENGTH_READ,
            (false, false) => Access::READ,
        };
        let access = if bits.has(1) && !bits.has(0) { access.executing() } else { access };
        let access = if bits.has(2) { access.with_privilege() } else { access };
        if request.kind == 3 {
            let request = PageRequest {
                source_id: SourceId(source_id),
                pasid,
                address: Iova(address),
                read: !bits.has(3),
                write: bits.has(0),
                execute: bits.has(1),
                privileged: bits.has(2),
                last_in_group: bits.has(5),
                group_index: 3,
            };
            self.page_request(device, &request);
            return;
        }
        let Some(dma) = self.handle(device.id, pasid) else { return };
        let asked = vtd_model::Request {
            source_id,
            pasid: pasid.map(Pasid::get),
            address,
            access: vtd_model::Access {
                write: access.write,
                execute: access.execute,
                privileged: access.privileged,
                zero_length: access.zero_length,
            },
        };
        let since = {
            let mut mirror = self.mirror();
            mirror.catch_up();
            mirror.history.moment()
        };
        drop(self.eyes.take_faults());
        // What is left of the queue is carried out while the walk is under way, when the trap springs.
        let trapped = self.memory.is_armed();
        if trapped {
            self.idle = false;
            let unit = Arc::clone(&self.unit);
            let mirror = Arc::clone(&self.mirror);
            let tail = self.tail_meanwhile.take();
            self.memory.set_meanwhile(move || {
                if let Some(tail) = tail {
                    mirror.lock().unwrap_or_else(PoisonError::into_inner).write(IQT, 8, tail);
                    unit.write(IQT, 8, tail);
                }
                for _ in 0..64 {
                    if unit.step(vtd::DEFAULT_BUDGET) != Step::More {
                        break;
                    }
                }
            });
        }
        let guard = dma.guard();
        let requester = Requester { source_id: SourceId(source_id), pasid };
        match request.kind {
            0 => {
                self.request_begins(|open| requester.dma(Iova(address), access, &Err(open)));
                let answer = guard.translate(Iova(address), access);
                self.record(|recording| {
                    recording.end(requester.dma(Iova(address), access, &answer));
                });
                let answer = answer.map(|found| (found.address().0, found.granted()));
                self.memory.nothing_meanwhile();
                self.judge_untranslated(&asked, since, answer, trapped);
            }
            1 => {
                let plain = match access.write {
                    true => TranslationRequest::READ_WRITE,
                    false => TranslationRequest::READ,
                };
                let plain = if access.execute { plain.executing() } else { plain };
                let wanted = if access.privileged { plain.with_privilege() } else { plain };
                self.request_begins(|open| requester.translate(Iova(address), wanted, &Err(open)));
                let answer = guard.translation_request(Iova(address), wanted);
                self.record(|recording| {
                    recording.end(requester.translate(Iova(address), wanted, &answer));
                });
                self.memory.nothing_meanwhile();
                self.judge_translation(&asked, since, answer, trapped);
            }
            _ => {
                self.request_begins(|open| {
                    requester.translated(Gpa(address), access, &Err::<Gpa, _>(open))
                });
                let answer = guard.translated(Gpa(address), access);
                self.record(|recording| {
                    recording.end(requester.translated(Gpa(address), access, &answer));
                });
                self.memory.nothing_meanwhile();
                self.judge_translated(&asked, since, answer);
            }
        }
    }

    /// The handle for requests of a device with a PASID or without.
    pub(super) fn handle(
        &mut self,
        device: DeviceId,
        pasid: Option<Pasid>,
    ) -> Option<Rc<DmaHandle>> {
        let is_it = |handle: &&Rc<DmaHandle>| handle.device() == device && handle.pasid() == pasid;
        if let Some(handle) = self.handles.iter().find(is_it) {
            return Some(Rc::clone(handle));
        }
        let handle = Rc::new(self.unit.dma(device, pasid).ok()?);
        self.handles.push(Rc::clone(&handle));
        Some(handle)
    }
}
