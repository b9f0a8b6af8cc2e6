//! The registers of the invalidation queue.

use core::fmt;

use super::BASE;
use crate::{Gpa, SourceId};

/// IQA (090): where the invalidation queue lies and how large it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub struct QueueAddress {
    /// The queue, 4 KiB aligned (63:12).
    pub base: Gpa,
    /// DW (11): descriptors have 256 bits rather than 128.
    pub wide: bool,
    /// QS (2:0): the queue has 2^QS pages; 0 to 7, higher bits are cut off.
    pub size_order: u8,
}

impl QueueAddress {
    /// The queue of a register value.
    #[must_use]
    pub const fn from_bits(raw: u64) -> Self {
        Self { base: Gpa(raw & BASE), wide: raw >> 11 & 1 == 1, size_order: (raw & 7) as u8 }
    }

    /// The register value.
    #[must_use]
    pub const fn bits(self) -> u64 {
        self.base.0 & BASE | (self.wide as u64) << 11 | self.size_order as u64 & 7
    }

    /// The size of the queue in bytes: 4 KiB to 512 KiB.
    #[must_use]
    pub const fn bytes(self) -> u64 {
        0x1000 << (self.size_order & 7)
    }

    /// The size of a descriptor in bytes, 16 or 32.
    #[must_use]
    pub const fn descriptor_bytes(self) -> u64 {
        if self.wide { 32 } else { 16 }
    }

    /// How many descriptors the queue holds: 128 to 32,768.
    #[must_use]
    pub const fn descriptor_count(self) -> u32 {
        let in_a_page = if self.wide { 128 } else { 256 };
        in_a_page << (self.size_order & 7)
    }
}

/// IQH (080) or IQT (088): where the next descriptor is fetched from, or written to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub struct QueuePointer {
    /// Bytes from the start of the queue, a multiple of 16 below 512 KiB (18:4).
    ///
    /// With 256-bit descriptors bit 4 has to be 0 as well.
    pub byte_offset: u32,
}

impl QueuePointer {
    /// The pointer of a register value.
    #[must_use]
    pub const fn from_bits(raw: u64) -> Self {
        Self { byte_offset: (raw & 0x7_fff0) as u32 }
    }

    /// The register value.
    #[must_use]
    pub const fn bits(self) -> u64 {
        self.byte_offset as u64 & 0x7_fff0
    }
}

/// ICS (09C).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub struct InvalidationCompletion {
    /// IWC (0), cleared by writing 1: a wait with its interrupt flag has completed.
    pub complete: bool,
}

impl InvalidationCompletion {
    /// The status of a register value.
    #[must_use]
    pub const fn from_bits(raw: u32) -> Self {
        Self { complete: raw & 1 == 1 }
    }

    /// The register value.
    #[must_use]
    pub const fn bits(self) -> u32 {
        self.complete as u32
    }
}

/// IQERCD (0B0): why the invalidation queue stopped last.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub struct QueueError {
    /// IQEI (3:0).
    pub info: QueueErrorInfo,
    /// ITESID (47:32): the source-id of the device that did not answer in time.
    pub time_out_source: SourceId,
    /// ICESID (63:48): the source-id of the device that answered wrongly.
    pub completion_source: SourceId,
}

impl QueueError {
    /// The error of a register value. IQEI 8 to 15, which no unit reports, count as no information.
    #[must_use]
    pub const fn from_bits(raw: u64) -> Self {
        let info = match QueueErrorInfo::from_code((raw & 0xf) as u8) {
            Some(info) => info,
            None => QueueErrorInfo::NoInformation,
        };
        Self {
            info,
            time_out_source: SourceId((raw >> 32 & 0xffff) as u16),
            completion_source: SourceId((raw >> 48 & 0xffff) as u16),
        }
    }

    /// The register value.
    #[must_use]
    pub const fn bits(self) -> u64 {
        self.info.code() as u64
            | (self.time_out_source.0 as u64) << 32
            | (self.completion_source.0 as u64) << 48
    }
}

/// IQEI: what was wrong with the invalidation queue or one of its descriptors.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
#[repr(u8)]
pub enum QueueErrorInfo {
    /// 0.
    #[default]
    NoInformation = 0,
    /// 1: the tail lies at or past the end of the queue.
    InvalidTail = 1,
    /// 2: a descriptor could not be read.
    FetchFailed = 2,
    /// 3: a descriptor has an unknown type, or one whose capability is not shown.
    InvalidType = 3,
    /// 4: a reserved field is set, or a field holds what it must not.
    ReservedField = 4,
    /// 5: a descriptor of types 6 to 9 in a queue of 128-bit descriptors.
    InvalidWidth = 5,
    /// 6: the tail is not a multiple of 256 bits in a queue of 256-bit descriptors.
    UnalignedTail = 6,
    /// 7: RTADDR.TTM is invalid.
    InvalidTableMode = 7,
}

impl QueueErrorInfo {
    /// The information of this code, or `None` above 7.
    #[must_use]
    pub const fn from_code(code: u8) -> Option<Self> {
        match code {
            0 => Some(Self::NoInformation),
            1 => Some(Self::InvalidTail),
            2 => Some(Self::FetchFailed),
            3 => Some(Self::InvalidType),
            4 => Some(Self::ReservedField),
            5 => Some(Self::InvalidWidth),
            6 => Some(Self::UnalignedTail),
            7 => Some(Self::InvalidTableMode),
            _ => None,
        }
    }

    /// The architecture's code, 0 to 7.
    #[must_use]
    pub const fn code(self) -> u8 {
        self as u8
    }
}

impl fmt::Display for QueueErrorInfo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = match self {
            Self::NoInformation => "no information",
            Self::InvalidTail => "tail past the end of the queue",
            Self::FetchFailed => "descriptor fetch failed",
            Self::InvalidType => "invalid descriptor type",
            Self::ReservedField => "reserved field in descriptor",
            Self::InvalidWidth => "invalid descriptor width",
            Self::UnalignedTail => "tail not aligned to 256 bits",
            Self::InvalidTableMode => "invalid translation table mode",
        };
        write!(f, "{text} ({})", self.code())
    }
}
