//! The protected memory regions: PMEN, PLMBASE, PLMLIMIT, PHMBASE and PHMLIMIT.
//!
//! A region is a whole number of 2 MiB pieces: bits 20:0 of its registers read 0, and its limit means the last byte of its piece.

use vtd_spec::register::{ProtectedMemoryEnable, offset};
use vtd_spec::table::PageSize;
use vtd_spec::{Capabilities, Gpa};
use vtd_walk::Translated;

/// Bits below the granularity of a region.
const BELOW: u64 = 0x1f_ffff;

/// The registers of the protected regions.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct ProtectedMemoryRegisters {
    /// PMEN: EPM as software wrote it last, PRS as far as the unit has followed.
    pub(crate) enable: ProtectedMemoryEnable,
    low: [u32; 2],
    high: [u64; 2],
}

/// The registers as they are saved, in raw integers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub(crate) struct SavedProtectedMemory {
    enable: u32,
    low: [u32; 2],
    high: [u64; 2],
}

/// The regions that no DMA reaches, as first and last byte.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct ProtectedRegions([Option<(u64, u64)>; 2]);

impl ProtectedMemoryRegisters {
    pub(crate) fn exist(caps: &Capabilities) -> bool {
        caps.protected_low_memory() || caps.protected_high_memory()
    }

    /// The 32-bit word at a place from PMEN to the end of PHMLIMIT.
    pub(crate) fn read_word(&self, caps: &Capabilities, place: u64) -> u32 {
        let quad = match place & !7 {
            0x60 if place == offset::PMEN && Self::exist(caps) => return self.enable.bits(),
            offset::PLMBASE => u64::from(self.low[1]) << 32 | u64::from(self.low[0]),
            offset::PHMBASE => self.high[0],
            offset::PHMLIMIT => self.high[1],
            _ => 0,
        };
        let half = if place & 4 == 0 { quad } else { quad >> 32 };
        u32::try_from(half & 0xffff_ffff).unwrap_or(0)
    }

    /// Writes a word; what EPM is to be, where it changes. The regions are fixed while EPM or PRS is 1: what reads back is what
    /// is protected.
    pub(crate) fn write_word(
        &mut self,
        caps: &Capabilities,
        place: u64,
        value: u32,
    ) -> Option<bool> {
        if place == offset::PMEN && Self::exist(caps) {
            let wanted = ProtectedMemoryEnable::from_bits(value).enable;
            let changed = wanted != self.enable.enable;
            self.enable.enable = wanted;
            return changed.then_some(wanted);
        }
        if self.enable.enable || self.enable.status {
            return None;
        }
        let low = value & !0x1f_ffff;
        let width = (1_u64 << caps.host_address_width()) - 1;
        match place {
            offset::PLMBASE if caps.protected_low_memory() => self.low[0] = low,
            offset::PLMLIMIT if caps.protected_low_memory() => self.low[1] = low,
            _ if caps.protected_high_memory() => {
                let register = match place & !7 {
                    offset::PHMBASE => &mut self.high[0],
                    offset::PHMLIMIT => &mut self.high[1],
                    _ => return None,
                };
                let written = if place & 4 == 0 {
                    *register & !0xffff_ffff | u64::from(value)
                } else {
                    *register & 0xffff_ffff | u64::from(value) << 32
                };
                *register = written & width & !BELOW;
            }
            _ => {}
        }
        None
    }

    /// The regions that are protected once EPM is 1. A limit below its base protects nothing.
    pub(crate) fn regions(&self, caps: &Capabilities) -> ProtectedRegions {
        let region = |shown: bool, base: u64, limit: u64| {
            let last = limit | BELOW;
            (shown && base <= last).then_some((base, last))
        };
        let [low_base, low_limit] = self.low.map(u64::from);
        let [high_base, high_limit] = self.high;
        ProtectedRegions([
            region(caps.protected_low_memory(), low_base, low_limit),
            region(caps.protected_high_memory(), high_base, high_limit),
        ])
    }

    pub(crate) fn save(&self) -> SavedProtectedMemory {
        SavedProtectedMemory { enable: self.enable.bits(), low: self.low, high: self.high }
    }

    pub(crate) fn restore(caps: &Capabilities, saved: &SavedProtectedMemory) -> Self {
        let mut registers = Self::default();
        let [low_base, low_limit] = saved.low;
        registers.write_word(caps, offset::PLMBASE, low_base);
        registers.write_word(caps, offset::PLMLIMIT, low_limit);
        let width = (1_u64 << caps.host_address_width()) - 1;
        if caps.protected_high_memory() {
            registers.high = saved.high.map(|address| address & width & !BELOW);
        }
        if Self::exist(caps) {
            registers.enable = ProtectedMemoryEnable::from_bits(saved.enable);
        }
        registers
    }
}

impl ProtectedRegions {
    /// What of a translation may be used; `None` where its address is protected. A page that reaches into a region is cut to the
    /// 2 MiB around the address, which lie in a region as a whole or not at all.
    pub(crate) fn admit(&self, translated: Translated) -> Option<Translated> {
        let touches = |first: u64, last: u64| {
            self.0.iter().flatten().any(|(base, limit)| first <= *limit && *base <= last)
        };
        let address = translated.address.0;
        if touches(address, address) {
            return None;
        }
        let last = translated.page.0 | (translated.size.bytes() - 1);
        if translated.size == PageSize::Size1G && touches(translated.page.0, last) {
            let page = Gpa(address & !BELOW);
            return Some(Translated { page, size: PageSize::Size2M, ..translated });
        }
        Some(translated)
    }
}
