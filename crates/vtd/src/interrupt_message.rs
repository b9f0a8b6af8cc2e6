//! What an event of the unit sends.

use std::fmt;

/// A message-signalled interrupt, as FEADDR, FEUADDR and FEDATA (and their like) hold it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct InterruptMessage {
    /// Where it is written, 4-byte aligned.
    pub address: u64,
    /// What is written.
    pub data: u32,
}

impl fmt::Display for InterruptMessage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:x} to {:x}", self.data, self.address)
    }
}
