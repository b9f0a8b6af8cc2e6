//! Fault records: what the unit tells software of a blocked request.

use core::fmt;

use crate::{FaultReason, Pasid, SourceId};

/// A fault recording register (FRCD) with F set.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct FaultRecord {
    /// FI: the page of the address asked for. For a fault of interrupt remapping bits 63:48 are the index asked for.
    pub address: u64,
    /// SID.
    pub source_id: SourceId,
    /// PASID, where PP is 1.
    pub pasid: Option<Pasid>,
    /// The fault reason.
    pub reason: FaultReason,
    /// T1 and T2.
    pub kind: RequestKind,
    /// EXE: execute permission was asked for.
    pub execute: bool,
    /// PRIV: the request was a supervisor's.
    pub privileged: bool,
    /// AT.
    pub address_type: AddressType,
}

/// What kind of request was blocked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum RequestKind {
    /// T1 0, T2 0.
    Write,
    /// T1 0, T2 1.
    PageRequest,
    /// T1 1, T2 0.
    Read,
    /// T1 1, T2 1.
    AtomicOp,
}

/// AT: what the address of a request is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub enum AddressType {
    /// 0: an address to be translated.
    #[default]
    Untranslated,
    /// 1: an address whose translation is asked for.
    TranslationRequest,
    /// 2: an address that the device has had translated.
    Translated,
    /// 3: nothing that PCI Express defines.
    Reserved,
}

impl FaultRecord {
    /// The two quadwords of the register, with F set. Bits 11:0 of the address are cut off.
    #[must_use]
    pub const fn encode(&self) -> [u64; 2] {
        let pasid = match self.pasid {
            Some(pasid) => 1 << 31 | (pasid.get() as u64) << 40,
            None => 0,
        };
        let kind = match self.kind {
            RequestKind::Write => 0,
            RequestKind::PageRequest => 1 << 28,
            RequestKind::Read => 1 << 62,
            RequestKind::AtomicOp => 1 << 62 | 1 << 28,
        };
        let address_type = match self.address_type {
            AddressType::Untranslated => 0,
            AddressType::TranslationRequest => 1,
            AddressType::Translated => 2,
            AddressType::Reserved => 3,
        };
        let qw1 = self.source_id.0 as u64
            | (self.privileged as u64) << 29
            | (self.execute as u64) << 30
            | pasid
            | (self.reason.code() as u64) << 32
            | address_type << 60
            | kind
            | 1 << 63;
        [self.address & !0xfff, qw1]
    }

    /// The fault in the two quadwords of a register, or `None` if F is 0 or the reason is no code of the architecture.
    #[must_use]
    pub const fn decode([qw0, qw1]: [u64; 2]) -> Option<Self> {
        let (1, Some(reason)) = (qw1 >> 63, FaultReason::from_code((qw1 >> 32 & 0xff) as u8))
        else {
            return None;
        };
        let pasid = if qw1 >> 31 & 1 == 1 { Some(Pasid::from_low_bits(qw1 >> 40)) } else { None };
        let kind = match (qw1 >> 62 & 1, qw1 >> 28 & 1) {
            (0, 0) => RequestKind::Write,
            (0, _) => RequestKind::PageRequest,
            (_, 0) => RequestKind::Read,
            _ => RequestKind::AtomicOp,
        };
        let address_type = match qw1 >> 60 & 3 {
            0 => AddressType::Untranslated,
            1 => AddressType::TranslationRequest,
            2 => AddressType::Translated,
            _ => AddressType::Reserved,
        };
        Some(Self {
            address: qw0 & !0xfff,
            source_id: SourceId((qw1 & 0xffff) as u16),
            pasid,
            reason,
            kind,
            execute: qw1 >> 30 & 1 == 1,
            privileged: qw1 >> 29 & 1 == 1,
            address_type,
        })
    }
}

impl fmt::Display for RequestKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Write => "write",
            Self::PageRequest => "page request",
            Self::Read => "read",
            Self::AtomicOp => "atomic operation",
        })
    }
}

impl fmt::Display for FaultRecord {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.source_id)?;
        if let Some(pasid) = self.pasid {
            write!(f, " PASID {pasid}")?;
        }
        if (0x20..0x30).contains(&self.reason.code()) {
            return write!(f, " interrupt index {:x}: {}", self.address >> 48, self.reason);
        }
        let privileged = if self.privileged { " supervisor" } else { "" };
        let execute = if self.execute { " execute" } else { "" };
        let address_type = match self.address_type {
            AddressType::Untranslated => "",
            AddressType::TranslationRequest => " (translation request)",
            AddressType::Translated => " (translated)",
            AddressType::Reserved => " (reserved address type)",
        };
        write!(
            f,
            "{privileged}{execute} {} of {:#x}{address_type}: {}",
            self.kind, self.address, self.reason
        )
    }
}
