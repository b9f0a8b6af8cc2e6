//! The devices of a recording, as far as answers depend on them.

use std::collections::BTreeMap;

/// The devices that a line named.
#[derive(Debug, Default)]
pub(super) struct Devices {
    devices: BTreeMap<u16, Device>,
}

/// What a device is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Device {
    /// Host-backed.
    Assigned,
    /// Emulated, with a device TLB that answers at once.
    Endpoint,
    /// Emulated, with a device TLB that answers by lines of its own, and so many outstanding invalidations.
    Later(u32),
}

impl Devices {
    pub(super) fn set(&mut self, source_id: u16, device: Device) {
        self.devices.insert(source_id, device);
    }

    pub(super) fn remove(&mut self, source_id: u16) {
        self.devices.remove(&source_id);
    }

    pub(super) fn renumber(&mut self, source_id: u16, new: u16) {
        let device = self.devices.remove(&source_id);
        self.devices.remove(&new);
        if let Some(device) = device {
            self.devices.insert(new, device);
        }
    }

    pub(super) fn is_assigned(&self, source_id: u16) -> bool {
        self.devices.get(&source_id) == Some(&Device::Assigned)
    }

    /// Every host-backed device.
    pub(super) fn assigned(&self) -> impl Iterator<Item = u16> {
        let assigned = self.devices.iter().filter(|(_, device)| **device == Device::Assigned);
        assigned.map(|(source_id, _)| *source_id)
    }

    /// Whether it is given answers to its page requests.
    pub(super) fn takes_answers(&self, source_id: u16) -> bool {
        self.devices.contains_key(&source_id)
    }

    pub(super) fn is_endpoint(&self, source_id: u16) -> bool {
        matches!(self.devices.get(&source_id), Some(Device::Endpoint | Device::Later(_)))
    }

    /// A device was told to drop translations.
    pub(super) fn told(&mut self, source_id: u16) {
        if let Some(Device::Later(outstanding)) = self.devices.get_mut(&source_id) {
            *outstanding += 1;
        }
    }

    /// A device is done with one, or its time is up.
    pub(super) fn done(&mut self, source_id: u16) -> bool {
        match self.devices.get_mut(&source_id) {
            Some(Device::Later(outstanding)) if *outstanding > 0 => {
                *outstanding -= 1;
                true
            }
            _ => false,
        }
    }

    /// Whether a device has something to do yet.
    pub(super) fn is_waited_for(&self) -> bool {
        self.devices.values().any(|device| matches!(device, Device::Later(1..)))
    }

    pub(super) fn outstanding(&self, source_id: u16) -> u32 {
        match self.devices.get(&source_id) {
            Some(Device::Later(outstanding)) => *outstanding,
            _ => 0,
        }
    }

    /// A reset: nothing is outstanding any more.
    pub(super) fn reset(&mut self) {
        for device in self.devices.values_mut() {
            if let Device::Later(outstanding) = device {
                *outstanding = 0;
            }
        }
    }
}
