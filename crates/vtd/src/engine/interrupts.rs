//! Interrupt remapping: its commands, its cache, and who has to hear of a change.

use vtd_spec::Capabilities;
use vtd_spec::descriptor::InterruptEntryCacheInvalidation;
use vtd_spec::planted::is_planted;
use vtd_spec::register::InterruptTableAddress;

use super::Engine;
use super::task::{Purpose, Task, Work};
use crate::InvalidatedInterruptEntries;
use crate::shared::Shared;

impl Engine {
    /// Takes up SIRTP and changes of IRE and CFI, each when the listener has been told of the one before.
    pub(super) fn take_interrupt_commands(&mut self, shared: &Shared) {
        while !self.is_telling() {
            let mut registers = shared.registers();
            let (purpose, table) = if let Some(table) = registers.commands.interrupt_table.take() {
                registers.latched_interrupt_table = Some(table);
                (Purpose::InterruptTable, Some(InterruptTableAddress::from_bits(table)))
            } else if let Some(on) = registers.commands.interrupt_remapping.take() {
                (Purpose::InterruptRemapping(on), None)
            } else if let Some(on) = registers.commands.compatibility.take() {
                (Purpose::Compatibility(on), None)
            } else {
                return;
            };
            drop(registers);
            let mut interrupts = shared.interrupts();
            match purpose {
                Purpose::InterruptRemapping(on) => interrupts.enabled = on,
                Purpose::Compatibility(on) => interrupts.compatibility = on,
                _ => interrupts.table = table,
            }
            // With ESIRTPS it has to be so, and more may always be dropped.
            // Planted (64): SIRTP leaves the interrupt entry cache.
            if !is_planted(64) {
                interrupts.entries.invalidate_all();
            }
            drop(interrupts);
            self.tell_of_interrupts(shared, InvalidatedInterruptEntries::All, purpose);
        }
    }

    /// The listener hears of changes in the order in which they are made, so there is never but one that it has to hear of, and
    /// the reset or command that comes next waits.
    fn is_telling(&self) -> bool {
        self.tasks.iter().any(|task| matches!(task.work, Work::TellOfInterrupts { .. }))
    }

    /// A type 4 descriptor.
    pub(super) fn invalidate_interrupts(
        &mut self,
        shared: &Shared,
        invalidation: InterruptEntryCacheInvalidation,
    ) {
        {
            let entries = &mut shared.interrupts().entries;
            match invalidation {
                InterruptEntryCacheInvalidation::Global => entries.invalidate_all(),
                InterruptEntryCacheInvalidation::Indices { .. } => {
                    let indices = invalidation.indices();
                    // Planted (63): IM is ignored.
                    let last = if is_planted(63) { *indices.start() } else { *indices.end() };
                    entries.invalidate(*indices.start()..=last);
                }
            }
        }
        // Planted (row 29): the descriptor counts as done, and what is behind it is taken up before the listener is told.
        if is_planted(329) {
            self.tell_of_interrupts(shared, invalidation.into(), Purpose::InterruptReset);
            self.advance_head(shared);
            let _cost = self.serve_queue(shared);
            return;
        }
        self.tell_of_interrupts(shared, invalidation.into(), Purpose::Descriptor);
    }

    /// A reset has made everything that anybody keeps meaningless.
    pub(crate) fn reset_interrupts(&mut self, shared: &Shared) {
        // Before the guest has started nobody keeps anything.
        if shared.frozen_caps().is_some_and(Capabilities::interrupt_remapping) {
            let all = InvalidatedInterruptEntries::All;
            self.tell_of_interrupts(shared, all, Purpose::InterruptReset);
        }
    }

    /// Tells the listener in a step that may call out, or nobody where there is none, and then does what follows.
    fn tell_of_interrupts(
        &mut self,
        shared: &Shared,
        entries: InvalidatedInterruptEntries,
        purpose: Purpose,
    ) {
        self.supersede(purpose);
        if shared.config.interrupt_listener.is_none() {
            tell(shared, entries);
            self.finish(shared, purpose);
            return;
        }
        let work = Work::TellOfInterrupts { entries, told: false };
        self.tasks.push(Task { purpose, work });
    }
}

/// Tells the listener, with no lock held where there is one.
pub(super) fn tell(shared: &Shared, entries: InvalidatedInterruptEntries) {
    if let Some(observer) = &shared.config.observer {
        observer.interrupt_entries_invalidated(entries);
    }
    if let Some(listener) = &shared.config.interrupt_listener {
        listener.entries_invalidated(entries);
    }
}
