//! What the tables say should be bound for an assigned device.

use std::ops::Range;

use crate::bits::low16;
use crate::context::ScalableContext;
use crate::memory::Memory;
use crate::pasid::{PasidEntry, PasidKind, decode};
use crate::path::EntryKind;
use crate::tables::{Place, Tables, Tag, Unrecorded};
use crate::unit::{TableMode, Unit};
use crate::walker::Walker;

/// One attachment of a device.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Slot {
    /// Requests without PASID.
    Rid,
    /// Requests with this PASID.
    Pasid(u32),
}

/// A slot for which there is a present entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Desired {
    /// The slot.
    pub slot: Slot,
    /// The domain field of the entry, even of a malformed one; `None` where translation is off.
    pub domain: Option<u16>,
    /// What to bind: nothing where the entry is malformed.
    pub mode: Option<Mode>,
}

/// What an entry asks the host for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Mode {
    /// Guest memory, untranslated.
    PassThrough,
    /// The guest's first-stage table.
    FirstStage {
        /// Its address.
        table: u64,
        /// 4 or 5.
        levels: u8,
        /// SRE.
        supervisor: bool,
        /// WPE.
        write_protect: bool,
        /// EAFE.
        extended_accessed: bool,
    },
    /// The guest's second-stage table, of scalable or legacy mode.
    SecondStage {
        /// Its address.
        table: u64,
        /// 3, 4 or 5.
        levels: u8,
    },
    /// A nested pair, which no host takes from a guest.
    Nested,
}

impl Unit {
    /// The slots of a device with a present entry, in slot order: [`Slot::Rid`] where RID_PASID lies in the range, in legacy
    /// mode and while translation is off always, then the PASIDs of the range.
    pub fn desired<M: Memory + ?Sized>(
        &self,
        memory: &M,
        source_id: u16,
        pasids: Range<u32>,
    ) -> Vec<Desired> {
        let rid = |domain, mode| vec![Desired { slot: Slot::Rid, domain, mode }];
        if !self.translation {
            return rid(None, Some(Mode::PassThrough));
        }
        let (mut steps, mut updates) = (Vec::new(), Vec::new());
        let tables = Unrecorded(memory);
        let mut walker =
            Walker { unit: self, tables, steps: &mut steps, updates: &mut updates, fpd: false };
        match self.table_mode() {
            TableMode::Abort | TableMode::Invalid => Vec::new(),
            TableMode::Legacy => walker.legacy_context(source_id).map_or_else(
                |_| Vec::new(),
                |context| {
                    let mode = match context.translation_type {
                        2 => Mode::PassThrough,
                        _ => second(context.table, context.width),
                    };
                    rid(Some(context.domain), Some(mode))
                },
            ),
            TableMode::Scalable => walker
                .scalable_context(source_id)
                .map_or_else(|_| Vec::new(), |context| walker.slots(source_id, &context, pasids)),
        }
    }
}

impl<T: Tables> Walker<'_, T> {
    fn slots(
        &mut self,
        source_id: u16,
        context: &ScalableContext,
        pasids: Range<u32>,
    ) -> Vec<Desired> {
        let mut slots = Vec::new();
        let rid = context.rid_pasid;
        if pasids.contains(&rid) {
            slots.extend(self.slot(source_id, context, rid, Slot::Rid));
        }
        if !context.pasids {
            return slots;
        }
        let entries = u32::try_from(context.directory_entries << 6).unwrap_or(u32::MAX);
        let mut pasid = pasids.start;
        while pasid < pasids.end.min(entries) {
            if pasid != rid {
                slots.extend(self.slot(source_id, context, pasid, Slot::Pasid(pasid)));
            }
            // Without a directory entry there are 64 less.
            let skipped = self.table(source_id, context, pasid).is_none();
            pasid = if skipped { (pasid | 0x3f) + 1 } else { pasid + 1 };
        }
        slots
    }

    fn slot(
        &mut self,
        source_id: u16,
        context: &ScalableContext,
        pasid: u32,
        slot: Slot,
    ) -> Option<Desired> {
        if u64::from(pasid) >> 6 >= context.directory_entries {
            return None;
        }
        let address = self.table(source_id, context, pasid)?;
        let tag = Tag { source_id, pasid: Some(pasid), ..Tag::default() };
        let mut entry = [0; 8];
        if !self.tables.read(Place { address, kind: EntryKind::PasidEntry, tag }, &mut entry) {
            return None;
        }
        let [_, first, ..] = entry;
        let mode = match decode(self.unit.capabilities, entry) {
            Ok(entry) => Some(mode(&entry)),
            Err(0x59) => return None,
            // Malformed, but present: its domain counts.
            Err(_) => None,
        };
        Some(Desired { slot, domain: Some(low16(first)), mode })
    }

    /// Where the PASID-table entry lies, if the directory says so.
    fn table(&mut self, source_id: u16, context: &ScalableContext, pasid: u32) -> Option<u64> {
        let tag = Tag { source_id, pasid: Some(pasid), ..Tag::default() };
        let address = context.directory.wrapping_add((u64::from(pasid) >> 6) * 8);
        let mut directory = [0];
        let place = Place { address, kind: EntryKind::Directory, tag };
        let [entry] = self.tables.read(place, &mut directory).then_some(directory)?;
        let reserved = 0xffc | self.unit.capabilities.beyond();
        (entry & 1 == 1 && entry & reserved == 0)
            .then(|| (entry & !0xfff).wrapping_add(u64::from(pasid & 0x3f) * 64))
    }
}

const fn second(table: u64, width: u64) -> Mode {
    let levels = match width {
        1 => 3,
        2 => 4,
        _ => 5,
    };
    Mode::SecondStage { table, levels }
}

fn mode(entry: &PasidEntry) -> Mode {
    match entry.kind {
        PasidKind::PassThrough => Mode::PassThrough,
        PasidKind::Nested => Mode::Nested,
        PasidKind::Second => second(entry.second_table, entry.second_width),
        PasidKind::First => Mode::FirstStage {
            table: entry.first_table,
            levels: entry.first_levels,
            supervisor: entry.supervisor,
            write_protect: entry.write_protect,
            extended_accessed: entry.extended_accessed,
        },
    }
}
