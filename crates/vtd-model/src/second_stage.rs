//! Second-stage tables, of legacy and of scalable mode.

use crate::bits::{bit, field, mask};
use crate::capabilities::Capabilities;
use crate::path::{EntryKind, Role, Stage, Step};
use crate::tables::{Place, Tables, Tag};
use crate::walker::Walker;

/// A second-stage table.
#[derive(Clone, Copy, Debug)]
pub(crate) struct SecondStage {
    pub(crate) table: u64,
    /// AW: 1 is 39 bits and 3 levels, 2 is 48 and 4, 3 is 57 and 5.
    pub(crate) width: u64,
    /// SSADE.
    pub(crate) accessed_dirty: bool,
}

/// What is asked of a table.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Want {
    pub(crate) read: bool,
    pub(crate) write: bool,
    /// A read of no bytes where CAP.ZLR is shown: either permission serves it.
    pub(crate) either: bool,
}

impl Want {
    pub(crate) const READ: Self = Self { read: true, write: false, either: false };

    /// What a request asks for.
    pub(crate) const fn of(write: bool, zero_length: bool, caps: Capabilities) -> Self {
        let either = zero_length && !write && caps.zlr();
        Self { read: !write && !either, write, either }
    }
}

/// Where a stage leads.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Mapped {
    pub(crate) address: u64,
    pub(crate) bits: u8,
    pub(crate) read: bool,
    pub(crate) write: bool,
}

/// Why it leads nowhere; the code depends on the mode and on what the walk was for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SecondFault {
    Width,
    RootAccess,
    Access,
    GrantsNothing,
    Write,
    Read,
    Reserved,
}

impl SecondFault {
    /// Legacy mode.
    pub(crate) const fn legacy(self, want: Want) -> u8 {
        match self {
            Self::Width => 0x04,
            Self::RootAccess => 0x03,
            Self::Access => 0x07,
            Self::GrantsNothing if want.write => 0x05,
            Self::GrantsNothing | Self::Read => 0x06,
            Self::Write => 0x05,
            Self::Reserved => 0x0c,
        }
    }

    /// Scalable mode, the address of the request.
    pub(crate) const fn scalable(self) -> u8 {
        match self {
            Self::Width => 0x84,
            Self::RootAccess => 0x7b,
            Self::Access => 0x78,
            Self::GrantsNothing => 0x79,
            Self::Write => 0x85,
            Self::Read => 0x86,
            Self::Reserved => 0x7a,
        }
    }

    /// Nested: the page that a first-stage leaf names.
    pub(crate) const fn nested_page(self) -> u8 {
        match self {
            Self::Width => 0x74,
            other => other.scalable(),
        }
    }

    /// Nested: a first-stage table.
    pub(crate) const fn nested_table(self, is_root: bool) -> u8 {
        match self {
            Self::Width => 0x74,
            Self::Read | Self::Write if is_root => 0x75,
            Self::Read | Self::Write => 0x76,
            other => other.scalable(),
        }
    }
}

impl<T: Tables> Walker<'_, T> {
    /// Walks a second-stage table. At every level: grants nothing, then permission, then reserved bits.
    pub(crate) fn second_stage(
        &mut self,
        stage: SecondStage,
        tag: Tag,
        address: u64,
        want: Want,
        under_table: bool,
    ) -> Result<Mapped, SecondFault> {
        let caps = self.unit.capabilities;
        let (levels, width): (u8, u32) = match stage.width {
            1 => (3, 39),
            2 => (4, 48),
            _ => (5, 57),
        };
        if address >> width != 0 {
            return Err(SecondFault::Width);
        }
        let tag = Tag { address, ..tag };
        let (mut read, mut write) = (true, true);
        let mut table = stage.table;
        let mut level = levels;
        loop {
            let shift = 12 + 9 * (u32::from(level) - 1);
            let at = table.wrapping_add(field(address >> shift, 8, 0) * 8);
            let mut entry = [0];
            let place = Place { address: at, kind: EntryKind::SecondStage { level }, tag };
            if !self.tables.read(place, &mut entry) {
                return Err(if level == levels {
                    SecondFault::RootAccess
                } else {
                    SecondFault::Access
                });
            }
            let [entry] = entry;
            if entry & 3 == 0 {
                return Err(SecondFault::GrantsNothing);
            }
            read &= bit(entry, 0);
            write &= bit(entry, 1);
            if want.write && !write {
                return Err(SecondFault::Write);
            }
            if want.read && !read || want.either && !read && !write {
                return Err(SecondFault::Read);
            }
            let leaf = level == 1 || bit(entry, 7) && caps.second_stage_leaf(level);
            if entry & reserved(caps, level, leaf) != 0 {
                return Err(SecondFault::Reserved);
            }
            let role = match (leaf, under_table) {
                (false, _) => Role::Table(Stage::Second),
                (true, false) => Role::Leaf(Stage::Second),
                (true, true) => Role::UnderTable { writes: write },
            };
            self.steps.push(Step { address: at, value: entry, role });
            if leaf {
                let offset = mask(shift - 1, 0);
                return Ok(Mapped {
                    address: entry & mask(51, 12) & !offset | address & offset,
                    bits: crate::bits::low8(shift.into()),
                    read,
                    write,
                });
            }
            table = entry & mask(51, 12);
            level -= 1;
        }
    }
}

/// The reserved bits of an entry.
fn reserved(caps: Capabilities, level: u8, leaf: bool) -> u64 {
    let mut reserved = caps.beyond() & mask(51, 12);
    if !leaf || !caps.sc() {
        reserved |= 1 << 11;
    }
    if level > 1 && !leaf {
        reserved |= 1 << 7;
    }
    if leaf && level == 2 {
        reserved |= mask(20, 12);
    }
    if leaf && level == 3 {
        reserved |= mask(29, 12);
    }
    reserved
}
