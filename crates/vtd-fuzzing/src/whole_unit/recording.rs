//! What a program does to its unit, as a recording that `vtd replay` shows.

use std::collections::HashMap;
use std::io::Write;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use vtd::UnitConfig;
use vtd::spec::Gpa;
use vtd_recording::format::Event;
use vtd_recording::recorder::Chronicle;

use super::oracles::wrong;
use crate::small_memory::SmallMemory;

/// Where a recording goes.
pub type Output = Box<dyn Write + Send>;

/// A recording that is being made. It is whole when the program has ended, be it because an oracle objects.
pub(super) struct Recording {
    chronicle: Chronicle,
    memory: Arc<SmallMemory>,
    /// Lines for assigned devices that nothing has come of yet.
    assigned: Mutex<Vec<Event>>,
    /// The 64-byte lines of memory that the recording has been told of.
    told: Mutex<HashMap<u64, [u64; 8]>>,
}

impl Recording {
    /// Has the unit that is made from `config` watched.
    pub(super) fn start(
        config: &mut UnitConfig,
        memory: &Arc<SmallMemory>,
        output: Output,
    ) -> Arc<Self> {
        let chronicle = Chronicle::new(config, Some("a fuzz target's program"), output)
            .unwrap_or_else(|error| wrong("recording", &error));
        chronicle.note("a replay runs the unit until it is idle at each input, which the program need not have done");
        chronicle.note(
            "a replay has larger caches, no quotas, and does not try again what a host refused",
        );
        let memory = Arc::clone(memory);
        Arc::new(Self { chronicle, memory, assigned: Mutex::default(), told: Mutex::default() })
    }

    /// An input begins.
    pub(super) fn begin(&self, input: Event) {
        match input {
            // They are attached together before the unit is stepped, and then something comes of these alone.
            Event::Assign { .. } => self.assigned().push(input),
            Event::Endpoint { .. } => self.chronicle.begin(input),
            input => {
                self.step();
                self.chronicle.begin(input);
            }
        }
        self.tell_memory();
    }

    /// The unit is about to be stepped.
    pub(super) fn step(&self) {
        for input in std::mem::take(&mut *self.assigned()) {
            self.chronicle.begin(input);
        }
    }

    fn assigned(&self) -> MutexGuard<'_, Vec<Event>> {
        self.assigned.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The guest writes a register.
    pub(super) fn write(&self, offset: u64, size: u8, value: u64) {
        self.step();
        self.chronicle.write(offset, size, value);
        self.tell_memory();
    }

    /// The input that has begun was this.
    pub(super) fn end(&self, input: Option<Event>) {
        self.chronicle.end(input);
    }

    /// The device that is being attached is not.
    pub(super) fn refused(&self) {
        if self.assigned().pop().is_none() {
            self.chronicle.end(None);
        }
    }

    /// Something that no line says.
    pub(super) fn note(&self, text: &str) {
        self.chronicle.note(text);
    }

    /// All that the guest has written since the last time, so that a replay that is ahead of the unit finds it.
    fn tell_memory(&self) {
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        for line in self.memory.written_lines() {
            let now = [0, 8, 16, 24, 32, 40, 48, 56].map(|place| self.memory.get(line + place));
            let before = told.entry(line).or_default();
            if *before != now {
                *before = now;
                self.chronicle.memory(Gpa(line), &now);
            }
        }
    }
}
