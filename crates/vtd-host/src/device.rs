//! A device of the host.

use core::fmt;

/// A device of the host that a guest was given: whatever number the VMM knows it by (for iommufd, a device id).
///
/// It has nothing to do with the source-id at which the guest sees the device; that one a guest can change.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct HostDevice(pub u64);

impl fmt::Display for HostDevice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "host device {}", self.0)
    }
}
