//! The model beside the unit.

use std::sync::Arc;

use vtd::spec::descriptor::Wait;
use vtd_model::{
    Descriptor, History, Invalidation, Memory, PageGroupResponse, QueueStep, Registers, Update,
};

use crate::small_memory::{Change, SmallMemory};

impl Memory for SmallMemory {
    fn qword(&self, address: u64) -> Option<u64> {
        self.is_backed(address).then(|| self.get(address))
    }
}

/// Memory as it was before some changes of it.
pub(super) struct Before<'a> {
    memory: &'a SmallMemory,
    changes: &'a [Change],
}

impl Memory for Before<'_> {
    fn qword(&self, address: u64) -> Option<u64> {
        let first = self.changes.iter().find(|change| change.place == address);
        first.map(|change| change.old).or_else(|| self.memory.qword(address))
    }
}

/// What the model knows: registers, and what memory has held.
pub(super) struct Mirror {
    pub(super) memory: Arc<SmallMemory>,
    pub(super) registers: Registers,
    pub(super) history: History,
    /// What was taken in last.
    pub(super) changes: Vec<Change>,
    /// What the unit did that the model does not do, and which oracle says so.
    pub(super) wrong: Option<(&'static str, String)>,
    pub(super) descriptors: u64,
    /// An invalidation that the guest has queued, until a descriptor for it is carried out.
    pub(super) awaited: Option<Invalidation>,
    /// The data of the wait that has been fetched and is not over.
    pub(super) wait: Option<u32>,
    /// No wait may complete: a transfer is under way that used what is being invalidated.
    pub(super) held: bool,
    /// Answers to page requests that devices are to be given.
    pub(super) responses: Vec<PageGroupResponse>,
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
            awaited: None,
            wait: None,
            held: false,
            responses: Vec::new(),
        }
    }

    /// Begins anew, with what the guest is shown by now.
    pub(super) fn restart(&mut self, capabilities: vtd_model::Capabilities) {
        self.registers = Registers::new(capabilities);
        self.history.restart(capabilities);
        self.changes.clear();
        self.responses.clear();
        self.wrong = None;
        self.descriptors = 0;
        self.awaited = None;
        self.wait = None;
        self.held = false;
    }

    /// Takes in what has been written since the last time.
    pub(super) fn catch_up(&mut self) {
        self.look();
        self.remember();
    }

    /// Sees what has been written since the last time, of which the history is to be told.
    pub(super) fn look(&mut self) {
        self.memory.take_changes(&mut self.changes);
    }

    /// Memory as it was before what has been seen last.
    pub(super) fn before(&self) -> Before<'_> {
        Before { memory: &self.memory, changes: &self.changes }
    }

    /// Tells the history of what has been seen last.
    pub(super) fn remember(&mut self) {
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
        self.wait = None;
    }

    /// A wait is over.
    pub(super) fn completed(&mut self, wait: &Wait, outstanding: usize) {
        let data = wait.status.as_ref().map_or(0, |status| status.data);
        if self.wait != Some(data) {
            let expected = self.wait;
            self.note("waits", format!("{data:x} completes, and {expected:x?} is under way"));
        }
        if outstanding > 0 {
            self.note("waits", format!("{data:x} completes before {outstanding} device TLBs"));
        }
        if self.held {
            self.note("waits", format!("{data:x} completes under an open guard"));
        }
        self.wait = None;
    }

    /// A wait will not be over.
    pub(super) const fn aborted(&mut self) {
        self.wait = None;
    }

    /// The unit has fetched a descriptor: so does the model.
    pub(super) fn fetched(&mut self, offset: u64, text: &dyn std::fmt::Display) {
        self.catch_up();
        self.descriptors += 1;
        let queue = &mut self.registers.queue;
        if queue.head != offset {
            let head = queue.head;
            self.note("queue", format!("fetched {text} at {offset:x}, the head is {head:x}"));
            return;
        }
        match queue.step(self.registers.unit.capabilities, &*self.memory) {
            QueueStep::Descriptor(Descriptor::Invalidation(invalidation)) => {
                self.awaited = self.awaited.filter(|awaited| *awaited != invalidation);
                self.history.invalidated(invalidation);
            }
            QueueStep::Descriptor(Descriptor::Wait(wait)) => {
                self.wait = Some(wait.status.map_or(0, |(_, data)| data));
            }
            QueueStep::Descriptor(Descriptor::PageGroupResponse(response)) => {
                self.responses.push(response);
            }
            QueueStep::Descriptor(_) => {}
            other => {
                self.note(
                    "queue",
                    format!("carried out {text} at {offset:#x}: the model says {other:?}"),
                );
            }
        }
    }

    /// The queue of the unit has stopped: so does the model's.
    pub(super) fn stopped(&mut self, offset: u64, why: &str) {
        self.catch_up();
        let step = self.registers.queue.step(self.registers.unit.capabilities, &*self.memory);
        if !matches!(step, QueueStep::Stopped { .. }) {
            self.note(
                "queue",
                format!("the queue stopped at {offset:#x} ({why}): the model says {step:?}"),
            );
        }
    }

    /// A fault was recorded, or lost for want of a record.
    pub(super) fn faulted(&mut self, recorded: bool) {
        let faults = &mut self.registers.faults;
        if faults.record().is_some() != recorded {
            let what = format!("recorded {recorded}, and the model has {faults:?}");
            self.note("fault records", what);
        }
    }

    pub(super) fn note(&mut self, oracle: &'static str, what: String) {
        self.wrong.get_or_insert((oracle, what));
    }
}
