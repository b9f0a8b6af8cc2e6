//! Why a table cannot be written.

/// Why a [`Dmar`](crate::Dmar) cannot be written, or would mean something else to its reader than it says.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum EncodeError {
    /// The host address width has to be 12 to 64 bits: a guest takes no table with less.
    #[error("a host address width of {0} bits is not between 12 and 64")]
    HostAddressWidth(u8),
    /// The registers of a unit lie in whole pages of 4 KiB, within the 64-bit address space.
    #[error(
        "the registers at {base:#x} (2^{size} pages of 4 KiB): misaligned, too many, or past the end of memory"
    )]
    Registers {
        /// Where they begin.
        base: u64,
        /// How many pages they have, as a power of two.
        size: u8,
    },
    /// The unit of all devices that no other one has is the last one of its segment.
    #[error("segment {segment}: a DRHD follows the one with INCLUDE_PCI_ALL")]
    IncludeAllNotLast {
        /// The segment.
        segment: u16,
    },
    /// A reserved region is whole pages of 4 KiB, its limit being its last byte.
    #[error("the reserved region {base:#x} to {limit:#x} is not whole pages of 4 KiB")]
    ReservedRegion {
        /// Its first byte.
        base: u64,
        /// Its last byte.
        limit: u64,
    },
    /// A step of a path has a device below 32 and a function below 8.
    #[error("there is no function {device:02x}.{function}")]
    PathStep {
        /// The device.
        device: u8,
        /// The function.
        function: u8,
    },
    /// A device scope has 1 to 124 steps.
    #[error("a device scope has 1 to 124 steps, not {0}")]
    PathLength(usize),
    /// An object's name is ASCII, without spaces and not empty.
    #[error("the object name of namespace device {number} is not ASCII without spaces")]
    ObjectName {
        /// The device.
        number: u8,
    },
    /// A type that has fields of its own here, as one of [`others`](crate::Dmar::others) or of
    /// [`ScopedDevice::Other`](crate::ScopedDevice::Other).
    #[error("type {0} is known by its name")]
    KnownType(u16),
    /// A structure has at most 65,535 bytes, a table 4 GiB less one.
    #[error("{what} is too long")]
    TooLong {
        /// What is.
        what: &'static str,
    },
}
