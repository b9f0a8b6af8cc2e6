//! Page requests and their answers, held against the model.

use std::collections::VecDeque;

use vtd_model::{Fault, PageGroupResponse, PageRequest, PageRequestFate};
use vtd_recording::format::Event;
use vtd_spec::Pasid;
use vtd_spec::descriptor::ResponseCode;

use super::machine::Machine;

/// What the model expects to follow.
#[derive(Debug, Default)]
pub(super) struct Expected {
    /// Entries of the queue: address and content.
    entries: VecDeque<(u64, [u64; 4])>,
    /// Faults: source-id, PASID, page, code.
    faults: VecDeque<(u16, Option<u32>, u64, u8)>,
    /// Answers to devices.
    answers: VecDeque<PageGroupResponse>,
}

impl Expected {
    /// An answer that a device is given.
    pub(super) fn answer(&mut self, answer: PageGroupResponse) {
        self.answers.push_back(answer);
    }

    /// Forgets it all: a reset.
    pub(super) fn clear(&mut self) {
        *self = Self::default();
    }

    /// What never came.
    pub(super) fn missing(&mut self) -> Option<String> {
        let empty = self.entries.is_empty() && self.faults.is_empty() && self.answers.is_empty();
        (!empty).then(|| format!("expected, and not there: {:x?}", std::mem::take(self)))
    }
}

impl Machine {
    /// A `page-request` line.
    pub(super) fn request_page(&mut self, event: &Event) {
        let Event::PageRequest { source_id, pasid, access, address, group, last } = event else {
            return;
        };
        let request = PageRequest {
            source_id: source_id.0,
            pasid: pasid.map(Pasid::get),
            address: address.0,
            read: access.read,
            write: access.write,
            execute: access.execute,
            privileged: access.privileged,
            last: *last,
            group: *group,
        };
        let outcome = self.registers.unit.page_request(&self.memory, &request);
        let expected = &mut self.expected;
        match outcome.fate {
            PageRequestFate::Queued { address, qwords, dropped, .. } => {
                self.history.invalidated(dropped);
                expected.entries.push_back((address, qwords));
            }
            PageRequestFate::Fault(Fault { code, recorded: true })
                if self.registers.faults.record().is_some() =>
            {
                let page = request.address & !0xfff;
                expected.faults.push_back((request.source_id, request.pasid, page, code));
            }
            _ => {}
        }
        if outcome.failure && self.devices.takes_answers(request.source_id) {
            self.expected.answer(PageGroupResponse {
                source_id: request.source_id,
                pasid: request.pasid,
                group: request.group,
                code: 0xf,
            });
        }
        self.report.count("page-request");
    }

    /// A `fault` line of a page request.
    pub(super) fn page_request_faulted(&mut self, line: u64, event: &Event) {
        let Event::Fault { source_id, pasid, address, reason, .. } = event else { return };
        let seen = (source_id.0, pasid.map(Pasid::get), address.0 & !0xfff, *reason);
        match self.expected.faults.pop_front() {
            Some(expected) if expected == seen => self.report.count("fault"),
            expected => {
                self.report.difference(line, format!("{event} in place of {expected:x?}"));
            }
        }
    }

    /// A page request that the unit wrote.
    pub(super) fn page_request_written(&mut self, line: u64, gpa: u64, bytes: &[u8]) {
        let mut qwords = [0; 4];
        for (qword, chunk) in qwords.iter_mut().zip(bytes.chunks(8)) {
            *qword = chunk.try_into().map_or(0, u64::from_le_bytes);
        }
        match self.expected.entries.pop_front() {
            Some(expected) if expected == (gpa, qwords) => self.report.count("queued page request"),
            expected => self.report.difference(
                line,
                format!("a page request {gpa:x} {qwords:x?} in place of {expected:x?}"),
            ),
        }
        self.memory.write(gpa, bytes, &mut self.history);
    }

    /// A `page-response` line.
    pub(super) fn answered(&mut self, line: u64, event: &Event) {
        let Event::PageResponse { source_id, pasid, group, code } = event else { return };
        let seen = PageGroupResponse {
            source_id: source_id.0,
            pasid: pasid.map(Pasid::get),
            group: *group,
            code: match code {
                ResponseCode::Success => 0,
                ResponseCode::Invalid => 1,
                ResponseCode::Failure => 0xf,
            },
        };
        match self.expected.answers.pop_front() {
            Some(expected) if expected == seen => self.report.count("page-response"),
            expected => {
                self.report.difference(line, format!("{event} in place of {expected:x?}"));
            }
        }
    }
}
