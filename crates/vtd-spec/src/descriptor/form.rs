//! What the descriptor types have in common: number, width, capability, reserved bits.

use core::fmt;

use super::DescriptorError;
use crate::Capabilities;
use crate::planted::is_planted;

/// The type of a descriptor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    ContextCache,
    Iotlb,
    DeviceTlb,
    InterruptEntryCache,
    Wait,
    PasidIotlb,
    PasidCache,
    PasidDeviceTlb,
    PageGroupResponse,
}

/// PFSID, whose two parts are reserved without ECAP.DIT.
const PFSID: u64 = 0xfff0_0000_0000_f000;

impl Form {
    /// The type of a descriptor whose first quadword is `qw0`.
    pub(super) const fn of(qw0: u64) -> Option<Self> {
        // The type's high part, 11:9, is 0 for every type that there is.
        match qw0 & 0xe0f {
            1 => Some(Self::ContextCache),
            2 => Some(Self::Iotlb),
            3 => Some(Self::DeviceTlb),
            4 => Some(Self::InterruptEntryCache),
            5 => Some(Self::Wait),
            6 => Some(Self::PasidIotlb),
            7 => Some(Self::PasidCache),
            8 => Some(Self::PasidDeviceTlb),
            9 => Some(Self::PageGroupResponse),
            _ => None,
        }
    }

    /// The number that [`of`](Self::of) takes.
    pub(super) const fn type_number(self) -> u64 {
        match self {
            Self::ContextCache => 1,
            Self::Iotlb => 2,
            Self::DeviceTlb => 3,
            Self::InterruptEntryCache => 4,
            Self::Wait => 5,
            Self::PasidIotlb => 6,
            Self::PasidCache => 7,
            Self::PasidDeviceTlb => 8,
            Self::PageGroupResponse => 9,
        }
    }

    const fn name(self) -> &'static str {
        match self {
            Self::ContextCache => "context cache",
            Self::Iotlb => "IOTLB",
            Self::DeviceTlb => "device TLB",
            Self::InterruptEntryCache => "interrupt entry cache",
            Self::Wait => "wait",
            Self::PasidIotlb => "PASID IOTLB",
            Self::PasidCache => "PASID cache",
            Self::PasidDeviceTlb => "PASID device TLB",
            Self::PageGroupResponse => "page group response",
        }
    }

    /// Checks what does not depend on the other fields.
    ///
    /// The width comes before the capability: types 6 to 9 in a queue of 128-bit descriptors are an invalid width on every
    /// unit.
    pub(super) fn check(
        self,
        raw: [u64; 4],
        wide: bool,
        caps: &Capabilities,
    ) -> Result<(), DescriptorError> {
        let descriptor = self.name();
        if !wide && self.needs_wide() {
            return Err(DescriptorError::NeedsWide { descriptor });
        }
        if let Some(capability) = self.missing_capability(caps) {
            return Err(DescriptorError::NotShown { descriptor, capability });
        }
        let [mut reserved0, reserved1] = self.reserved(caps);
        // Planted (row 16): PFSID is reserved although DIT is shown.
        if is_planted(16) && matches!(self, Self::DeviceTlb | Self::PasidDeviceTlb) {
            reserved0 |= PFSID;
        }
        let beyond = if wide { u64::MAX } else { 0 };
        let masks = [reserved0, reserved1, beyond, beyond];
        for ((word, raw), mask) in (0..).zip(raw).zip(masks) {
            let bits = raw & mask;
            if bits != 0 {
                return Err(DescriptorError::Reserved { descriptor, word, raw, bits });
            }
        }
        Ok(())
    }

    const fn needs_wide(self) -> bool {
        matches!(
            self,
            Self::PasidIotlb | Self::PasidCache | Self::PasidDeviceTlb | Self::PageGroupResponse
        )
    }

    const fn missing_capability(self, caps: &Capabilities) -> Option<&'static str> {
        let (shown, capability) = match self {
            Self::ContextCache | Self::Iotlb | Self::Wait => return None,
            Self::DeviceTlb | Self::PasidDeviceTlb => (caps.device_tlbs(), "ECAP.DT"),
            Self::InterruptEntryCache => (caps.interrupt_remapping(), "ECAP.IR"),
            // Scalable mode uses PASID tables also where the unit serves no requests with PASID.
            Self::PasidIotlb | Self::PasidCache => (caps.scalable_mode(), "ECAP.SMTS"),
            Self::PageGroupResponse => (caps.page_requests(), "ECAP.PRS"),
        };
        if shown { None } else { Some(capability) }
    }

    /// The reserved bits of qw0 and qw1.
    const fn reserved(self, caps: &Capabilities) -> [u64; 2] {
        let pfsid = if caps.device_tlb_throttle() { 0 } else { PFSID };
        let drain = if caps.page_request_drain() { 0 } else { 0x80 };
        match self {
            Self::ContextCache => [0xfffc_0000_0000_f1c0, u64::MAX],
            Self::Iotlb => [0xffff_ffff_0000_f100, 0xf80],
            Self::DeviceTlb => [0x000f_0000_ffe0_01f0 | pfsid, 0xffe],
            Self::InterruptEntryCache => [0xffff_0000_07ff_f1e0, u64::MAX],
            Self::Wait => [0xffff_f100 | drain, 3],
            Self::PasidIotlb => [0xfff0_0000_0000_f1c0, 0xf80],
            Self::PasidCache => [0xfff0_0000_0000_f1c0, u64::MAX],
            Self::PasidDeviceTlb => [pfsid, 0x7fe],
            Self::PageGroupResponse => [0xfff0_0000_0000_01e0, 0xffff_ffff_ffff_f003],
        }
    }
}

impl fmt::Display for Form {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
