//! Requests of devices and their answers, between the unit's words and those of a recording.

use vtd::spec::{Iova, PageRequest, Pasid, SourceId};
use vtd::{
    Access, Completion, DmaError, Granted, InterruptError, InterruptMessage, RemappedInterrupt,
    TranslationRequest,
};

use crate::format::{
    Direction, Event, Grant, InterruptAnswer, PageAccess, Permissions, RequestAccess,
    TranslatedAnswer, TranslationAnswer,
};

/// What a unit is asked for by an ACCESS.
pub(crate) fn access(asked: RequestAccess) -> Access {
    let mut access = match asked.direction {
        Direction::Read => Access::READ,
        Direction::Write => Access::WRITE,
    };
    access.execute = asked.execute;
    access.privileged = asked.privileged;
    access.zero_length = asked.zero_length;
    access
}

/// What a unit is asked for by the ACCESS of a translation request.
pub(crate) fn translation_request(asked: RequestAccess) -> TranslationRequest {
    let mut request = match asked.direction {
        Direction::Read => TranslationRequest::READ,
        Direction::Write => TranslationRequest::READ_WRITE,
    };
    request.execute = asked.execute;
    request.privileged = asked.privileged;
    request
}

/// What is granted of reads and writes, if any of them is.
pub(crate) fn permissions(granted: Granted) -> Option<Permissions> {
    match (granted.read, granted.write) {
        (true, true) => Some(Permissions::ReadWrite),
        (true, false) => Some(Permissions::Read),
        (false, true) => Some(Permissions::Write),
        (false, false) => None,
    }
}

/// PERM of a DMA that was served. Only a read of no bytes is served where nothing is granted (a page of the first stage that may
/// be read, over one of the second that may be written): that counts as the read that it is.
pub(crate) fn served(granted: Granted) -> Permissions {
    permissions(granted).unwrap_or(Permissions::Read)
}

/// What came of a translation request.
pub(crate) fn translation_answer(answer: &Result<Completion, DmaError>) -> TranslationAnswer {
    let Ok(completion) = answer else { return TranslationAnswer::Fault };
    let Some(permissions) = permissions(completion.granted) else {
        return TranslationAnswer::Nothing;
    };
    let Completion { granted, privileged, untranslated_only, global, .. } = *completion;
    TranslationAnswer::Granted {
        gpa: completion.page,
        mask: completion.size - 1,
        grant: Grant { permissions, execute: granted.execute, privileged },
        untranslated_only,
        global,
    }
}

/// What came of a translated request.
pub(crate) fn translated_answer<T>(answer: &Result<T, DmaError>) -> TranslatedAnswer {
    match answer {
        Ok(_) => TranslatedAnswer::Done,
        Err(_) => TranslatedAnswer::Fault,
    }
}

/// What came of an interrupt request.
pub(crate) fn interrupt_answer(
    answer: &Result<RemappedInterrupt, InterruptError>,
) -> InterruptAnswer {
    match answer {
        Ok(interrupt) => {
            let InterruptMessage { address, data } = interrupt.message();
            InterruptAnswer::Message { address, data }
        }
        Err(_) => InterruptAnswer::Blocked,
    }
}

/// What a `page-request` line asks for.
pub(crate) fn page_request(
    (source_id, pasid): (SourceId, Option<Pasid>),
    access: PageAccess,
    address: Iova,
    group_index: u16,
    last_in_group: bool,
) -> PageRequest {
    let PageAccess { read, write, execute, privileged } = access;
    PageRequest {
        source_id,
        pasid,
        address,
        read,
        write,
        execute,
        privileged,
        last_in_group,
        group_index,
    }
}
/// The ACCESS of a request. A write that asks to execute has none, and is recorded as a write.
pub(crate) fn recorded_access(access: Access) -> RequestAccess {
    RequestAccess {
        direction: if access.write { Direction::Write } else { Direction::Read },
        execute: access.execute && !access.write,
        privileged: access.privileged,
        // It means nothing in a write.
        zero_length: access.zero_length && !access.write,
    }
}

/// The ACCESS of a translation request.
pub(crate) fn recorded_translation_request(request: TranslationRequest) -> RequestAccess {
    RequestAccess {
        direction: if request.no_write { Direction::Read } else { Direction::Write },
        execute: request.execute,
        privileged: request.privileged,
        zero_length: false,
    }
}

/// The line of a page request.
pub(crate) fn recorded_page_request(source_id: SourceId, request: &PageRequest) -> Event {
    let PageRequest { read, write, execute, privileged, .. } = *request;
    Event::PageRequest {
        source_id,
        pasid: request.pasid,
        access: PageAccess { read, write, execute, privileged },
        address: request.address.page(),
        group: request.group_index & 0x1ff,
        last: request.last_in_group,
    }
}
