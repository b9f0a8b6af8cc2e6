//! First-stage tables, alone and nested in a second stage.

use crate::bits::{bit, field, low8, mask};
use crate::capabilities::Capabilities;
use crate::pasid::PasidEntry;
use crate::path::{EntryKind, Role, Stage, Step};
use crate::request::Access;
use crate::second_stage::{SecondStage, Want};
use crate::tables::{Place, Tables, Tag};
use crate::walker::Walker;

/// Where a first-stage table leads, and the permissions of all its entries together.
#[derive(Clone, Copy, Debug)]
pub(crate) struct FirstLeaf {
    pub(crate) address: u64,
    pub(crate) bits: u8,
    /// RW of every entry.
    writable: bool,
    /// US of every entry.
    user: bool,
    /// XD of any entry.
    execute_disable: bool,
}

impl FirstLeaf {
    /// Whether the page may be touched at all: user/supervisor, 81.
    pub(crate) const fn serves(&self, privileged: bool) -> bool {
        privileged || self.user
    }

    /// Whether it may be written. A supervisor heeds RW only with WPE.
    pub(crate) const fn writes(&self, entry: &PasidEntry, privileged: bool) -> bool {
        self.writable || privileged && !entry.write_protect
    }

    /// Whether it may be executed: SMEP (81), then XD (82).
    pub(crate) const fn executes(
        &self,
        caps: Capabilities,
        entry: &PasidEntry,
        privileged: bool,
    ) -> Result<(), u8> {
        if entry.smep && caps.ers() && caps.srs() && privileged && self.user {
            return Err(0x81);
        }
        if entry.no_execute && self.execute_disable {
            return Err(0x82);
        }
        Ok(())
    }

    /// Permissions count once, at the leaf: 81, 85, then those of execution.
    pub(crate) const fn permits(
        &self,
        caps: Capabilities,
        entry: &PasidEntry,
        access: Access,
    ) -> Result<(), u8> {
        if !self.serves(access.privileged) {
            return Err(0x81);
        }
        if access.write && !self.writes(entry, access.privileged) {
            return Err(0x85);
        }
        if access.execute {
            return self.executes(caps, entry, access.privileged);
        }
        Ok(())
    }
}

impl<T: Tables> Walker<'_, T> {
    /// Walks a first-stage table: 70 to 77, 80, and those of the second stage under it.
    pub(crate) fn first_stage(
        &mut self,
        entry: &PasidEntry,
        under: Option<SecondStage>,
        tag: Tag,
        address: u64,
    ) -> Result<FirstLeaf, u8> {
        let caps = self.unit.capabilities;
        let levels = entry.first_levels;
        let top = 12 + 9 * u32::from(levels) - 1;
        let above = address >> top;
        if above != 0 && above != u64::MAX >> top {
            return Err(0x80);
        }
        let tag = Tag { address, ..tag };
        let (mut writable, mut user, mut execute_disable) = (true, true, false);
        let mut table = entry.first_table;
        let mut level = levels;
        loop {
            let shift = 12 + 9 * (u32::from(level) - 1);
            let mut at = table.wrapping_add(field(address >> shift, 8, 0) * 8);
            let is_root = level == levels;
            if let Some(second) = under {
                at = self
                    .second_stage(second, tag, at, Want::READ, true)
                    .map_err(|fault| fault.nested_table(is_root))?
                    .address;
            }
            let mut qword = [0];
            let place = Place { address: at, kind: EntryKind::FirstStage { level }, tag };
            if !self.tables.read(place, &mut qword) {
                return Err(if is_root { 0x73 } else { 0x70 });
            }
            let [value] = qword;
            if !bit(value, 0) {
                return Err(0x71);
            }
            let leaf = level == 1 || bit(value, 7) && caps.first_stage_leaf(level);
            if value & reserved(caps, level, leaf) != 0 {
                return Err(0x72);
            }
            writable &= bit(value, 1);
            user &= bit(value, 2);
            execute_disable |= bit(value, 63);
            let role = if leaf { Role::Leaf(Stage::First) } else { Role::Table(Stage::First) };
            self.steps.push(Step { address: at, value, role });
            if leaf {
                let offset = mask(shift - 1, 0);
                return Ok(FirstLeaf {
                    address: value & mask(51, 12) & !offset | address & offset,
                    bits: low8(shift.into()),
                    writable,
                    user,
                    execute_disable,
                });
            }
            table = value & mask(51, 12);
            level -= 1;
        }
    }
}

/// The reserved bits of an entry.
fn reserved(caps: Capabilities, level: u8, leaf: bool) -> u64 {
    let mut reserved = caps.beyond() & mask(51, 12);
    if level > 1 && !leaf {
        reserved |= 1 << 7;
    }
    if leaf && level == 2 {
        reserved |= mask(20, 13);
    }
    if leaf && level == 3 {
        reserved |= mask(29, 13);
    }
    reserved
}
