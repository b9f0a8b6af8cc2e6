//! Devices that are given another source-id.

use vtd_spec::SourceId;
use vtd_spec::planted::is_planted;

use crate::{DeviceId, RemappingUnit, RenumberError};

impl RemappingUnit {
    /// The guest has renumbered its buses: the device has another source-id from now on, and keeps its handle.
    ///
    /// When this returns, later requests of an emulated device are translated and report faults under the new source-id, through
    /// the handles that it has; what was translated before stays good for as long as its guard is open, and the next
    /// invalidation wait waits for that guard as for any other. The slots of an assigned device are reconciled under the new
    /// source-id by the steps that follow, before any later descriptor: a binding that is the same there stays without a call.
    /// No effect tells of the end, as none does for [`attach`](Self::attach).
    ///
    /// Devices that exchange their source-ids go by way of a free one.
    ///
    /// # Errors
    /// [`RenumberError`]: no such device, or a device that is being released, or a source-id that is taken. Nothing has changed.
    pub fn renumber(&self, device: DeviceId, source_id: SourceId) -> Result<(), RenumberError> {
        {
            let mut engine = self.shared.engine();
            let mut devices = self.shared.devices_mut();
            let found = devices.get(device).ok_or(RenumberError::UnknownDevice)?;
            if found.is_released() {
                return Err(RenumberError::Releasing(found.source_id()));
            }
            if found.source_id() == source_id {
                return Ok(());
            }
            if devices.of_source(source_id).is_some() {
                return Err(RenumberError::SourceIdTaken(source_id));
            }
            devices.renumber(device, source_id);
            // After that: what is walked under the old source-id and entered later would stay.
            // Planted (71): what is cached of a device that is renumbered stays.
            if !is_planted(71) {
                self.shared.translator().caches.invalidate_devices(std::iter::once(device.key()));
            }
            if engine.ledger.has_device(device.key()) {
                engine.ledger.renumber_device(device.key(), source_id);
                engine.reconcile_device(device);
                self.shared.want_wake();
            }
        }
        self.shared.wake();
        Ok(())
    }
}
