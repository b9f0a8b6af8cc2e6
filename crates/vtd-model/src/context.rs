//! Root and context entries.

use crate::bits::{bit, field, low16, low32, mask};
use crate::capabilities::Capabilities;
use crate::path::EntryKind;
use crate::tables::{Place, Tables, Tag};
use crate::walker::Walker;

/// A legacy context entry that is present and well-formed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct LegacyContext {
    /// TT: 0 second-stage, 1 second-stage with device TLB, 2 pass-through.
    pub(crate) translation_type: u64,
    pub(crate) table: u64,
    pub(crate) width: u64,
    pub(crate) domain: u16,
}

/// A scalable-mode context entry that is present and well-formed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ScalableContext {
    pub(crate) device_tlb: bool,
    pub(crate) pasids: bool,
    pub(crate) page_requests: bool,
    /// 2^(PDTS+7) directory entries.
    pub(crate) directory_entries: u64,
    pub(crate) directory: u64,
    pub(crate) rid_pasid: u32,
    pub(crate) rid_privileged: bool,
}

impl<T: Tables> Walker<'_, T> {
    /// The context entry of a legacy unit: codes 1, 2, 3, 8 to B.
    pub(crate) fn legacy_context(&mut self, source_id: u16) -> Result<LegacyContext, u8> {
        let caps = self.unit.capabilities;
        let tag = Tag { source_id, legacy: true, ..Tag::default() };
        let [bus, devfn] = source_id.to_be_bytes();
        let mut root = [0; 2];
        let address = self.unit.root_base().wrapping_add(u64::from(bus) * 16);
        let place = Place { address, kind: EntryKind::Root, tag };
        if !self.tables.read(place, &mut root) {
            return Err(0x08);
        }
        let [low, high] = root;
        if !bit(low, 0) {
            return Err(0x01);
        }
        if low & (mask(11, 1) | caps.beyond()) != 0 || high != 0 {
            return Err(0x0a);
        }
        let mut entry = [0; 2];
        let address = (low & mask(63, 12)).wrapping_add(u64::from(devfn) * 16);
        let place = Place { address, kind: EntryKind::Context, tag };
        if !self.tables.read(place, &mut entry) {
            return Err(0x09);
        }
        let [low, high] = entry;
        self.fpd |= bit(low, 1);
        if !bit(low, 0) {
            return Err(0x02);
        }
        let translation_type = field(low, 3, 2);
        // The table of a pass-through entry means nothing, as that of another PGTT does in a PASID-table entry.
        let beyond = if translation_type == 2 { 0 } else { caps.beyond() };
        let reserved = mask(11, 4) | beyond;
        if low & reserved != 0 || high & (1 << 7 | mask(63, 24)) != 0 {
            return Err(0x0b);
        }
        let width = field(high, 2, 0);
        let valid = match translation_type {
            0 => caps.has_width(width),
            1 => caps.dt() && caps.has_width(width),
            2 => caps.pt() && width == caps.largest_width() && width != 0,
            _ => false,
        };
        if !valid {
            return Err(0x03);
        }
        Ok(LegacyContext {
            translation_type,
            table: low & mask(63, 12),
            width,
            domain: low16(field(high, 23, 8)),
        })
    }

    /// The context entry of a unit in scalable mode: codes 38 to 3A and 40 to 43.
    pub(crate) fn scalable_context(&mut self, source_id: u16) -> Result<ScalableContext, u8> {
        let caps = self.unit.capabilities;
        let tag = Tag { source_id, ..Tag::default() };
        let [bus, devfn] = source_id.to_be_bytes();
        let half = u64::from(devfn >= 0x80);
        let mut root = [0];
        let address = self.unit.root_base().wrapping_add(u64::from(bus) * 16 + half * 8);
        let place = Place { address, kind: EntryKind::Root, tag };
        if !self.tables.read(place, &mut root) {
            return Err(0x38);
        }
        let [root] = root;
        if !bit(root, 0) {
            return Err(0x39);
        }
        if root & (mask(11, 1) | caps.beyond()) != 0 {
            return Err(0x3a);
        }
        let mut entry = [0; 4];
        let address = (root & mask(63, 12)).wrapping_add(u64::from(devfn & 0x7f) * 32);
        let place = Place { address, kind: EntryKind::Context, tag };
        if !self.tables.read(place, &mut entry) {
            return Err(0x40);
        }
        let [low, high, ..] = entry;
        self.fpd |= bit(low, 1);
        if !bit(low, 0) {
            return Err(0x41);
        }
        decode_scalable(caps, entry, low, high)
    }
}

fn decode_scalable(
    caps: Capabilities,
    entry: [u64; 4],
    low: u64,
    high: u64,
) -> Result<ScalableContext, u8> {
    let mut reserved_low = mask(8, 5) | caps.beyond();
    if !caps.dt() {
        reserved_low |= 1 << 2;
    }
    if !caps.pasid() {
        reserved_low |= 1 << 3;
    }
    if !caps.prs() {
        reserved_low |= 1 << 4;
    }
    let mut reserved_high = mask(63, 21);
    if !caps.rprivs() {
        reserved_high |= 1 << 20;
    }
    let [_, _, third, fourth] = entry;
    if low & reserved_low != 0 || high & reserved_high != 0 || third != 0 || fourth != 0 {
        return Err(0x42);
    }
    let (device_tlb, page_requests) = (bit(low, 2), bit(low, 4));
    // PRE without DTE is named as invalid programming.
    if page_requests && !device_tlb {
        return Err(0x43);
    }
    Ok(ScalableContext {
        device_tlb,
        pasids: bit(low, 3),
        page_requests,
        directory_entries: 1 << (field(low, 11, 9) + 7),
        directory: low & mask(63, 12),
        rid_pasid: if caps.rps() { low32(field(high, 19, 0)) } else { 0 },
        rid_privileged: bit(high, 20),
    })
}
