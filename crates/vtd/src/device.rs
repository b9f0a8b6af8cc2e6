//! Devices of a unit and their handles.

use std::collections::BTreeMap;
use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};

use vtd_cache::DeviceKey;
use vtd_host::{HostCapabilities, HostDevice};
use vtd_spec::SourceId;

use crate::endpoint::EndpointSlot;
use crate::sync::{AtomicBool, AtomicU16, Mutex, MutexGuard};
use crate::{AttachError, Endpoint};

/// An attached device. Stable until the device is released, and never given to another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DeviceId(pub(crate) u32);

impl DeviceId {
    pub(crate) fn key(self) -> DeviceKey {
        DeviceKey(self.0)
    }
}

/// What stands behind a device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Attachment {
    /// The VMM itself: its requests are translated by the unit, through a [`DmaHandle`](crate::DmaHandle).
    Emulated,
    /// A device of the host: its bindings go to the host, which translates its requests.
    Assigned(HostDevice),
}

/// A device, for people and for tests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct DeviceView {
    /// Its handle.
    pub id: DeviceId,
    /// Its source-id.
    pub source_id: SourceId,
    /// What stands behind it.
    pub attachment: Attachment,
    /// A release is under way.
    pub releasing: bool,
}

/// A device as the unit and its DMA handles share it.
#[derive(Debug)]
pub(crate) struct Device {
    pub(crate) id: DeviceId,
    /// Changes when the guest renumbers its buses.
    source_id: AtomicU16,
    pub(crate) attachment: Attachment,
    /// What the host can bind, for an assigned device.
    pub(crate) host: Option<HostCapabilities>,
    released: AtomicBool,
    endpoint: Mutex<EndpointSlot>,
}

impl Device {
    /// The source-id of now. What was walked with it counts only if nothing has been invalidated since: a renumbered device is
    /// invalidated after its source-id has changed.
    pub(crate) fn source_id(&self) -> SourceId {
        SourceId(self.source_id.load(Ordering::Acquire))
    }

    pub(crate) fn is_released(&self) -> bool {
        self.released.load(Ordering::Acquire)
    }

    pub(crate) fn mark_released(&self) {
        self.released.store(true, Ordering::Release);
    }

    fn slot(&self) -> MutexGuard<'_, EndpointSlot> {
        self.endpoint.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether the device has a device TLB.
    pub(crate) fn has_endpoint(&self) -> bool {
        !matches!(*self.slot(), EndpointSlot::Absent)
    }

    /// The endpoint, where the VMM has named it.
    pub(crate) fn endpoint(&self) -> Option<Arc<dyn Endpoint>> {
        match &*self.slot() {
            EndpointSlot::Present(endpoint) => Some(Arc::clone(endpoint)),
            EndpointSlot::Absent | EndpointSlot::Awaited => None,
        }
    }

    /// Puts another endpoint, or none, in the place of the one that is returned. That is to be dropped with no lock held:
    /// it may be the last that knows of it.
    pub(crate) fn replace_endpoint(&self, slot: EndpointSlot) -> EndpointSlot {
        std::mem::replace(&mut *self.slot(), slot)
    }

    pub(crate) fn is_emulated(&self) -> bool {
        self.attachment == Attachment::Emulated
    }

    pub(crate) fn view(&self) -> DeviceView {
        DeviceView {
            id: self.id,
            source_id: self.source_id(),
            attachment: self.attachment,
            releasing: self.is_released(),
        }
    }
}

/// The devices of a unit, by handle.
#[derive(Debug, Default)]
pub(crate) struct Devices {
    devices: BTreeMap<DeviceId, Arc<Device>>,
    sources: BTreeMap<SourceId, DeviceId>,
    next: u32,
}

impl Devices {
    pub(crate) fn get(&self, id: DeviceId) -> Option<&Arc<Device>> {
        self.devices.get(&id)
    }

    pub(crate) fn of_source(&self, source_id: SourceId) -> Option<&Arc<Device>> {
        self.get(*self.sources.get(&source_id)?)
    }

    /// A device of the host is behind no device that is here, be it one that is being released.
    pub(crate) fn check_host_device(
        &self,
        source_id: SourceId,
        attachment: Attachment,
    ) -> Result<(), AttachError> {
        let holder = self
            .iter()
            .find(|device| attachment != Attachment::Emulated && device.attachment == attachment);
        let holder = holder.map(|device| device.source_id());
        holder.map_or(Ok(()), |holder| Err(AttachError::HostDeviceTaken { source_id, holder }))
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &Arc<Device>> {
        self.devices.values()
    }

    /// Enters a device under a handle that no device has had; `None` when there are no more.
    pub(crate) fn add(
        &mut self,
        source_id: SourceId,
        attachment: Attachment,
        host: Option<HostCapabilities>,
    ) -> Option<Arc<Device>> {
        let id = DeviceId(self.next);
        self.next = self.next.checked_add(1)?;
        Some(self.enter(id, source_id, attachment, host))
    }

    /// Enters a device of a saved unit under its old handle.
    pub(crate) fn enter(
        &mut self,
        id: DeviceId,
        source_id: SourceId,
        attachment: Attachment,
        host: Option<HostCapabilities>,
    ) -> Arc<Device> {
        let released = AtomicBool::new(false);
        let number = AtomicU16::new(source_id.0);
        let endpoint = Mutex::default();
        let device =
            Arc::new(Device { id, source_id: number, attachment, host, released, endpoint });
        self.devices.insert(id, Arc::clone(&device));
        self.sources.insert(source_id, id);
        device
    }

    /// Forgets a device; whether it was there.
    pub(crate) fn remove(&mut self, id: DeviceId) -> bool {
        let Some(device) = self.devices.remove(&id) else { return false };
        self.sources.remove(&device.source_id());
        true
    }

    /// Gives a device another source-id, which no device has.
    pub(crate) fn renumber(&mut self, id: DeviceId, source_id: SourceId) {
        if let Some(device) = self.devices.get(&id) {
            self.sources.remove(&device.source_id());
            device.source_id.store(source_id.0, Ordering::Release);
            self.sources.insert(source_id, id);
        }
    }

    pub(crate) fn next_handle(&self) -> u32 {
        self.next
    }

    pub(crate) fn continue_handles(&mut self, next: u32) {
        self.next = next;
    }
}
