//! What becomes true for the guest, and when: every completion waits until what it promises holds.

use vtd_spec::descriptor::Wait;

use super::Engine;
use super::task::{Due, Purpose};
use crate::guards::Barrier;
use crate::shared::{Shared, count};
use crate::{DeviceId, Effect};

impl Engine {
    /// A task is done: what it promised follows, at once or when nothing stands in the way any more.
    pub(super) fn finish(&mut self, shared: &Shared, purpose: Purpose) {
        match purpose {
            Purpose::Reset | Purpose::Restore | Purpose::Device(_) => {}
            Purpose::Descriptor => self.advance_head(shared),
            _ => {
                let barrier = shared.guards.barrier();
                // A later command of the same kind takes the place of an earlier one.
                self.due.retain(|due| {
                    std::mem::discriminant(&due.purpose) != std::mem::discriminant(&purpose)
                        || matches!(purpose, Purpose::Release(_))
                });
                self.due.push(Due { purpose, barrier });
            }
        }
    }

    /// Completes what nothing stands in the way of.
    pub(super) fn complete_due(&mut self, shared: &Shared) {
        if self.due.is_empty() && self.wait.is_none() && !self.queue_closing {
            return;
        }
        let due = std::mem::take(&mut self.due);
        for due in due {
            let holds = match due.purpose {
                Purpose::Release(device) => {
                    shared.guards.passed_by(due.barrier, device)
                        && !self.ledger.device_contradicts(device.key())
                }
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
        {
            self.wait = None;
            self.complete_wait(shared, &wait);
        }
        let queue_busy = self.wait.is_some() || self.is_at(Purpose::Descriptor);
        if self.queue_closing && !queue_busy {
            self.queue_closing = false;
            self.queue = None;
            let mut registers = shared.registers();
            registers.queue_head = 0;
            registers.status.qies = false;
        }
        self.tell_stuck(shared);
    }

    /// Whether a completion's promise holds: no guard from before, and nothing with the host that contradicts it.
    pub(super) fn holds(&self, shared: &Shared, barrier: Barrier) -> bool {
        !self.ledger.contradicts() && shared.guards.passed(barrier)
    }

    pub(super) fn tell_stuck(&mut self, shared: &Shared) {
        let stuck = self.ledger.contradicts();
        if stuck && !self.told_stuck && !(self.due.is_empty() && self.wait.is_none()) {
            self.told_stuck = true;
            for device in self.stuck_devices() {
                shared.push(Effect::HostStuck(device));
            }
        }
        self.told_stuck &= stuck;
    }

    pub(super) fn stuck_devices(&self) -> impl Iterator<Item = DeviceId> {
        let devices = self.ledger.devices();
        devices
            .filter(|(key, _)| self.ledger.device_contradicts(*key))
            .map(|(key, _)| DeviceId(key.0))
    }

    pub(super) fn complete(&mut self, shared: &Shared, purpose: Purpose) {
        let mut registers = shared.registers();
        match purpose {
            Purpose::Root => registers.status.rtps = true,
            Purpose::Translation(on) => registers.status.tes = on,
            Purpose::ContextCommand => registers.finish_context_command(true),
            Purpose::IotlbCommand => registers.finish_iotlb_command(true),
            Purpose::Release(device) => {
                drop(registers);
                self.ledger.remove_device(device.key());
                shared.devices_mut().remove(device);
                shared.push(Effect::Released(device));
            }
            Purpose::Reset | Purpose::Restore | Purpose::Descriptor | Purpose::Device(_) => {}
        }
    }

    /// Everything before the wait is done and seen: its status is written, then its interrupt sent.
    pub(super) fn complete_wait(&mut self, shared: &Shared, wait: &Wait) {
        if let Some(status) = &wait.status {
            if let Some(observer) = &shared.config.observer {
                observer.wait_status(status.address, status.data);
            }
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
