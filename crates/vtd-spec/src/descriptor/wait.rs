//! Type 5: invalidation wait.

use core::fmt;

use super::DescriptorError;
use crate::Gpa;

/// What happens when every earlier descriptor has taken effect. At least one of interrupt, status and fence is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Wait {
    /// IF: ICS.IWC is set, which raises the invalidation event.
    pub interrupt: bool,
    /// SW: a status is written to memory.
    pub status: Option<WaitStatus>,
    /// FN: no later descriptor is started before.
    pub fence: bool,
    /// PD: page requests are drained as well; needs ECAP.PDS.
    pub drain: bool,
}

/// The status that a [`Wait`] writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct WaitStatus {
    /// Where, 4-byte aligned.
    pub address: Gpa,
    /// What, 4 bytes.
    pub data: u32,
}

impl Wait {
    pub(super) const fn decode(qw0: u64, qw1: u64) -> Result<Self, DescriptorError> {
        if qw0 & 0x70 == 0 {
            return Err(DescriptorError::EmptyWait { raw: qw0 });
        }
        let status = if qw0 >> 5 & 1 == 1 {
            Some(WaitStatus { address: Gpa(qw1 & !3), data: (qw0 >> 32) as u32 })
        } else {
            None
        };
        Ok(Self {
            interrupt: qw0 >> 4 & 1 == 1,
            status,
            fence: qw0 >> 6 & 1 == 1,
            drain: qw0 >> 7 & 1 == 1,
        })
    }

    pub(super) const fn encode(self) -> [u64; 2] {
        let flags =
            (self.interrupt as u64) << 4 | (self.fence as u64) << 6 | (self.drain as u64) << 7;
        match self.status {
            Some(WaitStatus { address, data }) => {
                [flags | 1 << 5 | (data as u64) << 32, address.0 & !3]
            }
            None => [flags, 0],
        }
    }
}

impl fmt::Display for Wait {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut separator = "";
        if let Some(WaitStatus { address, data }) = self.status {
            write!(f, "status {data:x} to {address}")?;
            separator = ", ";
        }
        let flags = [
            (self.interrupt, "interrupt"),
            (self.fence, "fence"),
            (self.drain, "drain page requests"),
        ];
        for (_, name) in flags.iter().filter(|(set, _)| *set) {
            write!(f, "{separator}{name}")?;
            separator = ", ";
        }
        Ok(())
    }
}
