//! The bytes that one access covers, cut where implementations need it.

use vtd_spec::Gpa;

use crate::AccessError;

/// The bytes of one access: aligned as it needs, and within the 64-bit address space.
#[derive(Clone, Copy)]
pub(crate) struct Span {
    gpa: Gpa,
    size: usize,
}

impl Span {
    /// `size` bytes from `gpa`, which must be a multiple of `alignment`.
    pub(crate) fn new(gpa: Gpa, size: usize, alignment: u64) -> Result<Self, AccessError> {
        if !gpa.0.is_multiple_of(alignment) {
            return Err(AccessError::misaligned(gpa, size));
        }
        // The last byte of the address space may belong to it, so the last byte is what must not overflow.
        let to_last = u64::try_from(size).unwrap_or(u64::MAX).saturating_sub(1);
        if gpa.checked_add(to_last).is_none() {
            return Err(AccessError::not_backed(gpa, size));
        }
        Ok(Self { gpa, size })
    }

    /// `count` qwords from `gpa`, a multiple of 8.
    pub(crate) fn of_qwords(gpa: Gpa, count: usize) -> Result<Self, AccessError> {
        Self::new(gpa, count.saturating_mul(8), 8)
    }

    /// The error of this access where no memory is.
    pub(crate) fn not_backed(self) -> AccessError {
        AccessError::not_backed(self.gpa, self.size)
    }

    /// The address of each whole qword, in ascending order.
    #[cfg(feature = "file")]
    pub(crate) fn qwords(self) -> impl Iterator<Item = Gpa> {
        // `new` has seen to it that nothing wraps.
        (0..self.size / 8)
            .scan(self.gpa.0, |next, _| Some(core::mem::replace(next, next.wrapping_add(8))))
            .map(Gpa)
    }

    /// The pieces of it that lie in one page each, in ascending order.
    pub(crate) fn pieces(self) -> Pieces {
        let [low, high, ..] = self.gpa.0.to_le_bytes();
        Pieces {
            page: self.gpa.page(),
            offset: usize::from(u16::from_le_bytes([low, high]) & 0xfff),
            left: self.size,
        }
    }
}

/// The part of an access that lies in one 4 KiB page.
#[derive(Clone, Copy)]
pub(crate) struct Piece {
    /// The page.
    pub(crate) page: Gpa,
    /// Where in the page it begins, in bytes below 4096.
    pub(crate) offset: usize,
    /// How long it is, in bytes.
    pub(crate) size: usize,
}

/// The pieces of a [`Span`], page by page.
pub(crate) struct Pieces {
    page: Gpa,
    offset: usize,
    left: usize,
}

impl Iterator for Pieces {
    type Item = Piece;

    fn next(&mut self) -> Option<Piece> {
        if self.left == 0 {
            return None;
        }
        let piece = Piece {
            page: self.page,
            offset: self.offset,
            size: self.left.min(0x1000 - self.offset),
        };
        // Wraps only behind the last page, when nothing is left.
        self.page = Gpa(self.page.0.wrapping_add(0x1000));
        self.offset = 0;
        self.left -= piece.size;
        Some(piece)
    }
}
