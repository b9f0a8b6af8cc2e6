//! Invalidation descriptors from raw integers, and why one is refused.

use crate::bits::{bit, field, low8, low16, low32, mask};
use crate::capabilities::Capabilities;
use crate::invalidation::{Invalidation, Pages};

/// A descriptor that is legal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Descriptor {
    /// Types 1, 2, 4, 6 and 7.
    Invalidation(Invalidation),
    /// Types 3 and 8.
    DeviceTlb(DeviceTlb),
    /// Type 5.
    Wait(Wait),
    /// Type 9.
    PageGroupResponse(PageGroupResponse),
}

/// What a device is told to drop.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct DeviceTlb {
    /// The device.
    pub source_id: u16,
    /// For which requests.
    pub scope: DeviceTlbScope,
    /// Which addresses.
    pub pages: Pages,
}

/// For which requests a device drops translations.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum DeviceTlbScope {
    /// Type 3: those without PASID.
    WithoutPasid,
    /// Type 8: those with this PASID.
    Pasid(u32),
    /// Type 8 with G=1: those with any PASID.
    AllPasids,
}

/// What a wait does once everything before it is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Wait {
    /// SW: the address and the 32 bits written there, before the interrupt.
    pub status: Option<(u64, u32)>,
    /// IF: ICS.IWC is set, and with it the event raised unless it was set.
    pub interrupt: bool,
    /// FN: nothing behind it is fetched before.
    pub fence: bool,
    /// PD: page requests are drained.
    pub drain: bool,
}

/// The answer to a group of page requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct PageGroupResponse {
    /// The device.
    pub source_id: u16,
    /// The PASID, with PP=1.
    pub pasid: Option<u32>,
    /// PRGI.
    pub group: u16,
    /// RC as the device is given it: 0, 1 or f. Any other is f.
    pub code: u8,
}

/// Invalid descriptor type.
const TYPE: u8 = 3;
/// Reserved field.
const RESERVED: u8 = 4;
/// Invalid descriptor width.
const WIDTH: u8 = 5;

/// Decodes a descriptor; `Err` is the IQEI code.
///
/// # Errors
/// 3, 4 or 5, as the reference has them.
pub fn decode(caps: Capabilities, wide: bool, qwords: [u64; 4]) -> Result<Descriptor, u8> {
    let [first, second, third, fourth] = qwords;
    let kind = field(first, 11, 9) << 4 | field(first, 3, 0);
    let shown = match kind {
        1 | 2 | 5 => true,
        3 | 8 => caps.dt(),
        4 => caps.ir(),
        6 | 7 => caps.smts(),
        9 => caps.prs(),
        _ => false,
    };
    // Types 6 to 9 in 128 bits are of the wrong width whatever is shown.
    if matches!(kind, 6..=9) && !wide {
        return Err(WIDTH);
    }
    if !shown {
        return Err(TYPE);
    }
    let (mut reserved, reserved_second): (u64, u64) = match kind {
        1 => (0xfffc_0000_0000_f1c0, u64::MAX),
        2 => (0xffff_ffff_0000_f100, 0xf80),
        3 => (mask(51, 48) | mask(31, 21) | mask(8, 4), 0xffe),
        4 => (0xffff_0000_07ff_f1e0, u64::MAX),
        5 => (0xffff_f180, 3),
        6 => (0xfff0_0000_0000_f1c0, 0xf80),
        7 => (0xfff0_0000_0000_f1c0, u64::MAX),
        8 => (0, 0x7fe),
        _ => (0xfff0_0000_0000_01e0, 0xffff_ffff_ffff_f003),
    };
    // PFSID.
    if matches!(kind, 3 | 8) && !caps.dit() {
        reserved |= mask(15, 12) | mask(63, 52);
    }
    if kind == 5 && caps.pds() {
        reserved &= !(1 << 7);
    }
    if first & reserved != 0 || second & reserved_second != 0 || wide && (third != 0 || fourth != 0)
    {
        return Err(RESERVED);
    }
    body(caps, kind, first, second).ok_or(RESERVED)
}

/// What is behind the type; `None` where a field has a reserved value.
fn body(caps: Capabilities, kind: u64, first: u64, second: u64) -> Option<Descriptor> {
    Some(Descriptor::Invalidation(match kind {
        1 => Invalidation::context(
            field(first, 5, 4),
            field(first, 31, 16),
            field(first, 47, 32),
            field(first, 49, 48),
        )?,
        2 => {
            if field(first, 5, 4) == 3 && field(second, 5, 0) > caps.mamv() {
                return None;
            }
            Invalidation::iotlb(field(first, 5, 4), field(first, 31, 16), second)?
        }
        4 if !bit(first, 4) => Invalidation::InterruptGlobal,
        4 => {
            if field(first, 31, 27) > caps.mhmv() {
                return None;
            }
            Invalidation::InterruptIndex {
                index: low16(field(first, 47, 32)),
                mask: low8(field(first, 31, 27)),
            }
        }
        6 => Invalidation::pasid_iotlb(first, second)?,
        7 => Invalidation::pasid_cache(first)?,
        5 => return wait(first, second).map(Descriptor::Wait),
        3 | 8 => return Some(Descriptor::DeviceTlb(device_tlb(kind, first, second))),
        _ => {
            return Some(Descriptor::PageGroupResponse(PageGroupResponse {
                source_id: low16(field(first, 31, 16)),
                pasid: bit(first, 4).then(|| low32(field(first, 51, 32))),
                group: low16(field(second, 11, 3)),
                code: match low8(field(first, 15, 12)) {
                    code @ (0 | 1) => code,
                    _ => 0xf,
                },
            }));
        }
    }))
}

fn wait(first: u64, second: u64) -> Option<Wait> {
    let wait = Wait {
        status: bit(first, 5).then(|| (second & mask(63, 2), low32(field(first, 63, 32)))),
        interrupt: bit(first, 4),
        fence: bit(first, 6),
        drain: bit(first, 7),
    };
    (wait.status.is_some() || wait.interrupt || wait.fence).then_some(wait)
}

fn device_tlb(kind: u64, first: u64, second: u64) -> DeviceTlb {
    let (source_id, scope, sized) = if kind == 3 {
        (low16(field(first, 47, 32)), DeviceTlbScope::WithoutPasid, bit(second, 0))
    } else {
        let pasid = low32(field(first, 51, 32));
        let scope =
            if bit(second, 0) { DeviceTlbScope::AllPasids } else { DeviceTlbScope::Pasid(pasid) };
        (low16(field(first, 31, 16)), scope, bit(second, 11))
    };
    let address = second & mask(63, 12);
    // 8 KiB << (trailing ones of address >> 12); 51 or more mean everything.
    let bits = if sized { 13 + (address >> 12).trailing_ones() } else { 12 };
    let within = if bits >= 64 { u64::MAX } else { (1 << bits) - 1 };
    let pages = Pages { first: address & !within, last: address | within, leaf_only: false };
    DeviceTlb { source_id, scope, pages }
}
