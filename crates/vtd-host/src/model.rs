//! A host without hardware.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::vec::Vec;

use vtd_spec::descriptor::PageGroupResponse;
use vtd_spec::{Binding, Gpa, Iova, Slot};

use crate::address_space::AddressSpace;
use crate::{
    HostCapabilities, HostDevice, HostError, HostErrorKind, HostIommu, InvalidateError, Mapping,
    Permission, StageOneInvalidation,
};

/// A host without hardware: it keeps what a real one would hold, refuses every illegal call, and can be asked what it holds.
///
/// For tests of a unit, whose bindings it shows, and as the simplest thing that passes [`conformance`](crate::conformance).
/// Devices are added and removed by name; a device that was added holds nothing. It allocates no PASIDs.
/// Page group responses are kept to be looked at.
#[derive(Debug)]
pub struct ModelHost {
    capabilities: HostCapabilities,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    devices: BTreeMap<HostDevice, HostCapabilities>,
    bindings: BTreeMap<(HostDevice, Slot), Binding>,
    /// Of the slots that hold a shadowed second-stage table and have something mapped.
    spaces: BTreeMap<(HostDevice, Slot), AddressSpace>,
    responses: VecDeque<(HostDevice, PageGroupResponse)>,
    counts: CallCounts,
}

/// How often a [`ModelHost`] was called. Refused calls count as calls too.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct CallCounts {
    /// Calls of [`HostIommu::bind`].
    pub bind: u64,
    /// Calls of [`HostIommu::replace`].
    pub replace: u64,
    /// Calls of [`HostIommu::unbind`].
    pub unbind: u64,
    /// Calls of [`HostIommu::invalidate`].
    pub invalidate: u64,
    /// Calls of [`HostIommu::map`].
    pub map: u64,
    /// Calls of [`HostIommu::unmap`].
    pub unmap: u64,
    /// How many of all these calls were refused.
    pub refused: u64,
    /// Entries of invalidation batches that were done.
    pub invalidations: u64,
    /// Calls of [`HostIommu::respond`].
    pub respond: u64,
}

/// How many page group responses are kept until they are taken; the oldest go first.
const RESPONSES: usize = 4_096;

impl ModelHost {
    /// A host without devices that can hold every binding there is.
    #[must_use]
    pub fn new() -> Self {
        Self::with_capabilities(HostCapabilities::everything())
    }

    /// A host without devices that can hold what `capabilities` say, for each of them.
    #[must_use]
    pub fn with_capabilities(capabilities: HostCapabilities) -> Self {
        Self { capabilities, state: Mutex::default() }
    }

    /// Adds a device with the host's capabilities; one that is there stays as it is.
    pub fn add_device(&self, device: HostDevice) {
        self.add_device_with(device, self.capabilities);
    }

    /// Adds a device with capabilities of its own; one that is there stays as it is.
    pub fn add_device_with(&self, device: HostDevice, capabilities: HostCapabilities) {
        self.state().devices.entry(device).or_insert(capabilities);
    }

    /// Removes a device and all that it holds, as when it is unplugged. Whether it was there.
    pub fn remove_device(&self, device: HostDevice) -> bool {
        let mut state = self.state();
        state.bindings.retain(|(holder, _), _| *holder != device);
        state.spaces.retain(|(holder, _), _| *holder != device);
        state.devices.remove(&device).is_some()
    }

    /// What a slot holds.
    #[must_use]
    pub fn binding(&self, device: HostDevice, slot: Slot) -> Option<Binding> {
        self.state().bindings.get(&(device, slot)).copied()
    }

    /// All that is held, in the order of devices and slots.
    #[must_use]
    pub fn bindings(&self) -> Vec<(HostDevice, Slot, Binding)> {
        let state = self.state();
        state.bindings.iter().map(|((device, slot), binding)| (*device, *slot, *binding)).collect()
    }

    /// What is mapped for a slot, in the order of input addresses.
    #[must_use]
    pub fn mappings(&self, device: HostDevice, slot: Slot) -> Vec<Mapping> {
        let state = self.state();
        state.spaces.get(&(device, slot)).map(AddressSpace::mappings).unwrap_or_default()
    }

    /// Where an address leads that is mapped for a slot, and what is granted there.
    #[must_use]
    pub fn translate(
        &self,
        device: HostDevice,
        slot: Slot,
        iova: Iova,
    ) -> Option<(Gpa, Permission)> {
        self.state().spaces.get(&(device, slot))?.translate(iova)
    }

    /// The page group responses since they were last taken, in order; of more than 4,096 the last.
    pub fn take_responses(&self) -> Vec<(HostDevice, PageGroupResponse)> {
        self.state().responses.drain(..).collect()
    }

    /// How often the host was called so far.
    #[must_use]
    pub fn call_counts(&self) -> CallCounts {
        self.state().counts
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Default for ModelHost {
    fn default() -> Self {
        Self::new()
    }
}

impl State {
    fn device(&self, device: HostDevice) -> Result<&HostCapabilities, HostErrorKind> {
        self.devices.get(&device).ok_or(HostErrorKind::NoSuchDevice)
    }

    /// The device is there and its slot holds something.
    fn held(&self, device: HostDevice, slot: Slot) -> Result<&Binding, HostErrorKind> {
        self.device(device)?;
        self.bindings.get(&(device, slot)).ok_or(HostErrorKind::NotBound)
    }

    /// The device can hold such a binding.
    fn fits(&self, device: HostDevice, slot: Slot, binding: &Binding) -> Result<(), HostErrorKind> {
        if !self.device(device)?.supports(binding, slot) {
            return Err(HostErrorKind::NotSupported);
        }
        match binding {
            Binding::FirstStage(stage) if stage.table != stage.table.page() => {
                Err(HostErrorKind::Refused)
            }
            Binding::SecondStage(stage) if stage.table != stage.table.page() => {
                Err(HostErrorKind::Refused)
            }
            _ => Ok(()),
        }
    }

    /// The device has room for one more PASID.
    fn has_room(&self, device: HostDevice, slot: Slot) -> Result<(), HostErrorKind> {
        let limit = usize::try_from(self.device(device)?.pasids).unwrap_or(usize::MAX);
        let bound = || {
            self.bindings
                .range((device, Slot::Rid)..)
                .take_while(|((holder, _), _)| *holder == device)
                .filter(|((_, slot), _)| *slot != Slot::Rid)
                .count()
        };
        if slot != Slot::Rid && bound() >= limit { Err(HostErrorKind::NoSpace) } else { Ok(()) }
    }

    fn bind(
        &mut self,
        device: HostDevice,
        slot: Slot,
        binding: &Binding,
    ) -> Result<(), HostErrorKind> {
        match self.held(device, slot) {
            Ok(_) => return Err(HostErrorKind::AlreadyBound),
            Err(HostErrorKind::NotBound) => {}
            Err(kind) => return Err(kind),
        }
        self.fits(device, slot, binding)?;
        self.has_room(device, slot)?;
        self.bindings.insert((device, slot), *binding);
        Ok(())
    }

    fn replace(
        &mut self,
        device: HostDevice,
        slot: Slot,
        binding: &Binding,
    ) -> Result<(), HostErrorKind> {
        self.held(device, slot)?;
        self.fits(device, slot, binding)?;
        self.spaces.remove(&(device, slot));
        self.bindings.insert((device, slot), *binding);
        Ok(())
    }

    fn unbind(&mut self, device: HostDevice, slot: Slot) -> Result<(), HostErrorKind> {
        self.held(device, slot)?;
        self.spaces.remove(&(device, slot));
        self.bindings.remove(&(device, slot));
        Ok(())
    }

    /// The mappings of a slot that holds a second-stage table.
    fn space(
        &mut self,
        device: HostDevice,
        slot: Slot,
    ) -> Result<&mut AddressSpace, HostErrorKind> {
        if !self.device(device)?.shadowing {
            return Err(HostErrorKind::NotSupported);
        }
        match self.held(device, slot)? {
            Binding::SecondStage(_) => Ok(self.spaces.entry((device, slot)).or_default()),
            _ => Err(HostErrorKind::Refused),
        }
    }

    fn map(
        &mut self,
        device: HostDevice,
        slot: Slot,
        mapping: &Mapping,
    ) -> Result<(), HostErrorKind> {
        self.space(device, slot)?.map(mapping)
    }

    fn unmap(
        &mut self,
        device: HostDevice,
        slot: Slot,
        first: Iova,
        pages: u64,
    ) -> Result<(), HostErrorKind> {
        let cuts = self.device(device)?.unmap_cuts;
        self.space(device, slot)?.unmap(first, pages, cuts)
    }

    /// How many entries are done before the first that is not, and why it is not.
    fn invalidate(
        &mut self,
        device: HostDevice,
        slot: Slot,
        batch: &[StageOneInvalidation],
    ) -> Result<(), (usize, HostErrorKind)> {
        match self.held(device, slot) {
            Ok(Binding::FirstStage(_)) => {}
            Ok(_) => return Err((0, HostErrorKind::Refused)),
            Err(kind) => return Err((0, kind)),
        }
        for (handled, invalidation) in batch.iter().enumerate() {
            if !invalidation.range.is_canonical() {
                return Err((handled, HostErrorKind::Refused));
            }
            self.counts.invalidations += 1;
        }
        Ok(())
    }
}

impl State {
    fn respond(
        &mut self,
        device: HostDevice,
        response: &PageGroupResponse,
    ) -> Result<(), HostErrorKind> {
        self.device(device)?;
        if self.responses.len() == RESPONSES {
            self.responses.pop_front();
        }
        self.responses.push_back((device, *response));
        Ok(())
    }
}

impl CallCounts {
    /// Counts the answer to a call that was counted before.
    fn answered<T, E>(&mut self, answer: &Result<T, E>) {
        self.refused += u64::from(answer.is_err());
    }
}

impl HostIommu for ModelHost {
    fn capabilities(&self, device: HostDevice) -> Result<HostCapabilities, HostError> {
        Ok(*self.state().device(device)?)
    }

    fn bind(&self, device: HostDevice, slot: Slot, binding: &Binding) -> Result<(), HostError> {
        let mut state = self.state();
        state.counts.bind += 1;
        let answer = state.bind(device, slot, binding);
        state.counts.answered(&answer);
        Ok(answer?)
    }

    fn replace(&self, device: HostDevice, slot: Slot, binding: &Binding) -> Result<(), HostError> {
        let mut state = self.state();
        state.counts.replace += 1;
        let answer = state.replace(device, slot, binding);
        state.counts.answered(&answer);
        Ok(answer?)
    }

    fn unbind(&self, device: HostDevice, slot: Slot) -> Result<(), HostError> {
        let mut state = self.state();
        state.counts.unbind += 1;
        let answer = state.unbind(device, slot);
        state.counts.answered(&answer);
        Ok(answer?)
    }

    fn invalidate(
        &self,
        device: HostDevice,
        slot: Slot,
        batch: &[StageOneInvalidation],
    ) -> Result<(), InvalidateError> {
        let mut state = self.state();
        state.counts.invalidate += 1;
        let answer = state.invalidate(device, slot, batch);
        state.counts.answered(&answer);
        answer.map_err(|(handled, kind)| InvalidateError { handled, error: kind.into() })
    }

    fn map(&self, device: HostDevice, slot: Slot, mapping: &Mapping) -> Result<(), HostError> {
        let mut state = self.state();
        state.counts.map += 1;
        let answer = state.map(device, slot, mapping);
        state.counts.answered(&answer);
        Ok(answer?)
    }

    fn unmap(
        &self,
        device: HostDevice,
        slot: Slot,
        first: Iova,
        pages: u64,
    ) -> Result<(), HostError> {
        let mut state = self.state();
        state.counts.unmap += 1;
        let answer = state.unmap(device, slot, first, pages);
        state.counts.answered(&answer);
        Ok(answer?)
    }

    fn respond(&self, device: HostDevice, response: &PageGroupResponse) -> Result<(), HostError> {
        let mut state = self.state();
        state.counts.respond += 1;
        let answer = state.respond(device, response);
        state.counts.answered(&answer);
        Ok(answer?)
    }
}
