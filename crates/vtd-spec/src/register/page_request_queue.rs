//! The registers of the page request queue.

use super::BASE;
use crate::Gpa;

/// PQA (0D0): where the page request queue lies and how large it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub struct PageRequestQueueAddress {
    /// The queue, 4 KiB aligned (63:12).
    pub base: Gpa,
    /// PQS (2:0): the queue has 2^PQS pages; 0 to 7, higher bits are cut off.
    pub size_order: u8,
}

impl PageRequestQueueAddress {
    /// The queue of a register value.
    #[must_use]
    pub const fn from_bits(raw: u64) -> Self {
        Self { base: Gpa(raw & BASE), size_order: (raw & 7) as u8 }
    }

    /// The register value.
    #[must_use]
    pub const fn bits(self) -> u64 {
        self.base.0 & BASE | self.size_order as u64 & 7
    }

    /// The size of the queue in bytes: 4 KiB to 512 KiB.
    #[must_use]
    pub const fn bytes(self) -> u64 {
        0x1000 << (self.size_order & 7)
    }

    /// How many entries of 32 bytes the queue has: 128 to 16,384. One of them is always free.
    #[must_use]
    pub const fn entry_count(self) -> u32 {
        128 << (self.size_order & 7)
    }
}

/// PQH (0C0) or PQT (0C8): which page request software takes next, or where the unit puts the next one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub struct PageRequestQueuePointer {
    /// Bytes from the start of the queue, a multiple of 32 below 512 KiB (18:5).
    pub byte_offset: u32,
}

impl PageRequestQueuePointer {
    /// The pointer of a register value.
    #[must_use]
    pub const fn from_bits(raw: u64) -> Self {
        Self { byte_offset: (raw & 0x7_ffe0) as u32 }
    }

    /// The register value.
    #[must_use]
    pub const fn bits(self) -> u64 {
        self.byte_offset as u64 & 0x7_ffe0
    }
}

/// PRS (0DC).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub struct PageRequestStatus {
    /// PPR (0), cleared by writing 1: a page request was queued.
    pub pending: bool,
    /// PRO (1), cleared by writing 1: a page request was dropped because the queue was full.
    pub overflow: bool,
}

impl PageRequestStatus {
    /// The status of a register value.
    #[must_use]
    pub const fn from_bits(raw: u32) -> Self {
        Self { pending: raw & 1 == 1, overflow: raw >> 1 & 1 == 1 }
    }

    /// The register value.
    #[must_use]
    pub const fn bits(self) -> u32 {
        self.pending as u32 | (self.overflow as u32) << 1
    }
}
