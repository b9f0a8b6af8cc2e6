//! The lines of a device's requests.

use vtd::spec::{Gpa, Iova, PageRequest, Pasid, SourceId};
use vtd::{
    Access, Completion, DmaError, GuardedTranslation, InterruptError, RemappedInterrupt,
    TranslationRequest,
};

use crate::format::{DmaAnswer, Event, RequestAccess};
use crate::requests;

/// Who makes a request, and how a recording of version 2 says it. A request with an answer that has no line has none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Requester {
    /// Its source-id.
    pub source_id: SourceId,
    /// Its PASID, if the request has one.
    pub pasid: Option<Pasid>,
}

impl Requester {
    /// A `dma` line. A write that asks to execute is recorded as a write.
    #[must_use]
    pub fn dma(
        self,
        iova: Iova,
        access: Access,
        found: &Result<GuardedTranslation<'_>, DmaError>,
    ) -> Option<Event> {
        self.dma_with(iova, || requests::recorded_access(access), found)
    }

    /// As [`dma`](Self::dma), with ACCESS as the recording's version has it, asked for if there is a line.
    pub(super) fn dma_with(
        self,
        iova: Iova,
        access: impl FnOnce() -> RequestAccess,
        found: &Result<GuardedTranslation<'_>, DmaError>,
    ) -> Option<Event> {
        let answer = match found {
            Ok(found) => {
                let (gpa, size) = found.page();
                let permissions = requests::served(found.granted());
                DmaAnswer::Translated { gpa, mask: size - 1, permissions }
            }
            // Neither is a request that the unit translates, and neither changes it.
            Err(DmaError::Interrupt | DmaError::Released) => return None,
            Err(_) => DmaAnswer::Fault,
        };
        let Self { source_id, pasid } = self;
        Some(Event::Dma { source_id, pasid, access: access(), iova, answer })
    }

    /// A `translate` line.
    #[must_use]
    pub fn translate(
        self,
        iova: Iova,
        request: TranslationRequest,
        found: &Result<Completion, DmaError>,
    ) -> Option<Event> {
        let answer = match found {
            Err(DmaError::Released) => return None,
            found => requests::translation_answer(found),
        };
        let access = requests::recorded_translation_request(request);
        let Self { source_id, pasid } = self;
        Some(Event::Translate { source_id, pasid, access, iova, answer })
    }

    /// A `translated` line.
    #[must_use]
    pub fn translated<T>(
        self,
        address: Gpa,
        access: Access,
        found: &Result<T, DmaError>,
    ) -> Option<Event> {
        self.translated_with(address, || requests::recorded_access(access), found)
    }

    /// As [`translated`](Self::translated), with ACCESS as the recording's version has it, asked for if there is a line.
    pub(super) fn translated_with<T>(
        self,
        address: Gpa,
        access: impl FnOnce() -> RequestAccess,
        found: &Result<T, DmaError>,
    ) -> Option<Event> {
        let answer = match found {
            Err(DmaError::Released) => return None,
            found => requests::translated_answer(found),
        };
        let Self { source_id, pasid } = self;
        Some(Event::Translated { source_id, pasid, access: access(), address, answer })
    }

    /// A `page-request` line; it has its own PASID.
    #[must_use]
    pub fn page_request(self, request: &PageRequest) -> Event {
        requests::recorded_page_request(self.source_id, request)
    }

    /// An `interrupt` line.
    #[must_use]
    pub fn interrupt(
        self,
        address: u64,
        data: u32,
        answer: &Result<RemappedInterrupt, InterruptError>,
    ) -> Option<Event> {
        match answer {
            Err(InterruptError::NotAnInterrupt) => None,
            answer => {
                let answer = requests::interrupt_answer(answer);
                let source_id = self.source_id;
                Some(Event::Interrupt { source_id, address, data, answer })
            }
        }
    }
}
