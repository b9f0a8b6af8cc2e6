//! What happened and has no line.

use std::fmt;

use vtd::spec::{Gpa, SourceId};

use crate::format::EventKind;

/// Something that the format has no line for. Its `Display` is for people who look for the reason of a difference.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Note {
    /// The unit reached for memory that is not there.
    NotMemory(Gpa),
    /// A host call failed behind one of the same input that did not.
    LaterCallFailed,
    /// A host call failed where no input had asked for it.
    CallFailedBetweenInputs,
    /// The VMM had a device tried again.
    Retry(SourceId),
    /// The VMM passed on a fault of the host.
    HostFault(SourceId),
    WarmReset,
    /// A request was more than a read or a write.
    Privileged,
    /// A request wrote and asked to execute.
    ExecutingWrite,
    /// Something that only version 2 of the format has.
    NeedsVersion2(EventKind),
    /// A device answered what it was never told, while it had something else to answer.
    UnexpectedAnswer(SourceId),
    /// Somebody stepped the unit past the recorder.
    BetweenInputs,
}

impl fmt::Display for Note {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotMemory(gpa) => write!(f, "{gpa:x} is not memory; a replay reads zeros there"),
            Self::LaterCallFailed => f.write_str(
                "of the host calls of the next input one failed behind one that did not; host-fail cannot say that",
            ),
            Self::CallFailedBetweenInputs => f.write_str("one of the next host calls failed"),
            Self::Retry(device) => write!(f, "the VMM had {device} tried again"),
            Self::HostFault(device) => write!(f, "the VMM reported a fault of {device}"),
            Self::WarmReset => f.write_str("the next reset is a warm one: FSTS and FRCD survive"),
            Self::Privileged => {
                f.write_str("the next request had supervisor privilege or fetched instructions")
            }
            Self::ExecutingWrite => f.write_str("the next request asked to write and to execute"),
            Self::NeedsVersion2(kind) => {
                write!(f, "version 1 of the format has nothing like \"{kind}\"")
            }
            Self::UnexpectedAnswer(device) => {
                write!(f, "{device} answered an invalidation that it was never told")
            }
            Self::BetweenInputs => f.write_str("the unit was stepped past the recorder"),
        }
    }
}
