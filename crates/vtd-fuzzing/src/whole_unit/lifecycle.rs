//! What a VMM does with a unit and its devices.

use std::sync::Arc;

use vtd::host::HostDevice;
use vtd::spec::SourceId;
use vtd::{RemappingUnit, ResetKind, RestoreOnto, Step};
use vtd_recording::format::Event;

use super::host::{Host, Legal};
use super::oracles::wrong;
use super::recording::Recording;
use super::world::{IQH, Kind, World};
use crate::program::Lifecycle;
use crate::program::pools::{SOURCES, of};

impl World {
    pub(super) fn live(&mut self, lifecycle: Lifecycle) {
        match lifecycle {
            Lifecycle::Attach { source, kind } => {
                if self.device(source).is_none() {
                    // What was answered before it came is not its own.
                    self.answers_unknown = true;
                    self.attach(source, kind);
                }
            }
            Lifecycle::Release { source } => {
                if let Some(device) = self.device(source) {
                    self.answer();
                    self.answers_unknown = true;
                    if device.kind != Kind::Emulated {
                        let source_id = SourceId(of(&SOURCES, source));
                        self.record(|recording| recording.begin(Event::Release { source_id }));
                    }
                    if self.unit.release(device.id).is_err() {
                        wrong("devices: a device that is attached is not released", &device);
                    }
                    self.settle();
                    self.expect_nothing_held(device);
                    if let Some(slot) = self.devices.get_mut(usize::from(source)) {
                        *slot = None;
                    }
                }
            }
            Lifecycle::Renumber { source, new } => {
                let source_id = SourceId(of(&SOURCES, new));
                self.answers_unknown = true;
                let Some(device) = self.device(source) else { return };
                self.record(|recording| {
                    let before = SourceId(of(&SOURCES, source));
                    recording.begin(Event::Renumber { source_id: before, new: source_id });
                });
                if self.unit.renumber(device.id, source_id).is_ok() {
                    self.devices.swap(source.into(), new.into());
                    self.settle();
                } else {
                    self.record(|recording| recording.end(None));
                }
            }
            Lifecycle::Retry { source } => {
                if let Some(device) = self.device(source) {
                    self.record(|recording| recording.note("the VMM had a device tried again"));
                    // An emulated device has nothing to retry.
                    let _emulated = self.unit.retry(device.id);
                }
            }
            Lifecycle::Reset { power_on } => {
                // What is under way ends here, or is done before it: both are to be seen.
                if self.waits.is_multiple_of(2) {
                    self.settle();
                }
                self.reset(power_on);
            }
            Lifecycle::SaveAndRestore { fresh_host } => self.save_and_restore(fresh_host),
            Lifecycle::Step { budget } => {
                self.record(Recording::step);
                self.idle = self.unit.step(budget.into()) == Step::Idle;
            }
            Lifecycle::Run => {
                self.settle();
                self.expect_tables_everywhere();
            }
        }
    }

    /// The VMM resets the unit, whatever is under way.
    pub(super) fn reset(&mut self, power_on: bool) {
        self.memory.disarm();
        self.answers_unknown = true;
        let failures = self.host.failed_calls();
        self.record(|recording| {
            if !power_on {
                recording.note("the next reset is a warm one: FSTS and FRCD survive");
            }
            recording.begin(Event::Reset);
        });
        self.unit.reset(if power_on { ResetKind::PowerOn } else { ResetKind::Warm });
        self.eyes.forget();
        self.mirror().reset(power_on);
        self.settle();
        self.tail = 0;
        self.command = 0;
        self.expect_power_on(failures);
    }

    pub(super) fn save_and_restore(&mut self, fresh_host: bool) {
        if fresh_host {
            // Else what is held is still to change.
            self.settle();
        }
        let state = self.unit.save().unwrap_or_else(|error| wrong("save", &error));
        let held = self.held_by_the_tables();
        let starved = self.config_is_starved();
        let onto = if fresh_host {
            let host = Arc::new(Host::new(Legal::default()));
            for number in 1..self.next_host_device {
                host.inner().model.add_device(HostDevice(number));
            }
            self.check_host_calls();
            self.host = host;
            self.config.host = Some(Arc::clone(&self.host) as _);
            RestoreOnto::FreshHost
        } else {
            RestoreOnto::SameHost
        };
        self.record(|recording| recording.note("the unit is saved and restored here"));
        let restored = RemappingUnit::restore(self.config.clone(), &state, onto);
        let restored = Arc::new(restored.unwrap_or_else(|error| wrong("restore", &error)));
        self.eyes.forget();
        self.answers_unknown = true;
        for device in self.devices.iter().flatten() {
            let card = self.cards.iter().find(|(id, _)| *id == device.id);
            if let Some((id, card)) = card {
                card.take_later();
                if restored.set_endpoint(*id, Arc::clone(card) as _).is_err() {
                    wrong("restore: a device is not there", device);
                }
            }
        }
        if !fresh_host {
            let again = restored.save().unwrap_or_else(|error| wrong("save", &error));
            if again != state {
                wrong("save: another state after a restore", &(state, again));
            }
        }
        self.unit = restored;
        self.idle = false;
        self.handles.clear();
        // What was fetched and is not done is fetched again.
        let head = self.unit.read(IQH, 8);
        {
            let mut mirror = self.mirror();
            let queue = &mut mirror.registers.queue;
            let mut behind = *queue;
            behind.back();
            if queue.enabled && queue.head != head && behind.head == head {
                *queue = behind;
                mirror.wait = None;
            }
        }
        // Caches are no part of a state.
        self.mirror().history.invalidated(vtd_model::Invalidation::Everything);
        if fresh_host {
            self.settle();
            self.expect_held(&held, starved);
        }
        self.figures.restores += 1;
    }
}
