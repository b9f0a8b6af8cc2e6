//! One line of a recording.

use std::fmt;

use vtd_spec::{Gpa, Iova, Pasid, SourceId};

use super::HostCall;

/// What happened, in the order in which it happened: one line each.
///
/// Its `Display` is that line, without the line's end.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Event {
    /// `mem`: guest memory now holds these bytes.
    Mem {
        /// Where the first byte lies.
        gpa: Gpa,
        /// A multiple of 64 bytes, at least 64, that ends within the address space.
        bytes: Vec<u8>,
    },
    /// `zero`: a page of guest memory is known and holds zeros.
    Zero {
        /// The page, 4 KiB aligned.
        gpa: Gpa,
    },
    /// `write`: the guest wrote a register.
    Write {
        /// The register's offset in bytes.
        offset: u64,
        /// The access in bytes, 1 to 8.
        size: u8,
        /// What was written; fits in `size` bytes.
        value: u64,
    },
    /// `read`: the guest read a register.
    Read {
        /// The register's offset in bytes.
        offset: u64,
        /// The access in bytes, 1 to 8.
        size: u8,
        /// What the unit answered; fits in `size` bytes.
        value: u64,
    },
    /// `dma`: a device asked for an address.
    Dma {
        /// The device.
        source_id: SourceId,
        /// The PASID of the request, if it has one.
        pasid: Option<Pasid>,
        /// The access asked for.
        direction: Direction,
        /// The address asked for.
        iova: Iova,
        /// What came of it.
        answer: DmaAnswer,
    },
    /// `fault`: the unit reported a fault.
    Fault {
        /// The device whose request was blocked.
        source_id: SourceId,
        /// The PASID that was reported, if one was.
        pasid: Option<Pasid>,
        /// The access asked for.
        direction: Direction,
        /// The address that was reported, usually cut to its 4 KiB page.
        address: Iova,
        /// The reason's code as it was reported, of the architecture or not.
        reason: u8,
    },
    /// `iommu-write`: the unit itself wrote guest memory.
    IommuWrite {
        /// Where the first byte lies.
        gpa: Gpa,
        /// The bytes in the order of memory, 1 to 64, that end within the address space.
        bytes: Vec<u8>,
    },
    /// `msi`: the unit sent a message-signalled interrupt.
    Msi {
        /// The address written to.
        address: u64,
        /// The data written.
        data: u32,
    },
    /// `assign`: from here on the device is host-backed.
    Assign {
        /// The device.
        source_id: SourceId,
    },
    /// `release`: from here on the device is no longer host-backed.
    Release {
        /// The device.
        source_id: SourceId,
    },
    /// `host`: the host was asked to change or to invalidate a binding.
    Host(HostCall),
    /// `host-fail`: the next host call fails.
    HostFail,
    /// `reset`: the machine was reset.
    Reset,
}

impl Event {
    /// The kind of this event.
    #[must_use]
    pub const fn kind(&self) -> EventKind {
        match self {
            Self::Mem { .. } => EventKind::Mem,
            Self::Zero { .. } => EventKind::Zero,
            Self::Write { .. } => EventKind::Write,
            Self::Read { .. } => EventKind::Read,
            Self::Dma { .. } => EventKind::Dma,
            Self::Fault { .. } => EventKind::Fault,
            Self::IommuWrite { .. } => EventKind::IommuWrite,
            Self::Msi { .. } => EventKind::Msi,
            Self::Assign { .. } => EventKind::Assign,
            Self::Release { .. } => EventKind::Release,
            Self::Host(_) => EventKind::Host,
            Self::HostFail => EventKind::HostFail,
            Self::Reset => EventKind::Reset,
        }
    }
}

/// The answer to a DMA request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum DmaAnswer {
    /// The address is translated. The access itself was refused all the same where `permissions` lacks it.
    Translated {
        /// The first byte of the range that the translation covers, 4 KiB aligned.
        gpa: Gpa,
        /// One less than the size of that range: a power of two, at least 4 KiB, that ends within the address space.
        mask: u64,
        /// What the translation grants.
        permissions: Permissions,
    },
    /// The request was blocked.
    Fault,
}

/// The access that a request asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Direction {
    /// `r`: the device reads memory.
    Read,
    /// `w`: the device writes memory.
    Write,
}

impl fmt::Display for Direction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Read => "r",
            Self::Write => "w",
        })
    }
}

/// What a translation grants.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Permissions {
    /// `r`: reads only.
    Read,
    /// `w`: writes only.
    Write,
    /// `rw`: reads and writes.
    ReadWrite,
}

impl Permissions {
    /// Whether an access in this direction is granted.
    #[must_use]
    pub const fn grant(self, direction: Direction) -> bool {
        match direction {
            Direction::Read => matches!(self, Self::Read | Self::ReadWrite),
            Direction::Write => matches!(self, Self::Write | Self::ReadWrite),
        }
    }
}

impl fmt::Display for Permissions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Read => "r",
            Self::Write => "w",
            Self::ReadWrite => "rw",
        })
    }
}

macro_rules! kinds {
    ($($name:ident $word:literal)*) => {
        /// The kind of an event: the first word of its line, which is also its `Display`.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[non_exhaustive]
        pub enum EventKind {
            $(#[doc = concat!("`", $word, "`, an [`Event::", stringify!($name), "`].")] $name,)*
        }

        impl EventKind {
            /// The first word of such a line.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$name => $word,)*
                }
            }

            /// The kind whose lines start with this word, if there is one.
            #[must_use]
            pub fn from_name(name: &str) -> Option<Self> {
                match name {
                    $($word => Some(Self::$name),)*
                    _ => None,
                }
            }
        }
    };
}

kinds! {
    Mem "mem"
    Zero "zero"
    Write "write"
    Read "read"
    Dma "dma"
    Fault "fault"
    IommuWrite "iommu-write"
    Msi "msi"
    Assign "assign"
    Release "release"
    Host "host"
    HostFail "host-fail"
    Reset "reset"
}

impl fmt::Display for EventKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
