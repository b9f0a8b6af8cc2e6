//! One line of a recording.

use std::fmt;

use vtd_spec::descriptor::ResponseCode;
use vtd_spec::{Gpa, Iova, Pasid, SourceId};

use super::{Grant, HostCall, PageAccess, PageRange, Permissions, RequestAccess};

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
        access: RequestAccess,
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
        access: RequestAccess,
        /// The address that was reported, usually cut to its 4 KiB page; of an interrupt request the index, at most ffff.
        address: Iova,
        /// The reason's code as it was reported, of the architecture or not.
        reason: u8,
        /// What the request was.
        request: FaultedRequest,
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
    /// `translate`: a device asked for a translation that it keeps.
    Translate {
        /// The device.
        source_id: SourceId,
        /// The PASID of the request, if it has one.
        pasid: Option<Pasid>,
        /// The access asked for; never of zero length.
        access: RequestAccess,
        /// The address asked for.
        iova: Iova,
        /// What came of it.
        answer: TranslationAnswer,
    },
    /// `translated`: a device made a request with an address that it had translated.
    Translated {
        /// The device.
        source_id: SourceId,
        /// The PASID of the request, if it has one.
        pasid: Option<Pasid>,
        /// The access asked for.
        access: RequestAccess,
        /// The translated address.
        address: Gpa,
        /// What came of it.
        answer: TranslatedAnswer,
    },
    /// `endpoint`: from here on the device is an emulated one with a device TLB.
    Endpoint {
        /// The device.
        source_id: SourceId,
        /// `later`: its invalidations are done by `device-tlb-done` lines, not at once.
        later: bool,
    },
    /// `device-tlb`: a device was told to drop translations.
    DeviceTlb {
        /// The device.
        source_id: SourceId,
        /// For which requests.
        pasids: PasidScope,
        /// Which translations.
        range: PageRange,
    },
    /// `device-tlb-done`: the oldest outstanding invalidation of a device is done.
    DeviceTlbDone {
        /// The device.
        source_id: SourceId,
    },
    /// `device-tlb-timeout`: the time of the oldest outstanding invalidation of a device is up.
    DeviceTlbTimeout {
        /// The device.
        source_id: SourceId,
    },
    /// `page-request`: a device asked for a page.
    PageRequest {
        /// The device.
        source_id: SourceId,
        /// The PASID of the request, if it has one.
        pasid: Option<Pasid>,
        /// The access that the device wants.
        access: PageAccess,
        /// The page, 4 KiB aligned.
        address: Iova,
        /// The group, at most 1ff.
        group: u16,
        /// `last`: it is the last request of its group.
        last: bool,
    },
    /// `page-response`: a device was given the answer to a group of page requests.
    PageResponse {
        /// The device.
        source_id: SourceId,
        /// The PASID of the response, if it has one.
        pasid: Option<Pasid>,
        /// The group, at most 1ff.
        group: u16,
        /// The answer.
        code: ResponseCode,
    },
    /// `interrupt`: a device made an interrupt request.
    Interrupt {
        /// The device.
        source_id: SourceId,
        /// The address written to.
        address: u64,
        /// The data written.
        data: u32,
        /// What came of it.
        answer: InterruptAnswer,
    },
    /// `interrupt-entries`: interrupt remapping entries were invalidated.
    InterruptEntries(InterruptEntries),
    /// `renumber`: a device has another source-id from here on.
    Renumber {
        /// What it was.
        source_id: SourceId,
        /// What it is.
        new: SourceId,
    },
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
            Self::Translate { .. } => EventKind::Translate,
            Self::Translated { .. } => EventKind::Translated,
            Self::Endpoint { .. } => EventKind::Endpoint,
            Self::DeviceTlb { .. } => EventKind::DeviceTlb,
            Self::DeviceTlbDone { .. } => EventKind::DeviceTlbDone,
            Self::DeviceTlbTimeout { .. } => EventKind::DeviceTlbTimeout,
            Self::PageRequest { .. } => EventKind::PageRequest,
            Self::PageResponse { .. } => EventKind::PageResponse,
            Self::Interrupt { .. } => EventKind::Interrupt,
            Self::InterruptEntries(_) => EventKind::InterruptEntries,
            Self::Renumber { .. } => EventKind::Renumber,
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

/// What a blocked request was: KIND of a `fault` line.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum FaultedRequest {
    /// No word: DMA with an address to be translated.
    #[default]
    Untranslated,
    /// `translation`: a translation request.
    Translation,
    /// `translated`: DMA with an address that the device has had translated.
    Translated,
    /// `page-request`: a page request.
    PageRequest,
    /// `interrupt`: an interrupt request. The address of the line is the index of the interrupt remapping entry.
    Interrupt,
}

impl FaultedRequest {
    /// The word of the line; empty for an untranslated request.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Untranslated => "",
            Self::Translation => "translation",
            Self::Translated => "translated",
            Self::PageRequest => "page-request",
            Self::Interrupt => "interrupt",
        }
    }

    /// The request that this word is.
    pub(super) fn from_name(name: &str) -> Option<Self> {
        [Self::Translation, Self::Translated, Self::PageRequest, Self::Interrupt]
            .into_iter()
            .find(|request| request.name() == name)
    }
}

/// The answer to a translation request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum TranslationAnswer {
    /// The device was given a translation.
    Granted {
        /// The first byte of the range that the translation covers, 4 KiB aligned.
        gpa: Gpa,
        /// One less than the size of that range: a power of two, at least 4 KiB, that ends within the address space.
        mask: u64,
        /// What the device may do with it.
        grant: Grant,
        /// `u`: only requests with the untranslated address may be made.
        untranslated_only: bool,
        /// `g`: the translation is the same for all PASIDs of the device.
        global: bool,
    },
    /// `none`: the request was successful, and nothing was granted.
    Nothing,
    /// `fault`: the request was unsuccessful.
    Fault,
}

/// The answer to a translated request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum TranslatedAnswer {
    /// `ok`: the request reached memory.
    Done,
    /// `fault`: the request was blocked.
    Fault,
}

/// The answer to an interrupt request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum InterruptAnswer {
    /// The message that came of it.
    Message {
        /// The address written to.
        address: u64,
        /// The data written.
        data: u32,
    },
    /// `blocked`: nothing came of it.
    Blocked,
}

/// The requests whose translations a device TLB drops: PASID of a `device-tlb` line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum PasidScope {
    /// `-`: requests without PASID.
    WithoutPasid,
    /// Requests with this PASID.
    Pasid(Pasid),
    /// `*`: requests with any PASID.
    EveryPasid,
}

impl fmt::Display for PasidScope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::WithoutPasid => f.write_str("-"),
            Self::Pasid(pasid) => fmt::Display::fmt(pasid, f),
            Self::EveryPasid => f.write_str("*"),
        }
    }
}

/// Which interrupt remapping entries were invalidated.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum InterruptEntries {
    /// `all`: every one.
    Everything,
    /// A range that ends at index ffff or before.
    Range {
        /// The first entry.
        index: u16,
        /// The number of entries, 1 to 10000.
        count: u32,
    },
}

impl fmt::Display for InterruptEntries {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Everything => f.write_str("all"),
            Self::Range { index, count } => write!(f, "{index:x} {count:x}"),
        }
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
    Translate "translate"
    Translated "translated"
    Endpoint "endpoint"
    DeviceTlb "device-tlb"
    DeviceTlbDone "device-tlb-done"
    DeviceTlbTimeout "device-tlb-timeout"
    PageRequest "page-request"
    PageResponse "page-response"
    Interrupt "interrupt"
    InterruptEntries "interrupt-entries"
    Renumber "renumber"
}

impl fmt::Display for EventKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
