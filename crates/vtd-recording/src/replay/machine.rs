//! The unit under replay with everything around it: memory, a model host, devices.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use vtd::host::{FailingHost, HostCapabilities, ModelHost};
use vtd::memory::SparseMemory;
use vtd::spec::{Capabilities, CapabilityError, Gpa, Iova, Pasid, Slot, SourceId};
use vtd::{
    Access, Attachment, Capacities, DeviceId, DmaHandle, Granted, HostFault, Quotas, RemappingUnit,
    ResetKind, RestoreOnto, UnitConfig, UnitState,
};

use super::guest_tables::GuestTables;
use super::host_state::{HostState, host_device};
use super::tap::Tap;
use super::{CacheFigures, HostCallFigures, Options, assigned_dma};
use crate::format::Header;
use crate::watched_memory::WatchedMemory;

/// What a DMA came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum DmaOutcome {
    Translated(Gpa, Granted),
    Refused,
}

pub(super) struct Machine {
    unit: RemappingUnit,
    config: UnitConfig,
    pub(super) memory: Arc<SparseMemory>,
    pub(super) tap: Arc<Tap>,
    host: Arc<ModelHost>,
    failing: Arc<FailingHost<Arc<ModelHost>>>,
    /// The number of the last host call that is to fail; 0 where none was asked for.
    last_failing: u64,
    devices: BTreeMap<SourceId, (DeviceId, Attachment)>,
    handles: BTreeMap<(SourceId, Option<Pasid>), DmaHandle>,
    /// Devices that are host-backed because the replay was asked for it.
    wished: BTreeSet<SourceId>,
    /// The host of a device that the recording assigns shadows second-stage tables.
    shadows: bool,
    /// Figures of the units before the last restore.
    earlier: CacheFigures,
}

impl Machine {
    pub(super) fn new(
        header: &Header,
        options: &Options,
        keep_notes: bool,
    ) -> Result<Self, CapabilityError> {
        let mut caps = Capabilities::new(header.cap, header.ecap)?;
        if let Some(bits) = header.host_address_width {
            caps = caps.with_host_address_width(bits)?;
        }
        let memory = Arc::new(SparseMemory::zero_filled());
        let host = Arc::new(ModelHost::new());
        let failing = Arc::new(FailingHost::new(Arc::clone(&host)));
        let tables = GuestTables {
            cap: header.cap,
            ecap: header.ecap,
            host_address_width: caps.host_address_width(),
        };
        let host_state = HostState::new(Arc::clone(&host), tables, Quotas::default());
        let version = header.format_version;
        let tap = Arc::new(Tap::new(version, Arc::clone(&memory), host_state, keep_notes));
        let tapped = WatchedMemory { memory: Arc::clone(&memory), watch: Arc::clone(&tap) };
        let mut config = UnitConfig::new(caps, Arc::new(tapped));
        config.version = header.version;
        config.host = Some(Arc::clone(&failing) as _);
        config.observer = Some(Arc::clone(&tap) as _);
        if options.without_caches {
            config.capacities = Capacities::NONE;
        }
        Ok(Self {
            unit: RemappingUnit::new(config.clone()),
            config,
            memory,
            tap,
            host,
            failing,
            last_failing: 0,
            devices: BTreeMap::new(),
            handles: BTreeMap::new(),
            wished: BTreeSet::new(),
            shadows: false,
            earlier: CacheFigures::default(),
        })
    }

    /// Steps until nothing is left; what the VMM would do with effects is not part of a recording.
    fn run(&self) {
        let _waiting_or_idle = self.unit.run();
        while self.unit.take_effect().is_some() {}
    }

    pub(super) fn write(&self, offset: u64, size: u8, value: u64) {
        self.tap.host_state.write(offset, size, value);
        // GCMD and CCMD.
        if matches!(offset, 0x18 | 0x28 | 0x2c) {
            self.tap.forget_domains();
        }
        self.unit.write(offset, size, value);
        self.run();
    }

    pub(super) fn read(&self, offset: u64, size: u8) -> u64 {
        self.unit.read(offset, size)
    }

    pub(super) fn reset(&self) {
        self.tap.host_state.reset();
        self.tap.forget_domains();
        self.unit.reset(ResetKind::PowerOn);
        self.run();
    }

    /// Asked for several times, as many calls fail.
    pub(super) fn fail_next_host_call(&mut self) {
        let calls = self.failing.calls();
        self.last_failing = self.last_failing.max(calls) + 1;
        self.failing.fail_nth(self.last_failing - calls);
    }

    pub(super) fn is_assigned(&self, source_id: SourceId) -> bool {
        matches!(self.devices.get(&source_id), Some((_, Attachment::Assigned(_))))
    }

    pub(super) fn is_attached(&self, source_id: SourceId) -> bool {
        self.devices.contains_key(&source_id)
    }

    /// Whether a device is host-backed because the replay was asked for it, not the recording's doing.
    pub(super) fn is_assigned_by_wish(&self, source_id: SourceId) -> bool {
        self.wished.contains(&source_id)
    }

    /// The host of such a device shadows second-stage tables, as VFIO and iommufd do: a mapping goes as a whole.
    pub(super) fn assign_by_wish(&mut self, source_id: SourceId) -> Result<(), String> {
        self.wished.insert(source_id);
        let mut capabilities = HostCapabilities::everything();
        capabilities.unmap_cuts = false;
        self.make_host_backed(source_id, capabilities)
    }

    /// A device that was made host-backed by wish becomes so anew, so that its calls are those of the recording.
    pub(super) fn assign(&mut self, source_id: SourceId) -> Result<(), String> {
        if self.is_assigned(source_id) && !self.wished.contains(&source_id) {
            return Err("it is assigned already".into());
        }
        self.detach(source_id);
        self.wished.remove(&source_id);
        // Version 1 of the format has no lines for what a shadow takes.
        let mut capabilities = HostCapabilities::everything();
        capabilities.shadowing = self.shadows;
        self.make_host_backed(source_id, capabilities)
    }

    fn make_host_backed(
        &mut self,
        source_id: SourceId,
        capabilities: HostCapabilities,
    ) -> Result<(), String> {
        let device = host_device(source_id);
        self.host.remove_device(device);
        self.host.add_device_with(device, capabilities);
        self.tap.host_state.assign(source_id);
        self.attach(source_id, Attachment::Assigned(device))
    }

    pub(super) fn release(&mut self, source_id: SourceId) -> Result<(), String> {
        if !self.is_assigned(source_id) || self.wished.contains(&source_id) {
            return Err("it is not assigned".into());
        }
        self.tap.host_state.release(source_id);
        self.detach(source_id);
        Ok(())
    }

    fn attach(&mut self, source_id: SourceId, attachment: Attachment) -> Result<(), String> {
        let device = self.unit.attach(source_id, attachment).map_err(|error| error.to_string())?;
        self.devices.insert(source_id, (device, attachment));
        self.run();
        Ok(())
    }

    fn detach(&mut self, source_id: SourceId) {
        if let Some((device, _)) = self.devices.remove(&source_id) {
            // It is attached, so a release can be asked for.
            let asked = self.unit.release(device);
            debug_assert!(asked.is_ok());
            self.handles.retain(|(owner, _), _| *owner != source_id);
            self.run();
        }
    }

    /// Releases every assigned device; what the model host holds then should be nothing.
    pub(super) fn release_all(&mut self) -> Vec<String> {
        let devices: Vec<_> = self.devices.keys().copied().collect();
        for source_id in devices {
            self.detach(source_id);
        }
        let left = self.host.bindings();
        left.iter()
            .map(|(device, slot, binding)| {
                let source_id = SourceId(u16::try_from(device.0).unwrap_or(u16::MAX));
                format!("{source_id} {slot} {binding}")
            })
            .collect()
    }

    pub(super) fn dma(
        &mut self,
        source_id: SourceId,
        pasid: Option<Pasid>,
        access: Access,
        iova: Iova,
    ) -> Result<DmaOutcome, String> {
        if !self.is_attached(source_id) {
            self.attach(source_id, Attachment::Emulated)?;
        }
        let outcome = match self.devices.get(&source_id) {
            Some((device, Attachment::Assigned(_))) => {
                self.assigned_dma(*device, source_id, pasid, iova, access)
            }
            _ => self.emulated_dma(source_id, pasid, iova, access)?,
        };
        self.run();
        Ok(outcome)
    }

    fn emulated_dma(
        &mut self,
        source_id: SourceId,
        pasid: Option<Pasid>,
        iova: Iova,
        access: Access,
    ) -> Result<DmaOutcome, String> {
        let key = (source_id, pasid);
        if !self.handles.contains_key(&key) {
            let (device, _) = self.devices.get(&source_id).ok_or("it is not attached")?;
            let handle = self.unit.dma(*device, pasid).map_err(|error| error.to_string())?;
            self.handles.insert(key, handle);
        }
        let handle = self.handles.get(&key).ok_or("it has no handle")?;
        Ok(handle.with_guard(|guard| match guard.translate(iova, access) {
            Ok(found) => DmaOutcome::Translated(found.address(), found.granted()),
            Err(_) => DmaOutcome::Refused,
        }))
    }

    fn assigned_dma(
        &self,
        device: DeviceId,
        source_id: SourceId,
        pasid: Option<Pasid>,
        iova: Iova,
        access: Access,
    ) -> DmaOutcome {
        let memory = WatchedMemory { memory: &*self.memory, watch: &*self.tap };
        let caps = &self.config.capabilities;
        let root = self.unit.root_table();
        let request = (iova, access);
        match assigned_dma::answer(&self.host, &memory, caps, root, (source_id, pasid), request) {
            Ok((address, granted)) => DmaOutcome::Translated(address, granted),
            Err(reason) => {
                let slot = pasid.map_or(Slot::Rid, Slot::Pasid);
                // While translation is off the guest has no fault processing to report to.
                if root.is_some() {
                    let fault = HostFault::new(slot, iova, access, reason);
                    let reported = self.unit.report_host_fault(device, fault);
                    debug_assert!(reported.is_ok());
                }
                DmaOutcome::Refused
            }
        }
    }

    /// Saves the unit, goes through text and back, and goes on with a new one.
    pub(super) fn save_and_restore(&mut self) -> Result<(), String> {
        let state = self.unit.save().map_err(|error| error.to_string())?;
        let text = serde_json::to_string(&state).map_err(|error| error.to_string())?;
        let state: UnitState = serde_json::from_str(&text).map_err(|error| error.to_string())?;
        let unit = RemappingUnit::restore(self.config.clone(), &state, RestoreOnto::SameHost)
            .map_err(|error| error.to_string())?;
        self.earlier = self.cache_figures();
        self.unit = unit;
        self.handles.clear();
        self.run();
        Ok(())
    }

    /// F of each fault record, and PFO: what a fault may set.
    pub(super) fn fault_state(&self) -> FaultState {
        let first = self.config.capabilities.fault_record_offset();
        let count = u64::from(self.config.capabilities.fault_record_count());
        let records = (0..count).map(|index| self.unit.read(first + 16 * index + 12, 4) >> 31 == 1);
        FaultState { records: records.collect(), overflow: self.unit.read(0x34, 4) & 1 == 1 }
    }

    /// Clears what has been set since, as the guest does once it has read a fault: the recorded unit never showed this one.
    pub(super) fn withdraw_fault(&self, before: &FaultState) {
        let first = self.config.capabilities.fault_record_offset();
        let now = self.fault_state();
        for ((before, now), index) in before.records.iter().zip(&now.records).zip(0..) {
            if *now && !before {
                self.unit.write(first + 16 * index + 12, 4, 1 << 31);
            }
        }
        if now.overflow && !before.overflow {
            self.unit.write(0x34, 4, 1);
        }
        self.run();
    }

    pub(super) fn cache_figures(&self) -> CacheFigures {
        let now = self.unit.counts().caches;
        let earlier = &self.earlier;
        CacheFigures {
            context_hits: earlier.context_hits + now.context_hits,
            context_misses: earlier.context_misses + now.context_misses,
            pasid_hits: earlier.pasid_hits + now.pasid_hits,
            pasid_misses: earlier.pasid_misses + now.pasid_misses,
            translation_hits: earlier.translation_hits + now.translation_hits,
            translation_misses: earlier.translation_misses + now.translation_misses,
        }
    }

    pub(super) fn host_calls(&self) -> HostCallFigures {
        let counts = self.host.call_counts();
        HostCallFigures {
            bind: counts.bind,
            replace: counts.replace,
            unbind: counts.unbind,
            invalidate: counts.invalidate,
            failed: counts.refused + self.failing.failed_calls(),
        }
    }

    pub(super) fn capabilities(&self) -> &Capabilities {
        &self.config.capabilities
    }
}

/// Which fault records are set, and PFO.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct FaultState {
    records: Vec<bool>,
    overflow: bool,
}
