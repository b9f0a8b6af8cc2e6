//! From a line to its event.

use vtd_spec::{Binding, DomainId, FirstStage, FirstStageLevels, Gpa};

use super::error::shortened;
use super::fields::Fields;
use super::{
    DmaAnswer, Event, EventKind, FormatError, HostCall, HostCallKind, HostRange, hexadecimal, rules,
};

impl Event {
    /// The event of line number `line`, which is neither empty nor a comment.
    pub(super) fn parse(line: u64, text: &str) -> Result<Self, FormatError> {
        let mut fields = Fields::new(line, text);
        let word = fields.next().unwrap_or_default();
        let kind = EventKind::from_name(word)
            .ok_or_else(|| FormatError::UnknownKind { line, found: shortened(word) })?;
        let event = Self::parse_fields(kind, &mut fields)?;
        fields.end()?;
        rules::check_event(line, &event)?;
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
                direction: fields.direction()?,
                iova: fields.iova("IOVA")?,
                answer: dma_answer(fields)?,
            },
            EventKind::Fault => Self::Fault {
                source_id: fields.source_id()?,
                pasid: fields.pasid()?,
                direction: fields.direction()?,
                address: fields.iova("ADDR")?,
                reason: reason(fields)?,
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

fn host_call(fields: &mut Fields<'_>) -> Result<HostCall, FormatError> {
    let expected = "`bind`, `replace`, `unbind` or `invalidate`";
    let call = fields.word("CALL", expected, |word| {
        matches!(word, "bind" | "replace" | "unbind" | "invalidate").then_some(word)
    })?;
    let (source_id, slot) = (fields.source_id()?, fields.slot()?);
    let kind = match call {
        "bind" => {
            let (binding, domain) = binding(fields)?;
            HostCallKind::Bind { binding, domain }
        }
        "replace" => {
            let (binding, domain) = binding(fields)?;
            HostCallKind::Replace { binding, domain }
        }
        "unbind" => HostCallKind::Unbind,
        _ => HostCallKind::Invalidate(host_range(fields)?),
    };
    Ok(HostCall { source_id, slot, kind })
}

fn binding(fields: &mut Fields<'_>) -> Result<(Binding, DomainId), FormatError> {
    let levels = fields.word("MODE", "`fs4`, `fs5` or `pt`", |word| match word {
        "fs4" => Some(Some(FirstStageLevels::Four)),
        "fs5" => Some(Some(FirstStageLevels::Five)),
        "pt" => Some(None),
        _ => None,
    })?;
    let Some(levels) = levels else {
        fields.word("TABLE", "0, as pass-through has no table", |word| {
            (hexadecimal::number(word) == Some(0)).then_some(())
        })?;
        return Ok((Binding::PassThrough, fields.domain()?));
    };
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
    Ok((Binding::FirstStage(stage), domain))
}

fn host_range(fields: &mut Fields<'_>) -> Result<HostRange, FormatError> {
    let address = fields.iova("ADDR")?;
    let expected = "a hexadecimal number of at most 64 bits, or `all` after address 0";
    fields.word("PAGES", expected, |word| match word {
        "all" => (address.0 == 0).then_some(HostRange::Everything),
        digits => hexadecimal::number(digits).map(|pages| HostRange::Pages { address, pages }),
    })
}
