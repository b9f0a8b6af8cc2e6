//! What becomes true for the guest, and when: every completion waits until what it promises holds.

use vtd_spec::Gpa;
use vtd_spec::descriptor::Wait;
use vtd_spec::planted::is_planted;

use super::Engine;
use super::task::{Due, Purpose};
use crate::guards::Barrier;
use crate::shared::{Shared, count};
use crate::{DeviceId, Effect};

impl Engine {
    /// A task is done: what it promised follows, at once or when nothing stands in the way any more.
    pub(super) fn finish(&mut self, shared: &Shared, purpose: Purpose) {
        match purpose {
            Purpose::Reset | Purpose::Restore | Purpose::Device(_) | Purpose::InterruptReset => {}
            Purpose::Descriptor => self.advance_head(shared),
            _ => {
                let barrier = shared.guards.barrier();
                self.supersede(purpose);
                self.due.push(Due { purpose, barrier });
            }
        }
    }

    /// A later command of the same kind takes the place of an earlier one: its completion is the one that is told.
    pub(super) fn supersede(&mut self, purpose: Purpose) {
        self.due.retain(|due| match (due.purpose, purpose) {
            (Purpose::Release(earlier), Purpose::Release(later)) => earlier != later,
            (earlier, later) => std::mem::discriminant(&earlier) != std::mem::discriminant(&later),
        });
    }

    /// Completes what nothing stands in the way of; whether the queue has gone off with it.
    pub(super) fn complete_due(&mut self, shared: &Shared) -> bool {
        // What waits for guards looks at them now, or at its delivery: a guard that nothing waits for wakes nobody.
        shared.guards.stop_waiting();
        if self.due.is_empty() && self.wait.is_none() && !self.queue_closing {
            return false;
        }
        let due = std::mem::take(&mut self.due);
        for due in due {
            let holds = match due.purpose {
                Purpose::Release(device) => {
                    shared.guards.passed_by(due.barrier, device)
                        && !self.ledger.device_contradicts(device.key())
                }
                // No host has a part in these.
                Purpose::InterruptTable
                | Purpose::InterruptRemapping(_)
                | Purpose::Compatibility(_)
                | Purpose::ProtectedMemory(_) => shared.guards.passed(due.barrier),
                _ => self.holds(shared, due.barrier),
            };
            if holds {
                self.complete(shared, due.purpose);
            } else {
                self.due.push(due);
            }
        }
        if let Some((wait, barrier)) = self.wait
            && self.holds(shared, barrier)
            // Planted (row 29): a wait completes before the devices have answered.
            && (self.is_settled(shared) || is_planted(229))
        {
            self.wait = None;
            self.complete_wait(shared, &wait);
        }
        let queue_off = self.queue_closing
            && !self.is_at_descriptor()
            && self.is_settled(shared)
            && !self.stays_open(shared);
        if queue_off {
            self.queue_closing = false;
            self.queue = None;
            self.served = None;
            let mut registers = shared.registers();
            registers.queue_head = 0;
            registers.status.qies = false;
        }
        queue_off
    }

    /// Planted (row 13): only a wait as the last descriptor lets the queue close.
    fn stays_open(&self, shared: &Shared) -> bool {
        is_planted(13)
            && self.queue.is_some_and(|queue| {
                let before = shared.registers().queue_head.saturating_sub(32);
                let last = shared.config.memory.load_u64(Gpa((queue.bits() & !0xfff) + before));
                last.is_ok_and(|qw0| qw0 & 0xf != 5)
            })
    }

    /// Whether a completion's promise holds: no guard from before, and nothing with the host that contradicts it.
    fn holds(&self, shared: &Shared, barrier: Barrier) -> bool {
        // What a retry has bound anew is filled first.
        let follows = !self.ledger.contradicts() && !self.ledger.has_unfilled();
        // Planted (row 29): a wait completes whatever is still under way.
        is_planted(129) || follows && shared.guards.passed(barrier)
    }

    /// Tells the VMM, once for each device, that a completion waits for what the host did not give up.
    pub(super) fn tell_stuck(&mut self, shared: &Shared) {
        let stuck: Vec<_> = match self.ledger.contradicts() {
            true => self.stuck_devices().collect(),
            false => Vec::new(),
        };
        self.told_stuck.retain(|device| stuck.contains(device));
        if self.due.is_empty() && self.wait.is_none() {
            return;
        }
        for device in stuck {
            if !self.told_stuck.contains(&device) {
                self.told_stuck.push(device);
                shared.push(Effect::HostStuck(device));
            }
        }
    }

    pub(super) fn stuck_devices(&self) -> impl Iterator<Item = DeviceId> {
        let devices = self.ledger.devices();
        devices
            .filter(|(key, _)| self.ledger.device_contradicts(*key))
            .map(|(key, _)| DeviceId(key.0))
    }

    fn complete(&mut self, shared: &Shared, purpose: Purpose) {
        let mut registers = shared.registers();
        match purpose {
            // A later command that has not begun has its own completion.
            Purpose::Root => registers.status.rtps = registers.commands.root.is_none(),
            Purpose::Translation(on) => registers.status.tes = on,
            Purpose::ContextCommand if registers.commands.context => {}
            Purpose::ContextCommand => registers.finish_context_command(true),
            Purpose::IotlbCommand if registers.commands.iotlb => {}
            Purpose::IotlbCommand => registers.finish_iotlb_command(true),
            Purpose::Release(device) => {
                drop(registers);
                self.ledger.remove_device(device.key());
                shared.translator().caches.forget_device(device.key());
                // A release that was retried is told once.
                if shared.devices_mut().remove(device) {
                    shared.push(Effect::Released(device));
                }
            }
            Purpose::InterruptTable => {
                registers.status.irtps = registers.commands.interrupt_table.is_none();
            }
            Purpose::InterruptRemapping(on) => registers.status.ires = on,
            Purpose::Compatibility(on) => registers.status.cfis = on,
            Purpose::ProtectedMemory(on) => registers.protected_memory.enable.status = on,
            Purpose::Reset
            | Purpose::Restore
            | Purpose::Descriptor
            | Purpose::Device(_)
            | Purpose::InterruptReset => {}
        }
    }

    /// Everything before the wait is done and seen: its status is written, then its interrupt sent.
    pub(super) fn complete_wait(&mut self, shared: &Shared, wait: &Wait) {
        if let Some(observer) = &shared.config.observer {
            observer.wait_completes(wait);
        }
        if let Some(status) = &wait.status {
            // A posted write to where there is no memory is lost, as it is on the bus.
            let _lost = shared.config.memory.store_u32_release(status.address, status.data);
        }
        if wait.interrupt {
            let message = shared.registers().complete_wait();
            if let Some(message) = message {
                shared.send(message);
            }
        }
        self.advance_head(shared);
    }

    pub(super) fn advance_head(&self, shared: &Shared) {
        count(&shared.figures.descriptors);
        if let Some(queue) = &self.queue {
            let mut registers = shared.registers();
            registers.queue_head = queue.next(registers.queue_head);
        }
    }
}
