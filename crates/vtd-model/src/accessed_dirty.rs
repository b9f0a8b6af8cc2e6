//! The accessed and dirty bits that a walk sets once it has succeeded.

use crate::path::{Role, Stage, Step, Update};
use crate::tables::Tables;
use crate::walker::Walker;

const FIRST_ACCESSED: u64 = 1 << 5;
const FIRST_DIRTY: u64 = 1 << 6;
const FIRST_EXTENDED: u64 = 1 << 10;
const SECOND_ACCESSED: u64 = 1 << 8;
const SECOND_DIRTY: u64 = 1 << 9;

/// Which bits a request asks for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bits {
    /// The request writes.
    pub(crate) dirty: bool,
    /// EAFE.
    pub(crate) extended: bool,
    /// SSADE.
    pub(crate) second: bool,
}

impl<T: Tables> Walker<'_, T> {
    /// Notes the bits to set, in walk order, root first. Where page walks are not coherent nothing is set: the first entry
    /// that lacks one decides (90, 7C). 77, 91, 7D where a bit cannot be set.
    pub(crate) fn accessed_dirty(&mut self, bits: Bits) -> Result<(), u8> {
        let coherent = self.unit.capabilities.smpwcs();
        let mut at = 0;
        while let Some(step) = self.steps.get(at).copied() {
            at += 1;
            let needed = match step.role {
                Role::Table(Stage::First) => first(bits, false),
                Role::Leaf(Stage::First) => first(bits, bits.dirty),
                Role::Table(Stage::Second) => second(bits, false),
                Role::Leaf(Stage::Second) => second(bits, bits.dirty),
                Role::UnderTable { writes } => {
                    // The table above is written where its entry, which is the next step, lacks a bit.
                    let written = coherent && self.next_lacks(at, bits);
                    if written && !writes {
                        return Err(0x77);
                    }
                    second(bits, written)
                }
            };
            let old = self.value(step);
            if needed & !old == 0 {
                continue;
            }
            let is_first =
                matches!(step.role, Role::Table(Stage::First) | Role::Leaf(Stage::First));
            if !coherent {
                return Err(if is_first { 0x90 } else { 0x7c });
            }
            if !self.tables.writable(step.address) {
                return Err(if is_first { 0x91 } else { 0x7d });
            }
            self.updates.push(Update { address: step.address, old, new: old | needed });
        }
        Ok(())
    }

    /// Whether the first-stage entry at a step lacks a bit.
    fn next_lacks(&self, at: usize, bits: Bits) -> bool {
        self.steps.get(at).is_some_and(|step| {
            let dirty = bits.dirty && step.role == Role::Leaf(Stage::First);
            first(bits, dirty) & !self.value(*step) != 0
        })
    }

    /// What an entry holds by now: tables may lead to themselves.
    fn value(&self, step: Step) -> u64 {
        let update = self.updates.iter().rev().find(|update| update.address == step.address);
        update.map_or(step.value, |update| update.new)
    }
}

const fn first(bits: Bits, dirty: bool) -> u64 {
    let mut needed = FIRST_ACCESSED;
    if bits.extended {
        needed |= FIRST_EXTENDED;
    }
    if dirty {
        needed |= FIRST_DIRTY;
    }
    needed
}

const fn second(bits: Bits, dirty: bool) -> u64 {
    match (bits.second, dirty) {
        (false, _) => 0,
        (true, false) => SECOND_ACCESSED,
        (true, true) => SECOND_ACCESSED | SECOND_DIRTY,
    }
}
