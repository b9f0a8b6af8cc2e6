//! Interrupt remapping.

use crate::answer::is_qualified;
use crate::bits::{bit, field, low8, low16, low32, mask};
use crate::memory::Memory;
use crate::path::{EntryKind, Path};
use crate::tables::{Place, Present, Tables, Tag};
use crate::unit::Unit;
use crate::walker::Walker;

/// An interrupt request: a device wrote to FEE0_0000 to FEEF_FFFF.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct InterruptRequest {
    /// The device.
    pub source_id: u16,
    /// The address it wrote to.
    pub address: u32,
    /// The 32 bits that it wrote.
    pub data: u32,
}

/// What comes of an interrupt request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum InterruptAnswer {
    /// It passes as it is: remapping is off, or the compatibility format is let through.
    Unchanged,
    /// It is remapped.
    Remapped(Interrupt),
    /// It is blocked.
    Fault {
        /// The architecture's code.
        code: u8,
        /// FI 63:48.
        index: u16,
        /// Whether it is reported: false where FPD suppresses it.
        recorded: bool,
    },
}

/// An interrupt as a remapping entry says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Interrupt {
    /// DST: 32 bits with EIME, 8 without.
    pub destination: u32,
    /// V.
    pub vector: u8,
    /// DLM.
    pub delivery_mode: u8,
    /// DM: a logical destination.
    pub logical: bool,
    /// RH.
    pub redirection_hint: bool,
    /// TM: level.
    pub level: bool,
}

impl Interrupt {
    /// The message: address and data. Destinations above 8 bits have bits 31:8 in address 63:40.
    #[must_use]
    pub fn message(&self) -> (u64, u32) {
        let destination = u64::from(self.destination);
        let address = 0xfee0_0000
            | (destination & 0xff) << 12
            | (destination & !0xff) << 32
            | u64::from(self.redirection_hint) << 3
            | u64::from(self.logical) << 2;
        // A level-triggered message is an assertion.
        let data = u32::from(self.vector)
            | u32::from(self.delivery_mode) << 8
            | u32::from(self.level) << 14
            | u32::from(self.level) << 15;
        (address, data)
    }
}

impl Unit {
    /// What comes of an interrupt request, from what is in memory now.
    pub fn interrupt<M: Memory + ?Sized>(
        &self,
        memory: &M,
        request: &InterruptRequest,
        path: &mut Path,
    ) -> InterruptAnswer {
        path.clear();
        let Path { reads, updates, steps } = path;
        let tables = Present { memory, reads };
        Walker { unit: self, tables, steps, updates, fpd: false }.interrupt(request)
    }
}

impl<T: Tables> Walker<'_, T> {
    /// An interrupt request.
    pub(crate) fn interrupt(&mut self, request: &InterruptRequest) -> InterruptAnswer {
        let state = self.unit.interrupts;
        if !state.enabled {
            return InterruptAnswer::Unchanged;
        }
        let (address, data) = (u64::from(request.address), u64::from(request.data));
        let extended = self.unit.capabilities.eim() && bit(state.table.unwrap_or(0), 11);
        if !bit(address, 4) {
            if state.compatibility && !extended {
                return InterruptAnswer::Unchanged;
            }
            return InterruptAnswer::Fault { code: 0x25, index: 0, recorded: true };
        }
        let handle = field(address, 19, 5) | field(address, 2, 2) << 15;
        let sub_handle = if bit(address, 3) { field(data, 15, 0) } else { 0 };
        let index = handle + sub_handle;
        match self.remap(request.source_id, data, index, extended) {
            Ok(interrupt) => InterruptAnswer::Remapped(interrupt),
            Err(code) => InterruptAnswer::Fault {
                code,
                index: low16(index),
                recorded: !(self.fpd && is_qualified(code)),
            },
        }
    }

    fn remap(
        &mut self,
        source_id: u16,
        data: u64,
        index: u64,
        extended: bool,
    ) -> Result<Interrupt, u8> {
        let caps = self.unit.capabilities;
        if data & mask(31, 16) != 0 {
            return Err(0x20);
        }
        let table = self.unit.interrupts.table.ok_or(0x23)?;
        if index >= 2 << field(table, 3, 0) {
            return Err(0x21);
        }
        if table & caps.beyond() != 0 {
            return Err(0x23);
        }
        let address = (table & mask(63, 12)).wrapping_add(index * 16);
        let mut entry = [0; 2];
        let tag = Tag { source_id, address: index, ..Tag::default() };
        if !self.tables.read(Place { address, kind: EntryKind::Interrupt, tag }, &mut entry) {
            return Err(0x23);
        }
        let [low, high] = entry;
        self.fpd |= bit(low, 1);
        if !bit(low, 0) {
            return Err(0x22);
        }
        // Bit 15 is the posted form, which nothing shows.
        let mut reserved = mask(15, 12) | mask(31, 24);
        if !extended {
            reserved |= mask(63, 48) | mask(39, 32);
        }
        if low & reserved != 0 || high & mask(63, 20) != 0 {
            return Err(0x24);
        }
        if !is_from(high, source_id) {
            return Err(0x26);
        }
        Ok(Interrupt {
            destination: low32(if extended { field(low, 63, 32) } else { field(low, 47, 40) }),
            vector: low8(field(low, 23, 16)),
            delivery_mode: low8(field(low, 7, 5)),
            logical: bit(low, 2),
            redirection_hint: bit(low, 3),
            level: bit(low, 4),
        })
    }
}

/// SVT, SQ and SID.
fn is_from(high: u64, source_id: u16) -> bool {
    let source_id = u64::from(source_id);
    let sid = field(high, 15, 0);
    match field(high, 19, 18) {
        0 => true,
        1 => {
            let ignored = match field(high, 17, 16) {
                0 => 0,
                1 => 4,
                2 => 6,
                _ => 7,
            };
            (sid ^ source_id) & !ignored == 0
        }
        2 => (field(sid, 15, 8)..=field(sid, 7, 0)).contains(&field(source_id, 15, 8)),
        _ => false,
    }
}
