//! Requests of devices with a device TLB: translation requests and translated requests.

use crate::answer::{Fault, Grant, TranslatedAnswer, TranslationAnswer, is_recoverable};
use crate::bits::mask;
use crate::memory::Memory;
use crate::path::Path;
use crate::request::{Access, Request};
use crate::second_stage::Want;
use crate::stages::{Asked, Reached};
use crate::tables::{Present, Tables};
use crate::translate::effective;
use crate::unit::{TableMode, Unit, is_interrupt};
use crate::walker::Walker;

/// A translation request that leads to a page, or to the interrupt range.
enum Found {
    Page(Reached, Access),
    InterruptWrites,
    Nothing,
}

impl Unit {
    /// What comes of a translation request, from what is in memory now. One with the no-write flag does not `write`.
    pub fn translation_request<M: Memory + ?Sized>(
        &self,
        memory: &M,
        request: &Request,
        path: &mut Path,
    ) -> TranslationAnswer {
        path.clear();
        let Path { reads, updates, steps } = path;
        let tables = Present { memory, reads };
        Walker { unit: self, tables, steps, updates, fpd: false }.translation(request)
    }

    /// What comes of a request with an address that the device had translated.
    pub fn translated_request<M: Memory + ?Sized>(
        &self,
        memory: &M,
        request: &Request,
        path: &mut Path,
    ) -> TranslatedAnswer {
        path.clear();
        let Path { reads, updates, steps } = path;
        let tables = Present { memory, reads };
        Walker { unit: self, tables, steps, updates, fpd: false }.translated(request)
    }
}

impl<T: Tables> Walker<'_, T> {
    /// A translation request.
    pub(crate) fn translation(&mut self, request: &Request) -> TranslationAnswer {
        if !self.unit.translation {
            return TranslationAnswer::Blocked;
        }
        let found = match self.unit.table_mode() {
            TableMode::Abort => return TranslationAnswer::Blocked,
            TableMode::Invalid => Err(0x30),
            TableMode::Legacy => self.legacy_translation(request),
            TableMode::Scalable => self.scalable_translation(request),
        };
        match found {
            Ok(Found::Page(reached, access)) => self.granted(request, &reached, access),
            Ok(Found::InterruptWrites) => TranslationAnswer::Granted(Grant {
                address: request.address,
                bits: 12,
                read: false,
                write: true,
                execute: false,
                privileged: false,
                untranslated: true,
            }),
            Ok(Found::Nothing) => TranslationAnswer::Nothing(None),
            Err(code) => {
                self.updates.clear();
                let fault = self.fault(code);
                if is_recoverable(code) {
                    TranslationAnswer::Nothing(Some(Fault {
                        code,
                        recorded: code == 0x91 && fault.recorded,
                    }))
                } else {
                    TranslationAnswer::Fault(fault)
                }
            }
        }
    }

    /// A translated request.
    pub(crate) fn translated(&mut self, request: &Request) -> TranslatedAnswer {
        if !self.unit.translation || request.pasid.is_some() {
            return TranslatedAnswer::Blocked;
        }
        let (admitted, width, interrupt) = match self.unit.table_mode() {
            TableMode::Abort => return TranslatedAnswer::Blocked,
            TableMode::Invalid => (Err(0x30), 0x83, 0x87),
            TableMode::Legacy => (self.legacy_admits(request.source_id), 0x04, 0x0e),
            TableMode::Scalable => (self.scalable_admits(request.source_id), 0x83, 0x87),
        };
        let address = request.address;
        let checked = admitted.and_then(|()| {
            if address & self.unit.capabilities.beyond() != 0 {
                Err(width)
            } else if is_interrupt(address) {
                Err(interrupt)
            } else {
                Ok(())
            }
        });
        match checked {
            Err(code) => TranslatedAnswer::Fault(self.fault(code)),
            Ok(()) if self.unit.is_protected(address) => TranslatedAnswer::Blocked,
            Ok(()) => TranslatedAnswer::Memory,
        }
    }

    fn legacy_admits(&mut self, source_id: u16) -> Result<(), u8> {
        let context = self.legacy_context(source_id)?;
        if context.translation_type == 1 { Ok(()) } else { Err(0x0d) }
    }

    fn scalable_admits(&mut self, source_id: u16) -> Result<(), u8> {
        let context = self.scalable_context(source_id)?;
        if context.device_tlb { Ok(()) } else { Err(0x44) }
    }

    fn legacy_translation(&mut self, request: &Request) -> Result<Found, u8> {
        if request.pasid.is_some() {
            return Err(0x31);
        }
        let context = self.legacy_context(request.source_id)?;
        if context.translation_type != 1 {
            return Err(0x0d);
        }
        let access = self.asked(request.access);
        if is_interrupt(request.address) {
            return Ok(interrupt_range(access));
        }
        self.for_less(access, |walker, _, want| {
            walker.legacy_stages(&context, request.source_id, request.address, want)
        })
    }

    fn scalable_translation(&mut self, request: &Request) -> Result<Found, u8> {
        let context = self.scalable_context(request.source_id)?;
        if !context.device_tlb {
            return Err(0x44);
        }
        let (pasid, access) = effective(&context, request)?;
        let access = self.asked(access);
        if request.pasid.is_none() && is_interrupt(request.address) {
            return Ok(interrupt_range(access));
        }
        let entry = self.pasid_entry(request.source_id, &context, pasid)?;
        self.for_less(access, |walker, access, want| {
            let asked = Asked { access, want, execute_optional: true };
            walker.scalable_stages(&entry, request.source_id, pasid, request.address, asked)
        })
    }

    /// Without ECAP.NWFS the no-write flag means nothing.
    fn asked(&self, access: Access) -> Access {
        Access {
            write: access.write || !self.unit.capabilities.nwfs(),
            zero_length: false,
            ..access
        }
    }

    /// Repeats a walk without the permission that was lacking.
    fn for_less(
        &mut self,
        asked: Access,
        mut walk: impl FnMut(&mut Self, Access, Want) -> Result<Reached, u8>,
    ) -> Result<Found, u8> {
        let mut want = Want { read: true, write: asked.write, either: false };
        loop {
            self.steps.clear();
            self.updates.clear();
            let access = Access { write: want.write, ..asked };
            match walk(self, access, want) {
                Err(0x05 | 0x85) if want.write && want.read => want.write = false,
                Err(0x06 | 0x86) if want.write && want.read => want.read = false,
                Err(code) => return Err(code),
                Ok(reached) => {
                    let reached = Reached {
                        read: want.read && reached.read,
                        write: want.write && reached.write,
                        ..reached
                    };
                    return Ok(Found::Page(reached, asked));
                }
            }
        }
    }

    fn granted(&self, request: &Request, reached: &Reached, access: Access) -> TranslationAnswer {
        let bits = if reached.pass_through {
            self.pass_through_bits(reached.address)
        } else if overlaps_interrupts(reached.address, reached.bits) {
            12
        } else {
            reached.bits
        };
        TranslationAnswer::Granted(Grant {
            address: reached.address,
            bits,
            read: reached.read,
            write: reached.write,
            // An execution is a read.
            execute: access.execute && reached.execute && reached.read,
            privileged: request.pasid.is_some() && access.privileged,
            untranslated: false,
        })
    }

    /// The largest page around an address with nothing of the interrupt range in it and nothing beyond the host address width.
    fn pass_through_bits(&self, address: u64) -> u8 {
        let caps = self.unit.capabilities;
        let has = |level| caps.second_stage_leaf(level) || caps.first_stage_leaf(level);
        [(3, 30), (2, 21)]
            .into_iter()
            .find(|&(level, bits)| {
                has(level) && bits <= caps.haw && !overlaps_interrupts(address, bits)
            })
            .map_or(12, |(_, bits)| bits)
    }
}

const fn interrupt_range(access: Access) -> Found {
    if access.write { Found::InterruptWrites } else { Found::Nothing }
}

/// Whether a page of 2^`bits` bytes around an address has something of the interrupt range in it.
fn overlaps_interrupts(address: u64, bits: u8) -> bool {
    let within = mask(u32::from(bits) - 1, 0);
    let (first, last) = (address & !within, address | within);
    first <= 0xfeef_ffff && last >= 0xfee0_0000
}
