//! Event control registers.

/// FECTL (038), IECTL (0A0) or PECTL (0E0): when the unit sends its fault, invalidation or page request event.
///
/// The default is the state after reset: masked, nothing pending.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct EventControl {
    /// IM (31): no event is sent.
    pub mask: bool,
    /// IP (30), read-only: an event waits for IM to be cleared.
    pub pending: bool,
}

impl EventControl {
    /// The control of a register value.
    #[must_use]
    pub const fn from_bits(raw: u32) -> Self {
        Self { mask: raw >> 31 & 1 == 1, pending: raw >> 30 & 1 == 1 }
    }

    /// The register value.
    #[must_use]
    pub const fn bits(self) -> u32 {
        (self.mask as u32) << 31 | (self.pending as u32) << 30
    }
}

impl Default for EventControl {
    fn default() -> Self {
        Self { mask: true, pending: false }
    }
}
