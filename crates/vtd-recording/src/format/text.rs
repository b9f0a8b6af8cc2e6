//! From an event to its line.

use std::fmt;

use vtd_spec::{Pasid, Slot};

use super::{DmaAnswer, Event, hexadecimal};

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
            Self::Dma { source_id, pasid, direction, iova, answer } => {
                write!(f, " {source_id} {} {direction} {iova:x}", slot(*pasid))?;
                match answer {
                    DmaAnswer::Translated { gpa, mask, permissions } => {
                        write!(f, " {gpa:x} {mask:x} {permissions}")
                    }
                    DmaAnswer::Fault => f.write_str(" fault"),
                }
            }
            Self::Fault { source_id, pasid, direction, address, reason } => {
                let slot = slot(*pasid);
                write!(f, " {source_id} {slot} {direction} {address:x} reason {reason:x}")
            }
            Self::Msi { address, data } => write!(f, " {address:x} {data:x}"),
            Self::Assign { source_id } | Self::Release { source_id } => write!(f, " {source_id}"),
            Self::Host(call) => write!(f, " {call}"),
            Self::HostFail | Self::Reset => Ok(()),
        }
    }
}

/// A request's PASID is written as a slot is: `-` where there is none.
fn slot(pasid: Option<Pasid>) -> Slot {
    pasid.map_or(Slot::Rid, Slot::Pasid)
}
