//! One host under one check: the calls with what their answers must be.

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use vtd_spec::table::{SecondStage, SecondStageLevels};
use vtd_spec::{Binding, FirstStage, FirstStageLevels, Gpa, Slot};

use super::Fixture;
use crate::{
    HostCapabilities, HostDevice, HostError, HostErrorKind, HostIommu, StageOneInvalidation,
};

/// Why a check ends early.
pub(super) enum Stop {
    /// The host lacks what the check is about.
    Skipped(&'static str),
    /// An answer was wrong.
    Failed { expectation: String, error: Option<HostError> },
}

/// A fresh host, and what it can hold for the device of the check.
pub(super) struct Trial {
    pub(super) fixture: Fixture,
    pub(super) capabilities: HostCapabilities,
}

impl Trial {
    pub(super) fn new(fixture: Fixture) -> Result<Self, Stop> {
        let capabilities =
            must("capabilities of a device", fixture.host.capabilities(fixture.device))?;
        Ok(Self { fixture, capabilities })
    }

    pub(super) fn host(&self) -> &dyn HostIommu {
        &*self.fixture.host
    }

    /// The device that most checks use.
    pub(super) fn device(&self) -> HostDevice {
        self.fixture.device
    }

    /// The bindings that are worth telling apart, supported or not; those that most hosts have come first.
    pub(super) fn bindings(&self) -> Vec<Binding> {
        let [table, other_table] = self.fixture.tables;
        let plain = |table, levels| FirstStage {
            table,
            levels,
            supervisor: false,
            write_protect: false,
            extended_accessed: false,
        };
        let mut all = Vec::from([Binding::PassThrough]);
        for levels in [FirstStageLevels::Four, FirstStageLevels::Five] {
            all.push(Binding::FirstStage(plain(table, levels)));
            all.push(Binding::FirstStage(plain(other_table, levels)));
            for (supervisor, write_protect, extended_accessed) in [
                (true, false, false),
                (true, true, false),
                (false, false, true),
                (true, true, true),
            ] {
                let flags = FirstStage {
                    supervisor,
                    write_protect,
                    extended_accessed,
                    ..plain(table, levels)
                };
                all.push(Binding::FirstStage(flags));
            }
        }
        for table in self.fixture.tables {
            let levels = SecondStageLevels::Four;
            let stage = SecondStage { table, levels, accessed_dirty: false };
            all.push(Binding::SecondStage(stage));
        }
        all
    }

    /// A second-stage binding, where the host shadows.
    pub(super) fn second_stage(&self) -> Result<Binding, Stop> {
        let second = |binding: &Binding| matches!(binding, Binding::SecondStage(_));
        let found = self.supported_bindings().into_iter().find(second);
        found.ok_or(Stop::Skipped("the host does not shadow second-stage tables"))
    }

    pub(super) fn supported_bindings(&self) -> Vec<Binding> {
        self.bindings_of_support(true)
    }

    pub(super) fn unsupported_bindings(&self) -> Vec<Binding> {
        self.bindings_of_support(false)
    }

    fn bindings_of_support(&self, supported: bool) -> Vec<Binding> {
        let mut bindings = self.bindings();
        bindings.retain(|binding| self.capabilities.supports(binding, Slot::Rid) == supported);
        bindings
    }

    /// A binding that the host can hold.
    pub(super) fn binding(&self) -> Result<Binding, Stop> {
        self.supported_bindings()
            .first()
            .copied()
            .ok_or(Stop::Skipped("the host can hold no binding"))
    }

    /// A first-stage binding that the host can hold.
    pub(super) fn first_stage(&self) -> Result<Binding, Stop> {
        self.first_stage_at(|table| table)
    }

    /// A binding whose table is not 4 KiB aligned, where the host could hold the aligned one.
    pub(super) fn misaligned(&self) -> Result<Binding, Stop> {
        self.first_stage_at(|table| Gpa(table.0 | 8))
    }

    fn first_stage_at(&self, place: impl Fn(Gpa) -> Gpa) -> Result<Binding, Stop> {
        self.supported_bindings()
            .iter()
            .find_map(|binding| match binding {
                Binding::FirstStage(stage) => {
                    let table = place(stage.table);
                    Some(Binding::FirstStage(FirstStage { table, ..*stage }))
                }
                _ => None,
            })
            .ok_or(Stop::Skipped("the host can hold no first-stage table"))
    }

    /// The slots of a device that can be bound at once: that of requests without PASID, and as many of the fixture's PASIDs
    /// as the host has room for.
    pub(super) fn slots(&self) -> Vec<Slot> {
        let room = usize::try_from(self.capabilities.pasids).unwrap_or(usize::MAX);
        let pasids = self.fixture.pasids.into_iter().map(Slot::Pasid).take(room);
        core::iter::once(Slot::Rid).chain(pasids).collect()
    }

    pub(super) fn binds(
        &self,
        device: HostDevice,
        slot: Slot,
        binding: &Binding,
    ) -> Result<(), Stop> {
        must(
            &format!("bind of {binding} to the free slot {slot} of {device}"),
            self.host().bind(device, slot, binding),
        )
    }

    pub(super) fn replaces(
        &self,
        device: HostDevice,
        slot: Slot,
        binding: &Binding,
    ) -> Result<(), Stop> {
        must(
            &format!("replace by {binding} in the bound slot {slot} of {device}"),
            self.host().replace(device, slot, binding),
        )
    }

    pub(super) fn unbinds(&self, device: HostDevice, slot: Slot) -> Result<(), Stop> {
        must(
            &format!("unbind of the bound slot {slot} of {device}"),
            self.host().unbind(device, slot),
        )
    }

    pub(super) fn refuses_bind(
        &self,
        device: HostDevice,
        slot: Slot,
        binding: &Binding,
        kind: HostErrorKind,
    ) -> Result<(), Stop> {
        must_refuse(
            &format!("bind of {binding} to slot {slot} of {device}"),
            self.host().bind(device, slot, binding),
            kind,
        )
    }

    pub(super) fn refuses_replace(
        &self,
        device: HostDevice,
        slot: Slot,
        binding: &Binding,
        kind: HostErrorKind,
    ) -> Result<(), Stop> {
        must_refuse(
            &format!("replace by {binding} in slot {slot} of {device}"),
            self.host().replace(device, slot, binding),
            kind,
        )
    }

    pub(super) fn refuses_unbind(
        &self,
        device: HostDevice,
        slot: Slot,
        kind: HostErrorKind,
    ) -> Result<(), Stop> {
        must_refuse(
            &format!("unbind of slot {slot} of {device}"),
            self.host().unbind(device, slot),
            kind,
        )
    }

    pub(super) fn invalidates(
        &self,
        device: HostDevice,
        slot: Slot,
        batch: &[StageOneInvalidation],
    ) -> Result<(), Stop> {
        must(
            &format!("{} invalidations in slot {slot} of {device}", batch.len()),
            self.host().invalidate(device, slot, batch).map_err(|failed| failed.error),
        )
    }

    /// The batch is done up to the entry at `handled`, and no further.
    pub(super) fn stops_invalidating(
        &self,
        device: HostDevice,
        slot: Slot,
        batch: &[StageOneInvalidation],
        handled: usize,
    ) -> Result<HostErrorKind, Stop> {
        let what = format!(
            "{} invalidations in slot {slot} of {device} must stop after {handled}",
            batch.len()
        );
        match self.host().invalidate(device, slot, batch) {
            Err(failed) if failed.handled == handled => Ok(failed.error.kind),
            Err(failed) => Err(Stop::Failed {
                expectation: format!("{what}, but {} were done", failed.handled),
                error: Some(failed.error),
            }),
            Ok(()) => {
                Err(Stop::Failed { expectation: format!("{what}, but succeeded"), error: None })
            }
        }
    }

    /// The slot holds something: nothing else can be bound to it.
    pub(super) fn holds(&self, device: HostDevice, slot: Slot) -> Result<(), Stop> {
        self.refuses_bind(device, slot, &self.binding()?, HostErrorKind::AlreadyBound)
    }

    /// The slot holds nothing: there is nothing to remove.
    pub(super) fn is_free(&self, device: HostDevice, slot: Slot) -> Result<(), Stop> {
        self.refuses_unbind(device, slot, HostErrorKind::NotBound)
    }
}

/// The call succeeds.
pub(super) fn must<T>(call: &str, answer: Result<T, HostError>) -> Result<T, Stop> {
    answer.map_err(|error| Stop::Failed {
        expectation: format!("{call} must succeed"),
        error: Some(error),
    })
}

/// The call fails, and for this reason.
pub(super) fn must_refuse<T>(
    call: &str,
    answer: Result<T, HostError>,
    kind: HostErrorKind,
) -> Result<(), Stop> {
    match answer {
        Err(error) if error.kind == kind => Ok(()),
        Err(error) => Err(Stop::Failed {
            expectation: format!("{call} must fail with {kind:?}, not {:?}", error.kind),
            error: Some(error),
        }),
        Ok(_) => Err(Stop::Failed {
            expectation: format!("{call} must fail with {kind:?}, but succeeded"),
            error: None,
        }),
    }
}
