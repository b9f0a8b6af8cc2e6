//! From a line to its event.

use vtd_spec::descriptor::ResponseCode;
use vtd_spec::table::SecondStageLevels;
use vtd_spec::{DomainId, FirstStage, FirstStageLevels, Gpa};

use super::error::shortened;
use super::fields::Fields;
use super::{
    DmaAnswer, Event, EventKind, FaultedRequest, FormatError, FormatVersion, Grant, HostCall,
    HostCallKind, HostMode, InterruptAnswer, InterruptEntries, PageAccess, PageRange,
    TranslatedAnswer, TranslationAnswer, hexadecimal, rules,
};

impl Event {
    /// The event of line number `line`, which is neither empty nor a comment.
    pub(super) fn parse(
        line: u64,
        version: FormatVersion,
        text: &str,
    ) -> Result<Self, FormatError> {
        let mut fields = Fields::new(line, text);
        let word = fields.next().unwrap_or_default();
        let kind = EventKind::from_name(word)
            .ok_or_else(|| FormatError::UnknownKind { line, found: shortened(word) })?;
        // The fields of such a line mean nothing to version 1, so they are not what is wrong.
        rules::check_kind(line, version, kind)?;
        let event = Self::parse_fields(kind, &mut fields)?;
        fields.end()?;
        rules::check_event(line, version, &event)?;
        Ok(event)
    }

    fn parse_fields(kind: EventKind, fields: &mut Fields<'_>) -> Result<Self, FormatError> {
        // The fields of a struct are evaluated as they stand here, so in the order of the line.
        Ok(match kind {
            EventKind::Mem => Self::Mem { gpa: fields.gpa("GPA")?, bytes: fields.bytes("BYTES")? },
            EventKind::Zero => Self::Zero { gpa: fields.gpa("GPA")? },
            EventKind::Write => Self::Write {
                offset: fields.u64("OFF")?,
                size: fields.size()?,
                value: fields.u64("V")?,
            },
            EventKind::Read => Self::Read {
                offset: fields.u64("OFF")?,
                size: fields.size()?,
                value: fields.u64("V")?,
            },
            EventKind::Dma => Self::Dma {
                source_id: fields.source_id()?,
                pasid: fields.pasid()?,
                access: fields.access()?,
                iova: fields.iova("IOVA")?,
                answer: dma_answer(fields)?,
            },
            EventKind::Fault => Self::Fault {
                source_id: fields.source_id()?,
                pasid: fields.pasid()?,
                access: fields.access_of_some_length()?,
                address: fields.iova("ADDR")?,
                reason: reason(fields)?,
                request: faulted_request(fields)?,
            },
            EventKind::IommuWrite => {
                Self::IommuWrite { gpa: fields.gpa("GPA")?, bytes: fields.bytes("BYTES")? }
            }
            EventKind::Msi => Self::Msi { address: fields.u64("ADDR")?, data: fields.u32("DATA")? },
            EventKind::Assign => Self::Assign { source_id: fields.source_id()? },
            EventKind::Release => Self::Release { source_id: fields.source_id()? },
            EventKind::Host => Self::Host(host_call(fields)?),
            EventKind::HostFail => Self::HostFail,
            EventKind::Reset => Self::Reset,
            EventKind::Translate => Self::Translate {
                source_id: fields.source_id()?,
                pasid: fields.pasid()?,
                access: fields.access_of_some_length()?,
                iova: fields.iova("IOVA")?,
                answer: translation_answer(fields)?,
            },
            EventKind::Translated => Self::Translated {
                source_id: fields.source_id()?,
                pasid: fields.pasid()?,
                access: fields.access()?,
                address: fields.gpa("ADDR")?,
                answer: translated_answer(fields)?,
            },
            EventKind::Endpoint => Self::Endpoint {
                source_id: fields.source_id()?,
                later: fields.optional("later", "`later` or nothing")?,
            },
            EventKind::DeviceTlb => Self::DeviceTlb {
                source_id: fields.source_id()?,
                pasids: fields.pasid_scope()?,
                range: page_range(fields)?,
            },
            EventKind::DeviceTlbDone => Self::DeviceTlbDone { source_id: fields.source_id()? },
            EventKind::DeviceTlbTimeout => {
                Self::DeviceTlbTimeout { source_id: fields.source_id()? }
            }
            EventKind::PageRequest => Self::PageRequest {
                source_id: fields.source_id()?,
                pasid: fields.pasid()?,
                access: page_access(fields)?,
                address: fields.iova("ADDR")?,
                group: fields.u16("GROUP")?,
                last: fields.optional("last", "`last` or nothing")?,
            },
            EventKind::PageResponse => Self::PageResponse {
                source_id: fields.source_id()?,
                pasid: fields.pasid()?,
                group: fields.u16("GROUP")?,
                code: response_code(fields)?,
            },
            EventKind::Interrupt => Self::Interrupt {
                source_id: fields.source_id()?,
                address: fields.u64("ADDR")?,
                data: fields.u32("DATA")?,
                answer: interrupt_answer(fields)?,
            },
            EventKind::InterruptEntries => Self::InterruptEntries(interrupt_entries(fields)?),
            EventKind::Renumber => {
                Self::Renumber { source_id: fields.source_id()?, new: fields.device("NEW")? }
            }
        })
    }
}

fn dma_answer(fields: &mut Fields<'_>) -> Result<DmaAnswer, FormatError> {
    let expected = "a hexadecimal number of at most 64 bits, or `fault`";
    let gpa = fields.word("GPA", expected, |word| match word {
        "fault" => Some(None),
        digits => hexadecimal::number(digits).map(|number| Some(Gpa(number))),
    })?;
    Ok(match gpa {
        None => DmaAnswer::Fault,
        Some(gpa) => DmaAnswer::Translated {
            gpa,
            mask: fields.u64("MASK")?,
            permissions: fields.permissions()?,
        },
    })
}

fn reason(fields: &mut Fields<'_>) -> Result<u8, FormatError> {
    fields.word("reason", "the word `reason`", |word| (word == "reason").then_some(()))?;
    fields.u8("CODE")
}

fn faulted_request(fields: &mut Fields<'_>) -> Result<FaultedRequest, FormatError> {
    let expected = "`translation`, `translated`, `page-request` or `interrupt`, or nothing";
    match fields.next() {
        None => Ok(FaultedRequest::Untranslated),
        Some(word) => {
            FaultedRequest::from_name(word).ok_or_else(|| fields.error("KIND", word, expected))
        }
    }
}

fn translation_answer(fields: &mut Fields<'_>) -> Result<TranslationAnswer, FormatError> {
    let expected = "a hexadecimal number of at most 64 bits, `none` or `fault`";
    let gpa = fields.word("GPA", expected, |word| match word {
        "none" => Some(Err(TranslationAnswer::Nothing)),
        "fault" => Some(Err(TranslationAnswer::Fault)),
        digits => hexadecimal::number(digits).map(|number| Ok(Gpa(number))),
    })?;
    let gpa = match gpa {
        Ok(gpa) => gpa,
        Err(answer) => return Ok(answer),
    };
    let mask = fields.u64("MASK")?;
    let expected = "`r`, `w` or `rw`, then any of `x` and `p` in this order";
    let grant = fields.word("PERM", expected, Grant::from_letters)?;
    let (untranslated_only, global) = match fields.next() {
        None => (false, false),
        Some("g") => (false, true),
        Some("u") => (true, fields.optional("g", "`g` or nothing")?),
        Some(word) => return Err(fields.error("u", word, "`u`, `g` or nothing")),
    };
    Ok(TranslationAnswer::Granted { gpa, mask, grant, untranslated_only, global })
}

fn translated_answer(fields: &mut Fields<'_>) -> Result<TranslatedAnswer, FormatError> {
    fields.word("ok", "`ok` or `fault`", |word| match word {
        "ok" => Some(TranslatedAnswer::Done),
        "fault" => Some(TranslatedAnswer::Fault),
        _ => None,
    })
}

fn page_access(fields: &mut Fields<'_>) -> Result<PageAccess, FormatError> {
    let expected = "`r`, `w`, `rw` or `-`, then any of `x` and `p` in this order";
    fields.word("ACCESS", expected, PageAccess::from_letters)
}

fn response_code(fields: &mut Fields<'_>) -> Result<ResponseCode, FormatError> {
    fields.word("CODE", "0, 1 or f", |word| match hexadecimal::number(word)? {
        0 => Some(ResponseCode::Success),
        1 => Some(ResponseCode::Invalid),
        0xf => Some(ResponseCode::Failure),
        _ => None,
    })
}

fn interrupt_answer(fields: &mut Fields<'_>) -> Result<InterruptAnswer, FormatError> {
    let expected = "a hexadecimal number of at most 64 bits, or `blocked`";
    let address = fields.word("MSI-ADDR", expected, |word| match word {
        "blocked" => Some(None),
        digits => hexadecimal::number(digits).map(Some),
    })?;
    Ok(match address {
        None => InterruptAnswer::Blocked,
        Some(address) => InterruptAnswer::Message { address, data: fields.u32("MSI-DATA")? },
    })
}

fn interrupt_entries(fields: &mut Fields<'_>) -> Result<InterruptEntries, FormatError> {
    let expected = "a hexadecimal number of at most 16 bits, or `all`";
    let index = fields.word("INDEX", expected, |word| match word {
        "all" => Some(None),
        digits => hexadecimal::number(digits)?.try_into().ok().map(Some),
    })?;
    Ok(match index {
        None => InterruptEntries::Everything,
        Some(index) => InterruptEntries::Range { index, count: fields.u32("COUNT")? },
    })
}

fn host_call(fields: &mut Fields<'_>) -> Result<HostCall, FormatError> {
    let expected = "`bind`, `replace`, `unbind`, `invalidate`, `map` or `unmap`";
    let call = fields.word("CALL", expected, |word| {
        matches!(word, "bind" | "replace" | "unbind" | "invalidate" | "map" | "unmap")
            .then_some(word)
    })?;
    let (source_id, slot) = (fields.source_id()?, fields.slot()?);
    let kind = match call {
        "bind" => {
            let (mode, domain) = host_mode(fields)?;
            HostCallKind::Bind { mode, domain }
        }
        "replace" => {
            let (mode, domain) = host_mode(fields)?;
            HostCallKind::Replace { mode, domain }
        }
        "unbind" => HostCallKind::Unbind,
        "map" => HostCallKind::Map {
            iova: fields.iova("IOVA")?,
            gpa: fields.gpa("GPA")?,
            pages: fields.u64("PAGES")?,
            permissions: fields.permissions()?,
        },
        "unmap" => HostCallKind::Unmap { iova: fields.iova("IOVA")?, pages: fields.u64("PAGES")? },
        _ => HostCallKind::Invalidate(page_range(fields)?),
    };
    Ok(HostCall { source_id, slot, kind })
}

/// MODE as it is written.
#[derive(Clone, Copy)]
enum ModeWord {
    PassThrough,
    FirstStage(FirstStageLevels),
    SecondStage(SecondStageLevels),
}

fn host_mode(fields: &mut Fields<'_>) -> Result<(HostMode, DomainId), FormatError> {
    let expected = "`fs4`, `fs5`, `ss3`, `ss4`, `ss5` or `pt`";
    let mode = fields.word("MODE", expected, |word| {
        Some(match word {
            "pt" => ModeWord::PassThrough,
            "fs4" => ModeWord::FirstStage(FirstStageLevels::Four),
            "fs5" => ModeWord::FirstStage(FirstStageLevels::Five),
            "ss3" => ModeWord::SecondStage(SecondStageLevels::Three),
            "ss4" => ModeWord::SecondStage(SecondStageLevels::Four),
            "ss5" => ModeWord::SecondStage(SecondStageLevels::Five),
            _ => return None,
        })
    })?;
    match mode {
        ModeWord::PassThrough => {
            fields.word("TABLE", "0, as pass-through has no table", |word| {
                (hexadecimal::number(word) == Some(0)).then_some(())
            })?;
            Ok((HostMode::PassThrough, fields.domain()?))
        }
        ModeWord::FirstStage(levels) => first_stage(fields, levels),
        ModeWord::SecondStage(levels) => {
            let table = fields.gpa("TABLE")?;
            Ok((HostMode::SecondStage { table, levels }, fields.domain()?))
        }
    }
}

fn first_stage(
    fields: &mut Fields<'_>,
    levels: FirstStageLevels,
) -> Result<(HostMode, DomainId), FormatError> {
    let table = fields.gpa("TABLE")?;
    let domain = fields.domain()?;
    let mut stage = FirstStage {
        table,
        levels,
        supervisor: false,
        write_protect: false,
        extended_accessed: false,
    };
    while let Some(word) = fields.next() {
        let flag = match word {
            "sre" => &mut stage.supervisor,
            "wpe" => &mut stage.write_protect,
            "eafe" => &mut stage.extended_accessed,
            _ => return Err(fields.error("flags", word, "`sre`, `wpe` or `eafe`")),
        };
        if std::mem::replace(flag, true) {
            return Err(fields.error("flags", word, "given for the first time"));
        }
    }
    Ok((HostMode::FirstStage(stage), domain))
}

fn page_range(fields: &mut Fields<'_>) -> Result<PageRange, FormatError> {
    let address = fields.iova("ADDR")?;
    let expected = "a hexadecimal number of at most 64 bits, or `all` after address 0";
    fields.word("PAGES", expected, |word| match word {
        "all" => (address.0 == 0).then_some(PageRange::Everything),
        digits => hexadecimal::number(digits).map(|pages| PageRange::Pages { address, pages }),
    })
}
