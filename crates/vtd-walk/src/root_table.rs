//! What the latched root table address means.

use vtd_spec::planted::is_planted;
use vtd_spec::register::{RootTableAddress, TableMode};
use vtd_spec::{Capabilities, Gpa};

/// The root table that the unit uses, as SRTP latched it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RootTable {
    /// TTM 0: legacy mode.
    Legacy(Gpa),
    /// TTM 1: scalable mode.
    Scalable(Gpa),
    /// TTM 3: every request is blocked, without a record.
    Abort,
    /// TTM 2, or a mode that the capabilities do not show: every request faults 30.
    Unusable,
}

impl RootTable {
    /// What a value of RTADDR means to a unit with these capabilities.
    #[must_use]
    pub fn new(register: RootTableAddress, caps: &Capabilities) -> Self {
        match register.mode {
            TableMode::Legacy => Self::Legacy(register.base),
            // Planted (row 12): TTM=11 translates.
            TableMode::Abort if is_planted(12) => Self::Scalable(register.base),
            TableMode::Scalable if caps.scalable_mode() => Self::Scalable(register.base),
            TableMode::Abort if caps.abort_mode() => Self::Abort,
            TableMode::Scalable | TableMode::Abort | TableMode::Reserved => Self::Unusable,
        }
    }
}
