//! What the guest has been told is invalid.

use std::fmt;

use vtd::spec::descriptor::Descriptor;

/// An invalidation that the guest has been told is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Told {
    pub(super) what: Invalidation,
    /// The line at which the guest asked for it: what the tables have said since is not concerned.
    pub(super) asked: u64,
    /// The line at which the guest could know that it is done.
    pub(super) done: u64,
}

/// What was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Invalidation {
    /// Through the queue, or through CCMD or IOTLB, which say the same.
    Descriptor(Descriptor),
    /// SRTP, with CAP.ESRTPS.
    RootTable,
}

impl Invalidation {
    /// Whether it is about translations rather than something else that goes through the queue.
    pub(super) fn is_of_translation(&self) -> bool {
        match self {
            Self::RootTable => true,
            Self::Descriptor(descriptor) => matches!(
                descriptor,
                Descriptor::ContextCache(_)
                    | Descriptor::Iotlb(_)
                    | Descriptor::DeviceTlb(_)
                    | Descriptor::PasidIotlb(_)
                    | Descriptor::PasidCache(_)
                    | Descriptor::PasidDeviceTlb(_)
            ),
        }
    }
}

impl fmt::Display for Invalidation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Descriptor(descriptor) => descriptor.fmt(f),
            Self::RootTable => f.write_str("a root table set"),
        }
    }
}
