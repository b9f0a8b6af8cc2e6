//! Why a queue does not go on.

/// Why a queue does not go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Halt {
    /// It is being reset.
    Stopped,
    /// A ring or a chain is what no driver makes, or cannot be reached: the device needs a reset.
    Broken,
}

impl From<virtio_queue::Error> for Halt {
    fn from(_: virtio_queue::Error) -> Self {
        Self::Broken
    }
}
