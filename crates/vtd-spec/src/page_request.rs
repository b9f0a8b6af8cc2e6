//! Page requests: what the unit puts into the page request queue.

use core::fmt;

use crate::{Iova, Pasid, SourceId};

/// An entry of the page request queue, in the layout of revision 4.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct PageRequest {
    /// RID: the device that asks.
    pub source_id: SourceId,
    /// PASID, where PP is 1.
    pub pasid: Option<Pasid>,
    /// The page asked for, 4 KiB aligned.
    pub address: Iova,
    /// R: read access is asked for.
    pub read: bool,
    /// W: write access is asked for.
    pub write: bool,
    /// EXE: execute access is asked for.
    pub execute: bool,
    /// PM: the request is a supervisor's.
    pub privileged: bool,
    /// LPIG: no request of the group follows.
    pub last_in_group: bool,
    /// PRGI: the group; 9 bits, higher ones are not encoded.
    pub group_index: u16,
}

/// Four quadwords that are no page request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
#[non_exhaustive]
pub enum PageRequestError {
    /// The type (7:0) is not 1.
    #[error("queue entry of type {0:#x}: a page request has type 1")]
    Type(u8),
    /// Reserved bits are set.
    #[error("page request with reserved bits {bits:#x} in qw{word}")]
    Reserved {
        /// Which quadword, 0 to 3.
        word: u8,
        /// The reserved bits that are set in it.
        bits: u64,
    },
}

impl PageRequest {
    /// Whether this is a stop marker: the last of its group with neither read nor write. It gets no response.
    #[must_use]
    pub const fn is_stop_marker(&self) -> bool {
        self.last_in_group && !self.read && !self.write
    }

    /// The entry's four quadwords.
    #[must_use]
    pub const fn encode(&self) -> [u64; 4] {
        let pasid = match self.pasid {
            Some(pasid) => 1 << 8 | (pasid.get() as u64) << 32,
            None => 0,
        };
        let qw0 = 1
            | pasid
            | (self.source_id.0 as u64) << 16
            | (self.execute as u64) << 52
            | (self.privileged as u64) << 53;
        let qw1 = self.address.page().0
            | self.read as u64
            | (self.write as u64) << 1
            | (self.last_in_group as u64) << 2
            | (self.group_index as u64 & 0x1ff) << 3;
        [qw0, qw1, 0, 0]
    }

    /// Decodes an entry.
    ///
    /// # Errors
    /// [`PageRequestError`] says what is not as it should be.
    pub fn decode(raw: [u64; 4]) -> Result<Self, PageRequestError> {
        let [qw0, qw1, ..] = raw;
        let entry_type = (qw0 & 0xff) as u8;
        if entry_type != 1 {
            return Err(PageRequestError::Type(entry_type));
        }
        let masks = [0xffc0_0000_0000_fe00, 0, u64::MAX, u64::MAX];
        for ((word, raw), mask) in (0..).zip(raw).zip(masks) {
            let bits = raw & mask;
            if bits != 0 {
                return Err(PageRequestError::Reserved { word, bits });
            }
        }
        Ok(Self {
            source_id: SourceId((qw0 >> 16 & 0xffff) as u16),
            pasid: (qw0 >> 8 & 1 == 1).then(|| Pasid::from_low_bits(qw0 >> 32)),
            address: Iova(qw1 & !0xfff),
            read: qw1 & 1 == 1,
            write: qw1 >> 1 & 1 == 1,
            execute: qw0 >> 52 & 1 == 1,
            privileged: qw0 >> 53 & 1 == 1,
            last_in_group: qw1 >> 2 & 1 == 1,
            group_index: (qw1 >> 3 & 0x1ff) as u16,
        })
    }
}

impl fmt::Display for PageRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.source_id)?;
        if let Some(pasid) = self.pasid {
            write!(f, " PASID {pasid}")?;
        }
        if self.is_stop_marker() {
            return write!(f, " stop marker, group {:x}", self.group_index);
        }
        let accesses = [
            (self.privileged, " supervisor"),
            (self.execute, " execute"),
            (self.read, " read"),
            (self.write, " write"),
        ];
        for (_, name) in accesses.iter().filter(|(set, _)| *set) {
            f.write_str(name)?;
        }
        write!(f, " of {}, group {:x}", self.address, self.group_index)?;
        f.write_str(if self.last_in_group { ", last" } else { "" })
    }
}
