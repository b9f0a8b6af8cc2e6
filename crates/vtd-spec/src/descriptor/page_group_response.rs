//! Type 9: page group response.

use core::fmt;

use crate::{Pasid, SourceId};

/// Software's answer to a group of page requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct PageGroupResponse {
    /// RID: the device that asked.
    pub source_id: SourceId,
    /// PASID, where PP is 1.
    pub pasid: Option<Pasid>,
    /// RC.
    pub code: ResponseCode,
    /// LPIG: the request that is answered was the last of its group.
    pub last_in_group: bool,
    /// PRGI: the group; 9 bits, higher ones are not encoded.
    pub group_index: u16,
}

/// RC of a [`PageGroupResponse`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ResponseCode {
    /// 0: the pages are there.
    Success,
    /// 1: some page is not there, or not with the access asked for.
    Invalid,
    /// F, and every code without a meaning of its own: the device stops asking.
    Failure,
}

impl PageGroupResponse {
    pub(super) const fn decode(qw0: u64, qw1: u64) -> Self {
        let pasid = if qw0 >> 4 & 1 == 1 { Some(Pasid::from_low_bits(qw0 >> 32)) } else { None };
        let code = match qw0 >> 12 & 0xf {
            0 => ResponseCode::Success,
            1 => ResponseCode::Invalid,
            _ => ResponseCode::Failure,
        };
        Self {
            source_id: SourceId((qw0 >> 16 & 0xffff) as u16),
            pasid,
            code,
            last_in_group: qw1 >> 2 & 1 == 1,
            group_index: (qw1 >> 3 & 0x1ff) as u16,
        }
    }

    pub(super) const fn encode(self) -> [u64; 2] {
        let pasid = match self.pasid {
            Some(pasid) => 1 << 4 | (pasid.get() as u64) << 32,
            None => 0,
        };
        let code = match self.code {
            ResponseCode::Success => 0,
            ResponseCode::Invalid => 1,
            ResponseCode::Failure => 0xf,
        };
        [
            pasid | code << 12 | (self.source_id.0 as u64) << 16,
            (self.last_in_group as u64) << 2 | (self.group_index as u64 & 0x1ff) << 3,
        ]
    }
}

impl fmt::Display for PageGroupResponse {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "device {}, ", self.source_id)?;
        if let Some(pasid) = self.pasid {
            write!(f, "PASID {pasid}, ")?;
        }
        write!(f, "group {:x}, ", self.group_index)?;
        f.write_str(match self.code {
            ResponseCode::Success => "success",
            ResponseCode::Invalid => "invalid",
            ResponseCode::Failure => "failure",
        })?;
        f.write_str(if self.last_in_group { ", last" } else { "" })
    }
}
