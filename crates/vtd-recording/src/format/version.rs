//! The versions of the format, and what each of them can say.

use std::fmt;

use super::{Event, EventKind, FaultedRequest, HostCallKind, HostMode};

/// A version of the format: the number in a file's first line. A later one has everything that an earlier one has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum FormatVersion {
    /// 1: reads and writes of devices, faults, host-backed devices and their bindings.
    One,
    /// 2: also requests of every other kind, device TLBs, page requests, interrupts and shadowed tables.
    Two,
}

impl FormatVersion {
    /// The version of this number, if there is one.
    pub(super) const fn from_number(number: u64) -> Option<Self> {
        match number {
            1 => Some(Self::One),
            2 => Some(Self::Two),
            _ => None,
        }
    }
}

impl fmt::Display for FormatVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::One => "1",
            Self::Two => "2",
        })
    }
}

impl EventKind {
    /// The first version that has lines of this kind.
    #[must_use]
    pub const fn since(self) -> FormatVersion {
        match self {
            Self::Translate
            | Self::Translated
            | Self::Endpoint
            | Self::DeviceTlb
            | Self::DeviceTlbDone
            | Self::DeviceTlbTimeout
            | Self::PageRequest
            | Self::PageResponse
            | Self::Interrupt
            | Self::InterruptEntries
            | Self::Renumber => FormatVersion::Two,
            Self::Mem
            | Self::Zero
            | Self::Write
            | Self::Read
            | Self::Dma
            | Self::Fault
            | Self::IommuWrite
            | Self::Msi
            | Self::Assign
            | Self::Release
            | Self::Host
            | Self::HostFail
            | Self::Reset => FormatVersion::One,
        }
    }
}

impl Event {
    /// The first version that has this line.
    #[must_use]
    pub fn since(&self) -> FormatVersion {
        match self.word_of_version_2() {
            Some(_) => FormatVersion::Two,
            None => self.kind().since(),
        }
    }

    /// The field and the word by which a line of a kind that version 1 has needs version 2.
    pub(super) fn word_of_version_2(&self) -> Option<(&'static str, String)> {
        match self {
            Self::Dma { access, .. } | Self::Fault { access, .. } if access.has_modifiers() => {
                Some(("ACCESS", access.to_string()))
            }
            Self::Fault { request, .. } if *request != FaultedRequest::Untranslated => {
                Some(("KIND", request.name().into()))
            }
            Self::Host(call) => match call.kind {
                HostCallKind::Map { .. } => Some(("CALL", "map".into())),
                HostCallKind::Unmap { .. } => Some(("CALL", "unmap".into())),
                HostCallKind::Bind { mode: mode @ HostMode::SecondStage { .. }, .. }
                | HostCallKind::Replace { mode: mode @ HostMode::SecondStage { .. }, .. } => {
                    Some(("MODE", mode.name().into()))
                }
                _ => None,
            },
            _ => None,
        }
    }
}
