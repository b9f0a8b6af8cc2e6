//! Why a walk ended without an answer.

use core::fmt;

use vtd_spec::FaultReason;

/// A fault of a request: data for the guest, not an error of ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fault {
    /// The architecture's reason.
    pub reason: FaultReason,
    /// An entry read on the way had FPD set.
    pub fpd: bool,
    /// The field at fault where a decoder named one, for people; empty otherwise.
    pub field: &'static str,
}

impl Fault {
    /// A fault on a path where no entry had FPD set.
    #[must_use]
    pub const fn new(reason: FaultReason) -> Self {
        Self { reason, fpd: false, field: "" }
    }

    pub(crate) const fn under(reason: FaultReason, fpd: bool) -> Self {
        Self { reason, fpd, field: "" }
    }

    /// Whether the guest's fault recording registers see it: FPD suppresses the qualified ones.
    #[must_use]
    pub const fn is_recorded(&self) -> bool {
        !(self.fpd && self.reason.is_qualified())
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.reason, f)?;
        if !self.field.is_empty() {
            write!(f, ": {}", self.field)?;
        }
        if !self.is_recorded() {
            f.write_str(", not recorded (FPD)")?;
        }
        Ok(())
    }
}
