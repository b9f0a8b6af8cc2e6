//! Untranslated requests.

use crate::answer::{Answer, Translation};
use crate::context::ScalableContext;
use crate::memory::Memory;
use crate::path::Path;
use crate::request::{Access, Request};
use crate::stages::{Asked, Reached};
use crate::tables::{Present, Tables};
use crate::unit::{TableMode, Unit, is_interrupt};
use crate::walker::Walker;

impl Unit {
    /// What comes of an untranslated request, from what is in memory now. The path says how; `memory` is not written.
    pub fn translate<M: Memory + ?Sized>(
        &self,
        memory: &M,
        request: &Request,
        path: &mut Path,
    ) -> Answer {
        path.clear();
        let Path { reads, updates, steps } = path;
        let tables = Present { memory, reads };
        Walker { unit: self, tables, steps, updates, fpd: false }.untranslated(request)
    }
}

impl<T: Tables> Walker<'_, T> {
    /// An untranslated request.
    pub(crate) fn untranslated(&mut self, request: &Request) -> Answer {
        let &Request { pasid, address, access, .. } = request;
        // An interrupt request is no DMA: interrupt remapping alone decides.
        if pasid.is_none() && access.write && is_interrupt(address) {
            return Answer::Interrupt;
        }
        let reached = if self.unit.translation {
            match self.unit.table_mode() {
                TableMode::Abort => return Answer::Blocked,
                TableMode::Invalid => Err(0x30),
                TableMode::Legacy => self.legacy(request),
                TableMode::Scalable => self.scalable(request),
            }
        } else {
            if pasid.is_some() {
                return Answer::Blocked;
            }
            Ok(Reached {
                address,
                bits: 12,
                read: true,
                write: true,
                execute: true,
                pass_through: true,
            })
        };
        match reached {
            Err(code) => {
                self.updates.clear();
                Answer::Fault(self.fault(code))
            }
            Ok(reached) if self.unit.is_protected(reached.address) => Answer::Blocked,
            Ok(Reached { address, bits, read, write, .. }) => {
                Answer::Memory(Translation { address, bits, read, write })
            }
        }
    }

    fn legacy(&mut self, request: &Request) -> Result<Reached, u8> {
        if request.pasid.is_some() {
            return Err(0x31);
        }
        // Not translated, so no table is looked at.
        if is_interrupt(request.address) {
            return Err(0x0e);
        }
        let context = self.legacy_context(request.source_id)?;
        let asked = Asked::of(request.access, self.unit.capabilities);
        self.legacy_stages(&context, request.source_id, request.address, asked.want)
    }

    fn scalable(&mut self, request: &Request) -> Result<Reached, u8> {
        if request.pasid.is_none() && is_interrupt(request.address) {
            return Err(0x87);
        }
        let context = self.scalable_context(request.source_id)?;
        let (pasid, access) = effective(&context, request)?;
        let entry = self.pasid_entry(request.source_id, &context, pasid)?;
        let asked = Asked::of(access, self.unit.capabilities);
        self.scalable_stages(&entry, request.source_id, pasid, request.address, asked)
    }
}

/// The PASID whose entry serves a request, and the request as that entry sees it: without PASID the context entry says both.
pub(crate) fn effective(context: &ScalableContext, request: &Request) -> Result<(u32, Access), u8> {
    match request.pasid {
        Some(_) if !context.pasids => Err(0x45),
        Some(pasid) => Ok((pasid, request.access)),
        None => {
            Ok((context.rid_pasid, Access { privileged: context.rid_privileged, ..request.access }))
        }
    }
}
