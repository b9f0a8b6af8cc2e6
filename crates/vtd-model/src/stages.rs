//! What lies below a context or PASID-table entry: pass-through, one stage or two.

use crate::accessed_dirty::Bits;
use crate::capabilities::Capabilities;
use crate::context::LegacyContext;
use crate::pasid::{PasidEntry, PasidKind};
use crate::request::Access;
use crate::second_stage::{Mapped, SecondStage, Want};
use crate::tables::{Tables, Tag};
use crate::unit::is_interrupt;
use crate::walker::Walker;

/// Where a request leads.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Reached {
    pub(crate) address: u64,
    pub(crate) bits: u8,
    pub(crate) read: bool,
    pub(crate) write: bool,
    /// Execution is granted; means something only where it was asked for.
    pub(crate) execute: bool,
    /// There is no table: any page around the address is as good.
    pub(crate) pass_through: bool,
}

/// What is asked of the stages.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Asked {
    pub(crate) access: Access,
    pub(crate) want: Want,
    /// Execution that is refused is left out instead of faulting.
    pub(crate) execute_optional: bool,
}

impl Asked {
    /// What an untranslated request asks for.
    pub(crate) const fn of(access: Access, caps: Capabilities) -> Self {
        let want = Want::of(access.write, access.zero_length, caps);
        Self { access, want, execute_optional: false }
    }
}

impl<T: Tables> Walker<'_, T> {
    /// Legacy mode, behind the context entry.
    pub(crate) fn legacy_stages(
        &mut self,
        context: &LegacyContext,
        source_id: u16,
        address: u64,
        want: Want,
    ) -> Result<Reached, u8> {
        let caps = self.unit.capabilities;
        // MGAW is the largest width of an address that is translated, whatever AW says.
        if address >> (30 + 9 * context.width).min(caps.mgaw()) != 0 {
            return Err(0x04);
        }
        if context.translation_type == 2 {
            if address & caps.beyond() != 0 {
                return Err(0x04);
            }
            return passed(address, 0x0e);
        }
        let tag = Tag { source_id, legacy: true, domain: context.domain, ..Tag::default() };
        let stage =
            SecondStage { table: context.table, width: context.width, accessed_dirty: false };
        let mapped = self
            .second_stage(stage, tag, address, want, false)
            .map_err(|fault| fault.legacy(want))?;
        if is_interrupt(mapped.address) {
            return Err(0x0e);
        }
        Ok(reached(mapped))
    }

    /// Scalable mode, behind the PASID-table entry, accessed and dirty bits included.
    pub(crate) fn scalable_stages(
        &mut self,
        entry: &PasidEntry,
        source_id: u16,
        pasid: u32,
        address: u64,
        asked: Asked,
    ) -> Result<Reached, u8> {
        let caps = self.unit.capabilities;
        let access = asked.access;
        if access.execute && !(caps.ers() && entry.execute) {
            return Err(0x5c);
        }
        if access.privileged && !entry.supervisor {
            return Err(0x5d);
        }
        let tag =
            Tag { source_id, pasid: Some(pasid), domain: entry.domain, legacy: false, address };
        let second = SecondStage {
            table: entry.second_table,
            width: entry.second_width,
            accessed_dirty: entry.second_accessed_dirty,
        };
        let found = match entry.kind {
            PasidKind::PassThrough => {
                if address & caps.beyond() != 0 {
                    return Err(0x83);
                }
                passed(address, 0x87)?
            }
            PasidKind::Second => {
                let mapped = self
                    .second_stage(second, tag, address, asked.want, false)
                    .map_err(super::second_stage::SecondFault::scalable)?;
                reached(mapped)
            }
            PasidKind::First => self.first_stages(entry, None, tag, address, asked)?,
            PasidKind::Nested => self.first_stages(entry, Some(second), tag, address, asked)?,
        };
        if is_interrupt(found.address) {
            return Err(0x87);
        }
        self.accessed_dirty(Bits {
            dirty: access.write,
            extended: entry.extended_accessed,
            second: second.accessed_dirty,
        })?;
        Ok(found)
    }

    /// A first stage, and the second under it.
    fn first_stages(
        &mut self,
        entry: &PasidEntry,
        under: Option<SecondStage>,
        tag: Tag,
        address: u64,
        asked: Asked,
    ) -> Result<Reached, u8> {
        let caps = self.unit.capabilities;
        let privileged = asked.access.privileged;
        let leaf = self.first_stage(entry, under, tag, address)?;
        let execute = leaf.executes(caps, entry, privileged).is_ok();
        let access =
            Access { execute: asked.access.execute && !asked.execute_optional, ..asked.access };
        leaf.permits(caps, entry, access)?;
        let write = leaf.writes(entry, privileged);
        let first = Reached {
            address: leaf.address,
            bits: leaf.bits,
            read: true,
            write,
            execute,
            pass_through: false,
        };
        let Some(second) = under else { return Ok(first) };
        let mapped = self
            .second_stage(second, tag, leaf.address, asked.want, false)
            .map_err(super::second_stage::SecondFault::nested_page)?;
        Ok(Reached {
            address: mapped.address,
            bits: first.bits.min(mapped.bits),
            read: mapped.read,
            write: write && mapped.write,
            ..first
        })
    }
}

const fn reached(mapped: Mapped) -> Reached {
    Reached {
        address: mapped.address,
        bits: mapped.bits,
        read: mapped.read,
        write: mapped.write,
        execute: true,
        pass_through: false,
    }
}

/// The address itself; an interrupt address is blocked.
const fn passed(address: u64, interrupt: u8) -> Result<Reached, u8> {
    if is_interrupt(address) {
        return Err(interrupt);
    }
    Ok(Reached { address, bits: 12, read: true, write: true, execute: true, pass_through: true })
}
