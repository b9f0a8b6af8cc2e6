//! What a VMM calls for devices with device TLBs and page requests.

use std::sync::Arc;

use vtd_spec::{PageRequest, SourceId};

use crate::device::Device;
use crate::endpoint::EndpointSlot;
use crate::{
    AttachError, Attachment, DeviceId, Endpoint, InvalidationId, PageRequestError, RemappingUnit,
    UnknownDevice,
};

impl RemappingUnit {
    /// Attaches an emulated device that has a device TLB, or asks for pages.
    ///
    /// The unit keeps the endpoint until the device is released or another one takes its place: an endpoint that holds the unit
    /// keeps it alive until then.
    ///
    /// # Errors
    /// [`AttachError`]: the source-id is taken.
    pub fn attach_endpoint(
        &self,
        source_id: SourceId,
        endpoint: Arc<dyn Endpoint>,
    ) -> Result<DeviceId, AttachError> {
        let device = self.attach(source_id, Attachment::Emulated)?;
        // Nobody else knows the handle yet, and the device has been given no translation: nothing has been missed.
        let _released_meanwhile = self.set_endpoint(device, endpoint);
        Ok(device)
    }

    /// Names the endpoint of an emulated device: after a restore, before the first step, or another one in its place. What its
    /// predecessor had not answered is delivered to it, again.
    ///
    /// # Errors
    /// [`UnknownDevice`] if it has been released or is assigned.
    pub fn set_endpoint(
        &self,
        device: DeviceId,
        endpoint: Arc<dyn Endpoint>,
    ) -> Result<(), UnknownDevice> {
        let before = {
            let mut engine = self.shared.engine();
            let found = self.emulated(device)?;
            engine.deliver_again(device);
            self.shared.want_wake();
            found.replace_endpoint(EndpointSlot::Present(endpoint))
        };
        drop(before);
        self.shared.wake();
        Ok(())
    }

    /// A device-TLB invalidation that its endpoint answered with [`DeviceTlbAnswer::Later`](crate::DeviceTlbAnswer::Later) is
    /// done. An answer that comes too late, after a time-out or a reset, is ignored. One to an invalidation that the device was
    /// never given is its mistake, and the guest is told (FSTS.ICE, ICESID of IQERCD).
    ///
    /// # Errors
    /// [`UnknownDevice`] if it has been released.
    pub fn device_tlb_invalidated(
        &self,
        device: DeviceId,
        id: InvalidationId,
    ) -> Result<(), UnknownDevice> {
        {
            let mut engine = self.shared.engine();
            let found = self.attached(device)?;
            engine.take_device_tlb_answer(&self.shared, &found, id);
        }
        self.shared.wake();
        Ok(())
    }

    /// The time of the oldest invalidation that a device has not answered is up, whatever
    /// [`UnitConfig::device_tlb_patience`](crate::UnitConfig::device_tlb_patience) says. The next step tells the guest. Nothing
    /// happens if there is none.
    ///
    /// # Errors
    /// [`UnknownDevice`] if it has been released.
    pub fn expire_device_tlb(&self, device: DeviceId) -> Result<(), UnknownDevice> {
        {
            let mut engine = self.shared.engine();
            self.attached(device)?;
            engine.expire_device_tlb(device);
            self.shared.want_wake();
        }
        self.shared.wake();
        Ok(())
    }

    /// A device asks for a page: an emulated one, or an assigned one whose request the host has passed on. The source-id of the
    /// request is filled in; the address counts by its page, and of the group index the low 9 bits.
    ///
    /// When this returns `Ok` the request is in the guest's page request queue, and the event that announces it is an effect.
    /// The answer comes as a page group response, to [`Endpoint::page_group_response`] or
    /// [`HostIommu::respond`](vtd_host::HostIommu::respond), from a later step. May be called from any thread, from inside an
    /// [`Endpoint`] too; it never calls one.
    ///
    /// # Errors
    /// [`PageRequestError`]: the request is not in the queue. It says whether a response follows.
    pub fn page_request(
        &self,
        device: DeviceId,
        request: PageRequest,
    ) -> Result<(), PageRequestError> {
        let found = self.attached(device)?;
        let answer = self.shared.page_request(&found, request);
        self.shared.wake();
        answer
    }

    fn attached(&self, device: DeviceId) -> Result<Arc<Device>, UnknownDevice> {
        let devices = self.shared.devices();
        let found = devices.get(device).filter(|found| !found.is_released());
        found.cloned().ok_or(UnknownDevice)
    }
}
