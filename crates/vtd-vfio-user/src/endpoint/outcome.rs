//! What comes of a job.

use vtd::DmaError;
use vtd::spec::descriptor::ResponseCode;

/// Why a round of a job was not done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Failure {
    /// The unit blocked it with a fault.
    Fault(u8),
    /// The unit blocked it without a record.
    Blocked,
    /// The address is an interrupt's.
    Interrupt,
    /// There is no memory.
    NoMemory,
    /// Less is granted than was asked for.
    NotGranted,
    /// The page request was refused, or its response was that it is invalid.
    PageRequestRefused(u8),
    /// The page request came to nothing.
    PageRequestFailed,
    /// The endpoint may not make such requests.
    NotEnabled,
    /// The guest stopped it.
    Stopped,
    /// The registers hold no job.
    NoJob,
    /// The unit does not know the device any more.
    Removed,
}

impl Failure {
    /// RESULT and CODE of the STATUS register.
    pub(super) fn status(self) -> u32 {
        let (result, code) = match self {
            Self::Fault(code) => (1, code),
            Self::Blocked => (2, 0),
            Self::Interrupt => (3, 0),
            Self::NoMemory => (4, 0),
            Self::NotGranted => (5, 0),
            Self::PageRequestRefused(code) => (6, code),
            Self::PageRequestFailed => (7, 0),
            Self::NotEnabled => (8, 0),
            Self::Stopped => (9, 0),
            Self::NoJob => (0xa, 0),
            Self::Removed => (0xb, 0),
        };
        result << 8 | u32::from(code) << 16
    }

    /// What a page group response other than success comes to.
    pub(super) fn of_response(code: ResponseCode) -> Self {
        match code {
            ResponseCode::Invalid => Self::PageRequestRefused(1),
            _ => Self::PageRequestFailed,
        }
    }
}

impl From<DmaError> for Failure {
    fn from(error: DmaError) -> Self {
        match error {
            DmaError::Fault(fault) => Self::Fault(fault.reason.code()),
            DmaError::Interrupt => Self::Interrupt,
            DmaError::Released => Self::Removed,
            _ => Self::Blocked,
        }
    }
}

/// What a round has done, or had done when it failed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Round {
    pub(super) value: u64,
    pub(super) moved: u64,
    pub(super) retries: u64,
    /// Where it got to.
    pub(super) at: u64,
}
