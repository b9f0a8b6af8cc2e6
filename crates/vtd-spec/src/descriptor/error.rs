//! Why a descriptor is malformed.

use crate::register::QueueErrorInfo;

/// A descriptor that stops the queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
#[non_exhaustive]
pub enum DescriptorError {
    /// The type is none of 1 to 9.
    #[error("unknown descriptor type in qw0 {raw:#x}")]
    UnknownType {
        /// The first quadword.
        raw: u64,
    },
    /// Types 6 to 9 do not exist in a queue of 128-bit descriptors.
    #[error("{descriptor} descriptor in a queue of 128-bit descriptors")]
    NeedsWide {
        /// The descriptor's name.
        descriptor: &'static str,
    },
    /// The unit does not show the capability that the type belongs to.
    #[error("{descriptor} descriptor, which needs {capability}")]
    NotShown {
        /// The descriptor's name.
        descriptor: &'static str,
        /// The capability, with its register.
        capability: &'static str,
    },
    /// Reserved bits are set, or bits that are reserved because their capability is not shown.
    #[error("{descriptor} descriptor with reserved bits {bits:#x} in qw{word} {raw:#x}")]
    Reserved {
        /// The descriptor's name.
        descriptor: &'static str,
        /// Which quadword, 0 to 3.
        word: u8,
        /// That quadword.
        raw: u64,
        /// The reserved bits that are set in it.
        bits: u64,
    },
    /// G holds a reserved granularity, or that of pages without CAP.PSI.
    #[error("{descriptor} descriptor with reserved granularity in qw0 {raw:#x}")]
    Granularity {
        /// The descriptor's name.
        descriptor: &'static str,
        /// The first quadword.
        raw: u64,
    },
    /// AM of a page-selective IOTLB invalidation is above CAP.MAMV.
    #[error("IOTLB descriptor with AM {mask:#x}, above CAP.MAMV {maximum:#x}")]
    AddressMask {
        /// AM.
        mask: u8,
        /// CAP.MAMV.
        maximum: u8,
    },
    /// IM of an interrupt entry cache invalidation is above ECAP.MHMV.
    #[error("interrupt entry cache descriptor with IM {mask:#x}, above ECAP.MHMV {maximum:#x}")]
    IndexMask {
        /// IM.
        mask: u8,
        /// ECAP.MHMV.
        maximum: u8,
    },
    /// A wait with IF, SW and FN all 0.
    #[error("wait descriptor that waits for nothing, qw0 {raw:#x}")]
    EmptyWait {
        /// The first quadword.
        raw: u64,
    },
}

impl DescriptorError {
    /// What IQERCD reports of it (IQEI).
    #[must_use]
    pub const fn info(&self) -> QueueErrorInfo {
        match self {
            Self::UnknownType { .. } | Self::NotShown { .. } => QueueErrorInfo::InvalidType,
            Self::NeedsWide { .. } => QueueErrorInfo::InvalidWidth,
            Self::Reserved { .. }
            | Self::Granularity { .. }
            | Self::AddressMask { .. }
            | Self::IndexMask { .. }
            | Self::EmptyWait { .. } => QueueErrorInfo::ReservedField,
        }
    }
}
