//! The model beside the unit.

use std::sync::Arc;

use vtd_model::{Descriptor, History, Invalidation, Memory, QueueStep, Registers, Update};

use crate::small_memory::{Change, SmallMemory};

impl Memory for SmallMemory {
    fn qword(&self, address: u64) -> Option<u64> {
        self.is_backed(address).then(|| self.get(address))
    }
}

/// What the model knows: registers, and what memory has held.
pub(super) struct Mirror {
    pub(super) memory: Arc<SmallMemory>,
    pub(super) registers: Registers,
    pub(super) history: History,
    changes: Vec<Change>,
    /// What the unit did that the model does not do.
    pub(super) wrong: Option<String>,
    pub(super) descriptors: u64,
}

impl Mirror {
    pub(super) fn new(memory: Arc<SmallMemory>, capabilities: vtd_model::Capabilities) -> Self {
        Self {
            memory,
            registers: Registers::new(capabilities),
            history: History::with_dependents(capabilities),
            changes: Vec::new(),
            wrong: None,
            descriptors: 0,
        }
    }

    /// Takes in what has been written since the last time.
    pub(super) fn catch_up(&mut self) {
        self.memory.take_changes(&mut self.changes);
        for change in &self.changes {
            let Change { place: address, old, value: new } = *change;
            self.history.wrote(&[Update { address, old, new }]);
        }
    }

    /// The guest writes a register.
    pub(super) fn write(&mut self, offset: u64, size: u8, value: u64) {
        self.catch_up();
        for invalidation in self.registers.write(offset, size, value) {
            self.history.invalidated(invalidation);
        }
    }

    /// The unit is reset. FSTS and FRCD survive a warm reset.
    pub(super) fn reset(&mut self, power_on: bool) {
        self.catch_up();
        let before = self.registers.clone();
        self.registers.reset();
        if !power_on {
            self.registers.faults = before.faults;
            self.registers.queue.error = before.queue.error;
            self.registers.queue.timeout = before.queue.timeout;
        }
        self.history.invalidated(Invalidation::Everything);
    }

    /// The unit has fetched a descriptor: so does the model.
    pub(super) fn fetched(&mut self, offset: u64, text: &dyn std::fmt::Display) {
        self.catch_up();
        self.descriptors += 1;
        let queue = &mut self.registers.queue;
        if queue.head != offset {
            let head = queue.head;
            self.note(format!("fetched {text} at {offset:#x}, where the head is {head:#x}"));
            return;
        }
        match queue.step(self.registers.unit.capabilities, &*self.memory) {
            QueueStep::Descriptor(Descriptor::Invalidation(invalidation)) => {
                self.history.invalidated(invalidation);
            }
            QueueStep::Descriptor(_) => {}
            other => {
                self.note(format!("carried out {text} at {offset:#x}: the model says {other:?}"));
            }
        }
    }

    /// The queue of the unit has stopped: so does the model's.
    pub(super) fn stopped(&mut self, offset: u64, why: &str) {
        self.catch_up();
        let step = self.registers.queue.step(self.registers.unit.capabilities, &*self.memory);
        if !matches!(step, QueueStep::Stopped { .. }) {
            self.note(format!("the queue stopped at {offset:#x} ({why}): the model says {step:?}"));
        }
    }

    fn note(&mut self, what: String) {
        self.wrong.get_or_insert(what);
    }
}
