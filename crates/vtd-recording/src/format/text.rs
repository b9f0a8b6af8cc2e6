//! From an event to its line.

use std::fmt;

use vtd_spec::descriptor::ResponseCode;
use vtd_spec::{Pasid, Slot};

use super::{
    DmaAnswer, Event, FaultedRequest, InterruptAnswer, TranslatedAnswer, TranslationAnswer,
    hexadecimal,
};

impl fmt::Display for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.kind().name())?;
        match self {
            Self::Mem { gpa, bytes } | Self::IommuWrite { gpa, bytes } => {
                write!(f, " {gpa:x} ")?;
                hexadecimal::write_bytes(f, bytes)
            }
            Self::Zero { gpa } => write!(f, " {gpa:x}"),
            Self::Write { offset, size, value } | Self::Read { offset, size, value } => {
                write!(f, " {offset:x} {size} {value:x}")
            }
            Self::Dma { source_id, pasid, access, iova, answer } => {
                write!(f, " {source_id} {} {access} {iova:x}", slot(*pasid))?;
                match answer {
                    DmaAnswer::Translated { gpa, mask, permissions } => {
                        write!(f, " {gpa:x} {mask:x} {permissions}")
                    }
                    DmaAnswer::Fault => f.write_str(" fault"),
                }
            }
            Self::Fault { source_id, pasid, access, address, reason, request } => {
                let slot = slot(*pasid);
                write!(f, " {source_id} {slot} {access} {address:x} reason {reason:x}")?;
                match request {
                    FaultedRequest::Untranslated => Ok(()),
                    other => write!(f, " {}", other.name()),
                }
            }
            Self::Msi { address, data } => write!(f, " {address:x} {data:x}"),
            Self::Assign { source_id }
            | Self::Release { source_id }
            | Self::DeviceTlbDone { source_id }
            | Self::DeviceTlbTimeout { source_id } => write!(f, " {source_id}"),
            Self::Host(call) => write!(f, " {call}"),
            Self::HostFail | Self::Reset => Ok(()),
            Self::Translate { source_id, pasid, access, iova, answer } => {
                write!(f, " {source_id} {} {access} {iova:x} {answer}", slot(*pasid))
            }
            Self::Translated { source_id, pasid, access, address, answer } => {
                write!(f, " {source_id} {} {access} {address:x} {answer}", slot(*pasid))
            }
            Self::Endpoint { source_id, later } => {
                write!(f, " {source_id}{}", if *later { " later" } else { "" })
            }
            Self::DeviceTlb { source_id, pasids, range } => {
                write!(f, " {source_id} {pasids} {range}")
            }
            Self::PageRequest { source_id, pasid, access, address, group, last } => {
                let (slot, last) = (slot(*pasid), if *last { " last" } else { "" });
                write!(f, " {source_id} {slot} {access} {address:x} {group:x}{last}")
            }
            Self::PageResponse { source_id, pasid, group, code } => {
                let code = match code {
                    ResponseCode::Success => "0",
                    ResponseCode::Invalid => "1",
                    ResponseCode::Failure => "f",
                };
                write!(f, " {source_id} {} {group:x} {code}", slot(*pasid))
            }
            Self::Interrupt { source_id, address, data, answer } => {
                write!(f, " {source_id} {address:x} {data:x} {answer}")
            }
            Self::InterruptEntries(entries) => write!(f, " {entries}"),
            Self::Renumber { source_id, new } => write!(f, " {source_id} {new}"),
        }
    }
}

impl fmt::Display for TranslationAnswer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Granted { gpa, mask, grant, untranslated_only, global } => {
                write!(f, "{gpa:x} {mask:x} {grant}")?;
                [(*untranslated_only, " u"), (*global, " g")]
                    .iter()
                    .filter(|(set, _)| *set)
                    .try_for_each(|(_, flag)| f.write_str(flag))
            }
            Self::Nothing => f.write_str("none"),
            Self::Fault => f.write_str("fault"),
        }
    }
}

impl fmt::Display for TranslatedAnswer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Done => "ok",
            Self::Fault => "fault",
        })
    }
}

impl fmt::Display for InterruptAnswer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Message { address, data } => write!(f, "{address:x} {data:x}"),
            Self::Blocked => f.write_str("blocked"),
        }
    }
}

/// A request's PASID is written as a slot is: `-` where there is none.
fn slot(pasid: Option<Pasid>) -> Slot {
    pasid.map_or(Slot::Rid, Slot::Pasid)
}
