//! The unit under replay with everything around it: memory, a model host, devices.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use vtd::host::{FailingHost, HostCapabilities, HostDevice, ModelHost};
use vtd::memory::SparseMemory;
use vtd::spec::{
    Capabilities, CapabilityError, DomainId, Gpa, Iova, PageRequest, Pasid, Slot, SourceId,
};
use vtd::{
    Access, Attachment, Capacities, Completion, DeviceId, DmaError, DmaHandle, Granted, HostFault,
    InterruptError, Quotas, RemappedInterrupt, RemappingUnit, ResetKind, RestoreOnto,
    TranslationRequest, UnitConfig, UnitState,
};

use super::device_tlb::DeviceTlb;
use super::guest_tables::GuestTables;
use super::host_state::{HostState, Invalidated};
use super::tap::Tap;
use super::{CacheFigures, HostCallFigures, Options, assigned_dma};
use crate::format::{FormatVersion, Header};
use crate::watched_memory::WatchedMemory;

/// What a DMA came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum DmaOutcome {
    Translated(Gpa, Granted),
    Refused,
}

/// A device that is attached.
struct Device {
    id: DeviceId,
    attachment: Attachment,
    /// That of an emulated device that an `endpoint` line names.
    tlb: Option<Arc<DeviceTlb>>,
}

impl Device {
    fn host_device(&self) -> Option<HostDevice> {
        match self.attachment {
            Attachment::Emulated => None,
            Attachment::Assigned(device) => Some(device),
        }
    }
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
    devices: BTreeMap<SourceId, Device>,
    handles: BTreeMap<(SourceId, Option<Pasid>), DmaHandle>,
    /// Devices that are host-backed because the replay was asked for it.
    wished: BTreeSet<SourceId>,
    /// The host of a device that the recording assigns shadows second-stage tables: version 1 of the format has no lines for it.
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
        let shadows = header.format_version >= FormatVersion::Two;
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
        // Time passes only where a line says so.
        config.device_tlb_patience = Duration::MAX;
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
            shadows,
            earlier: CacheFigures::default(),
        })
    }

    /// Steps until nothing is left; what the VMM would do with effects is not part of a recording.
    fn run(&self) {
        let _waiting_or_idle = self.unit.run();
        while self.unit.take_effect().is_some() {}
        let timed_out = std::mem::take(&mut self.tap.log().timed_out);
        for id in timed_out {
            self.device_tlbs().for_each(|tlb| tlb.give_up(id));
        }
    }

    fn device_tlbs(&self) -> impl Iterator<Item = &Arc<DeviceTlb>> {
        self.devices.values().filter_map(|device| device.tlb.as_ref())
    }

    pub(super) fn write(&self, offset: u64, size: u8, value: u64) {
        self.tap.host_state.write(offset, size, value);
        // GCMD and CCMD.
        if matches!(offset, 0x18 | 0x28 | 0x2c) {
            self.tap.forget_domains();
        }
        self.unit.write(offset, size, value);
        self.run();
        if let Some(invalidated) = self.invalidated_by(offset, size, value) {
            self.tap.invalidated_by_register(invalidated);
        }
    }

    /// What a write of CCMD or IOTLB, by its upper half or as a whole, has invalidated in legacy mode.
    fn invalidated_by(&self, offset: u64, size: u8, value: u64) -> Option<Invalidated> {
        let iotlb = (self.config.capabilities.ecap() >> 8 & 0x3ff) * 16 + 8;
        let begins = |register: u64| match size {
            8 => offset == register && value >> 63 == 1,
            _ => offset == register + 4 && value >> 31 == 1,
        };
        let scalable = self.unit.read(0x20, 8) >> 10 & 3 == 1;
        let register = [0x28, iotlb].into_iter().find(|register| begins(*register))?;
        let command = self.unit.read(register, 8);
        let done = command >> 63 == 0;
        if scalable || !done {
            return None;
        }
        let domain = |bits: u64| Some(DomainId(u16::try_from(bits & 0xffff).ok()?));
        // The granularity that was carried out: CAIG, IAIG.
        match register {
            0x28 => (command >> 59 & 3 == 1).then_some(Invalidated::Everything),
            _ => match command >> 57 & 3 {
                1 => Some(Invalidated::Translations(None, 0, u64::MAX)),
                2 => Some(Invalidated::Translations(domain(command >> 32), 0, u64::MAX)),
                3 => {
                    let address = self.tap.host_state.invalidate_address();
                    let pages = 1 << (address & 0x3f).min(51);
                    let first = (address >> 12) & !(pages - 1);
                    let domain = domain(command >> 32);
                    Some(Invalidated::Translations(domain, first, first + (pages - 1)))
                }
                _ => None,
            },
        }
    }

    pub(super) fn read(&self, offset: u64, size: u8) -> u64 {
        self.unit.read(offset, size)
    }

    pub(super) fn reset(&self) {
        self.tap.host_state.reset();
        self.tap.forget_domains();
        self.unit.reset(ResetKind::PowerOn);
        self.device_tlbs().for_each(|tlb| tlb.give_up_all());
        self.run();
    }

    /// Asked for several times, as many calls fail.
    pub(super) fn fail_next_host_call(&mut self) {
        let calls = self.failing.calls();
        self.last_failing = self.last_failing.max(calls) + 1;
        self.failing.fail_nth(self.last_failing - calls);
    }

    pub(super) fn is_assigned(&self, source_id: SourceId) -> bool {
        self.devices.get(&source_id).is_some_and(|device| device.host_device().is_some())
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
        let mut capabilities = HostCapabilities::everything();
        capabilities.shadowing = self.shadows;
        self.make_host_backed(source_id, capabilities)
    }

    fn make_host_backed(
        &mut self,
        source_id: SourceId,
        capabilities: HostCapabilities,
    ) -> Result<(), String> {
        let device = self.free_host_device(source_id);
        self.host.remove_device(device);
        self.host.add_device_with(device, capabilities);
        self.tap.host_state.assign(source_id, device);
        self.attach(source_id, Attachment::Assigned(device))
    }

    /// A name on the model host for a device that is attached with this source-id. One that was renumbered keeps the name that
    /// it was given, as one does whose release is under way, so the source-id alone may be taken.
    fn free_host_device(&self, source_id: SourceId) -> HostDevice {
        let views = self.unit.devices();
        let taken = |name: &HostDevice| {
            views.iter().any(|view| view.attachment == Attachment::Assigned(*name))
        };
        let names =
            (0..).map(|generation: u64| HostDevice(generation << 16 | u64::from(source_id.0)));
        names.into_iter().find(|name| !taken(name)).unwrap_or(HostDevice(u64::MAX))
    }

    pub(super) fn release(&mut self, source_id: SourceId) -> Result<(), String> {
        let device = self.devices.get(&source_id);
        let has_tlb = device.is_some_and(|device| device.tlb.is_some());
        if !has_tlb && (!self.is_assigned(source_id) || self.wished.contains(&source_id)) {
            return Err("it is not assigned".into());
        }
        self.detach(source_id);
        Ok(())
    }

    fn attach(&mut self, source_id: SourceId, attachment: Attachment) -> Result<(), String> {
        let id = self.unit.attach(source_id, attachment).map_err(|error| error.to_string())?;
        self.devices.insert(source_id, Device { id, attachment, tlb: None });
        self.run();
        Ok(())
    }

    fn detach(&mut self, source_id: SourceId) {
        if let Some(device) = self.devices.remove(&source_id) {
            self.tap.host_state.release(source_id);
            // It is attached, so a release can be asked for.
            let asked = self.unit.release(device.id);
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
                let source_id = SourceId(u16::try_from(device.0 & 0xffff).unwrap_or(u16::MAX));
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
        let (id, host_device) = self.appear(source_id)?;
        let outcome = match host_device {
            Some(host_device) => {
                self.assigned_dma((id, host_device), source_id, pasid, iova, access)
            }
            None => {
                let handle = self.handle(source_id, pasid)?;
                handle.with_guard(|guard| match guard.translate(iova, access) {
                    Ok(found) => DmaOutcome::Translated(found.address(), found.granted()),
                    Err(_) => DmaOutcome::Refused,
                })
            }
        };
        self.run();
        Ok(outcome)
    }

    /// A device that was not there before is an emulated one.
    fn appear(&mut self, source_id: SourceId) -> Result<(DeviceId, Option<HostDevice>), String> {
        if !self.is_attached(source_id) {
            self.attach(source_id, Attachment::Emulated)?;
        }
        let device = self.devices.get(&source_id).ok_or("it is not attached")?;
        Ok((device.id, device.host_device()))
    }

    /// A device whose requests come to the unit: one that is host-backed by wish alone is so no longer.
    fn emulate(&mut self, source_id: SourceId) -> Result<DeviceId, String> {
        if self.wished.contains(&source_id) {
            self.detach(source_id);
            // The recording knows of no host.
            self.tap.log().forget_host_calls(source_id);
            self.wished.remove(&source_id);
        }
        match self.appear(source_id)? {
            (id, None) => Ok(id),
            (_, Some(_)) => Err("it is assigned, so its device TLB is the host's".into()),
        }
    }

    fn handle(&mut self, source_id: SourceId, pasid: Option<Pasid>) -> Result<&DmaHandle, String> {
        let key = (source_id, pasid);
        if !self.handles.contains_key(&key) {
            let device = self.devices.get(&source_id).ok_or("it is not attached")?;
            let handle = self.unit.dma(device.id, pasid).map_err(|error| error.to_string())?;
            self.handles.insert(key, handle);
        }
        self.handles.get(&key).ok_or_else(|| "it has no handle".into())
    }

    pub(super) fn translation_request(
        &mut self,
        (source_id, pasid): (SourceId, Option<Pasid>),
        iova: Iova,
        request: TranslationRequest,
    ) -> Result<Result<Completion, DmaError>, String> {
        self.emulate(source_id)?;
        let handle = self.handle(source_id, pasid)?;
        let answer = handle.with_guard(|guard| guard.translation_request(iova, request));
        self.run();
        Ok(answer)
    }

    pub(super) fn translated_request(
        &mut self,
        (source_id, pasid): (SourceId, Option<Pasid>),
        address: Gpa,
        access: Access,
    ) -> Result<Result<Gpa, DmaError>, String> {
        self.emulate(source_id)?;
        let handle = self.handle(source_id, pasid)?;
        let answer = handle.with_guard(|guard| guard.translated(address, access));
        self.run();
        Ok(answer)
    }

    /// From here on the device has a device TLB. One that it had before is told again what it has not answered.
    pub(super) fn give_device_tlb(
        &mut self,
        source_id: SourceId,
        later: bool,
    ) -> Result<(), String> {
        let id = self.emulate(source_id)?;
        let device = self.devices.get_mut(&source_id).ok_or("it is not attached")?;
        let tlb = device.tlb.get_or_insert_default();
        tlb.answer_later(later);
        let tlb = Arc::clone(tlb);
        self.unit.set_endpoint(id, tlb).map_err(|error| error.to_string())?;
        self.run();
        Ok(())
    }

    fn device_tlb(&self, source_id: SourceId) -> Result<(DeviceId, &DeviceTlb), String> {
        let device = self.devices.get(&source_id);
        let found = device.and_then(|device| Some((device.id, device.tlb.as_deref()?)));
        found.ok_or_else(|| "no `endpoint` line names it".into())
    }

    pub(super) fn device_tlb_done(&mut self, source_id: SourceId) -> Result<(), String> {
        let (id, tlb) = self.device_tlb(source_id)?;
        let answered = self.unit.device_tlb_invalidated(id, tlb.take_oldest());
        answered.map_err(|error| error.to_string())?;
        self.run();
        Ok(())
    }

    pub(super) fn device_tlb_time_is_up(&mut self, source_id: SourceId) -> Result<(), String> {
        let (id, _) = self.device_tlb(source_id)?;
        self.unit.expire_device_tlb(id).map_err(|error| error.to_string())?;
        self.run();
        Ok(())
    }

    /// What becomes of the request is told by outputs.
    pub(super) fn page_request(&mut self, request: PageRequest) -> Result<(), String> {
        let (id, _) = self.appear(request.source_id)?;
        let _queued_or_refused = self.unit.page_request(id, request);
        self.run();
        Ok(())
    }

    pub(super) fn interrupt_request(
        &self,
        source_id: SourceId,
        address: u64,
        data: u32,
    ) -> Result<RemappedInterrupt, InterruptError> {
        let answer = self.unit.remap_interrupt(source_id, address, data);
        self.run();
        answer
    }

    pub(super) fn renumber(&mut self, source_id: SourceId, new: SourceId) -> Result<(), String> {
        let (id, _) = self.appear(source_id)?;
        if source_id == new {
            return Ok(());
        }
        // An emulated device without a device TLB leaves without a line.
        let in_the_way = self.devices.get(&new);
        if in_the_way.is_some_and(|device| device.host_device().is_none() && device.tlb.is_none()) {
            self.detach(new);
        }
        self.unit.renumber(id, new).map_err(|error| error.to_string())?;
        if let Some(device) = self.devices.remove(&source_id) {
            self.devices.insert(new, device);
        }
        if self.wished.remove(&source_id) {
            self.wished.insert(new);
        }
        let handles = std::mem::take(&mut self.handles).into_iter();
        let renumbered = |owner| if owner == source_id { new } else { owner };
        self.handles =
            handles.map(|((owner, pasid), handle)| ((renumbered(owner), pasid), handle)).collect();
        self.tap.renumber(source_id, new);
        self.run();
        Ok(())
    }

    fn assigned_dma(
        &self,
        (device, host_device): (DeviceId, HostDevice),
        source_id: SourceId,
        pasid: Option<Pasid>,
        iova: Iova,
        access: Access,
    ) -> DmaOutcome {
        let memory = WatchedMemory { memory: &*self.memory, watch: &*self.tap };
        let caps = &self.config.capabilities;
        let root = self.unit.root_table();
        let (holder, request) = ((&*self.host, host_device), (iova, access));
        match assigned_dma::answer(holder, &memory, caps, root, (source_id, pasid), request) {
            Ok((address, granted)) => DmaOutcome::Translated(address, granted),
            Err(reason) => {
                let slot = pasid.map_or(Slot::Rid, Slot::Pasid);
                if let Some(reason) = reason {
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
        for device in self.devices.values() {
            if let Some(tlb) = &device.tlb {
                let named = self.unit.set_endpoint(device.id, Arc::clone(tlb) as _);
                named.map_err(|error| error.to_string())?;
            }
        }
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
            map: counts.map,
            unmap: counts.unmap,
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
