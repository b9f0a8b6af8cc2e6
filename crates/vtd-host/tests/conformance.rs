//! The suite passes hosts that keep the contract, and names the check that catches each that does not.

#![cfg(feature = "std")]

use std::sync::Arc;

use vtd_host::conformance::{self, Failure, Fixture, Report};
use vtd_host::{
    FailingHost, HostCapabilities, HostDevice, HostError, HostErrorKind, HostIommu,
    InvalidateError, Mapping, ModelHost, StageOneInvalidation,
};
use vtd_spec::descriptor::PageGroupResponse;
use vtd_spec::{Binding, Iova, Pasid, Slot};

const DEVICE: HostDevice = HostDevice(1);
const OTHER: HostDevice = HostDevice(2);
const ABSENT: HostDevice = HostDevice(3);

fn model(capabilities: HostCapabilities) -> ModelHost {
    let host = ModelHost::with_capabilities(capabilities);
    host.add_device(DEVICE);
    host.add_device(OTHER);
    host
}

fn check<H: HostIommu + 'static>(host: impl Fn() -> H) -> Result<Report, Failure> {
    conformance::run(&mut || Fixture::new(host(), DEVICE, OTHER, ABSENT))
}

fn four_levels_only() -> HostCapabilities {
    let mut capabilities = HostCapabilities::none();
    capabilities.first_stage_four = true;
    capabilities.pasids = 2;
    capabilities
}

const NOTHING_LACKS: &str = "what_the_capabilities_lack_is_not_supported";

/// The checks of a host that shadows.
const MAPPINGS: [&str; 4] = [
    "mappings_need_a_second_stage_binding",
    "pages_are_mapped_once",
    "unmapped_pages_can_be_mapped_again",
    "a_new_binding_begins_with_nothing_mapped",
];

// feature: 7.conformance suite for host backends
#[test]
fn the_model_passes_whatever_it_can_hold() {
    let mut without_pasids = HostCapabilities::everything();
    without_pasids.pasids = 0;
    let mut one_pasid = HostCapabilities::everything();
    one_pasid.pasids = 1;
    let mut pass_through = HostCapabilities::none();
    pass_through.pass_through = true;
    // (capabilities; how many checks pass, and which are skipped)
    let table: [(HostCapabilities, usize, &[&str]); 5] = [
        (
            HostCapabilities::everything(),
            21,
            &[
                "unsupported_bindings_are_refused_and_bind_nothing",
                "pasids_are_limited",
                NOTHING_LACKS,
            ],
        ),
        (four_levels_only(), 20, &MAPPINGS),
        (one_pasid, 22, &["unsupported_bindings_are_refused_and_bind_nothing", NOTHING_LACKS]),
        (
            without_pasids,
            20,
            &[
                "slots_are_independent",
                "rid_and_pasid_zero_are_two_slots",
                "pasids_are_limited",
                NOTHING_LACKS,
            ],
        ),
        (
            pass_through,
            14,
            &[
                "slots_are_independent",
                "rid_and_pasid_zero_are_two_slots",
                "misaligned_table_is_refused_and_binds_nothing",
                "pasids_are_limited",
                "empty_batch_is_done",
                "invalidations_are_done_in_order",
                MAPPINGS[0],
                MAPPINGS[1],
                MAPPINGS[2],
                MAPPINGS[3],
            ],
        ),
    ];
    for (capabilities, passed, skipped) in table {
        let report = check(|| model(capabilities)).unwrap();
        let names: Vec<_> = report.skipped.iter().map(|skip| skip.check).collect();
        assert_eq!((report.passed.len(), &names[..]), (passed, skipped));
    }
}

#[test]
fn a_host_that_can_hold_nothing_passes_what_is_left() {
    let report = check(|| model(HostCapabilities::none())).unwrap();
    assert_eq!(
        report.passed,
        [
            "replace_of_nothing_is_refused_and_binds_nothing",
            "invalidation_of_nothing_is_refused",
            "what_the_capabilities_lack_is_not_supported",
            "responses_for_an_absent_device_are_refused"
        ]
    );
    assert!(report.skipped.iter().all(|skip| skip.reason.starts_with("the host")));
}

#[test]
fn a_failing_host_that_does_not_fail_passes() {
    let expected = check(|| model(four_levels_only())).unwrap();
    for report in [
        check(|| FailingHost::new(model(four_levels_only()))),
        check(|| Arc::new(model(four_levels_only()))),
        check(|| Box::new(model(four_levels_only())) as Box<dyn HostIommu>),
    ] {
        assert_eq!(report.unwrap(), expected);
    }
}

#[test]
fn a_host_without_pasid_zero_passes() {
    check(|| Broken { flaw: Flaw::LacksPasidZero, host: model(four_levels_only()) }).unwrap();
}

/// What is wrong with a [`Broken`] host.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Flaw {
    LacksPasidZero,
    FailsEveryBind,
    BindReplaces,
    UnbindOfNothingSucceeds,
    ReplaceOfNothingBinds,
    ReplaceOfNothingRefusedButBinds,
    UnbindKeeps,
    ReplaceRemoves,
    AbsentIsNotBound,
    AbsentHasCapabilities,
    ForgetsTheSlot,
    PasidZeroIsRid,
    ForgetsTheDevice,
    RefusesSomeReplace,
    AcceptsUnsupported,
    AcceptsMisaligned,
    FailedBindHolds,
    FailedReplaceRemoves,
    IgnoresTheLimit,
    MapsWithoutABinding,
    MapsTwice,
    UnmapKeeps,
    KeepsMappings,
    InvalidatesNothing,
    RefusesEmptyBatch,
    SaysNothingHandled,
    SaysOneMoreHandled,
    GoesOnAfterAFailure,
    InvalidationRemoves,
    UnmapsThoughUnsupported,
    AnswersForAbsentDevices,
    RespondsWithNoRoom,
}

/// A host with one flaw, in front of a model.
struct Broken {
    flaw: Flaw,
    host: ModelHost,
}

impl Broken {
    /// The place that the host mistakes for the one it was given.
    fn place(&self, device: HostDevice, slot: Slot) -> (HostDevice, Slot) {
        match (self.flaw, device, slot) {
            (Flaw::ForgetsTheSlot, _, _) => (device, Slot::Rid),
            (Flaw::PasidZeroIsRid, _, Slot::Pasid(Pasid::ZERO)) => (device, Slot::Rid),
            (Flaw::ForgetsTheDevice, OTHER, _) => (DEVICE, slot),
            _ => (device, slot),
        }
    }

    /// A binding that the model behind takes in place of one that it should refuse.
    fn smuggled(&self, binding: &Binding) -> Binding {
        match (self.flaw, binding) {
            (Flaw::AcceptsMisaligned, Binding::FirstStage(stage)) => {
                let mut stage = *stage;
                stage.table = stage.table.page();
                Binding::FirstStage(stage)
            }
            _ => *binding,
        }
    }

    fn mistakes(&self, error: HostError) -> HostError {
        match (self.flaw, error.kind) {
            (Flaw::AbsentIsNotBound, HostErrorKind::NoSuchDevice) => HostErrorKind::NotBound.into(),
            _ => error,
        }
    }
}

impl HostIommu for Broken {
    fn capabilities(&self, device: HostDevice) -> Result<HostCapabilities, HostError> {
        match self.flaw {
            Flaw::AbsentHasCapabilities => Ok(four_levels_only()),
            // What it says is less than what the model behind takes.
            Flaw::AcceptsUnsupported => self.host.capabilities(device).map(|_| four_levels_only()),
            Flaw::IgnoresTheLimit => self.host.capabilities(device).map(|all| {
                let mut limited = all;
                limited.pasids = 2;
                limited
            }),
            _ => self.host.capabilities(device),
        }
    }

    fn bind(&self, device: HostDevice, slot: Slot, binding: &Binding) -> Result<(), HostError> {
        if self.flaw == Flaw::LacksPasidZero && slot == Slot::Pasid(Pasid::ZERO) {
            return Err(HostErrorKind::NotSupported.into());
        }
        if self.flaw == Flaw::FailsEveryBind {
            return Err(HostErrorKind::Other.into());
        }
        let (device, slot) = self.place(device, slot);
        let answer = self.host.bind(device, slot, &self.smuggled(binding));
        match (self.flaw, answer) {
            (Flaw::BindReplaces, Err(error)) if error.kind == HostErrorKind::AlreadyBound => {
                self.host.replace(device, slot, binding)
            }
            (Flaw::FailedBindHolds, Err(error)) => {
                if let Binding::FirstStage(stage) = binding {
                    let mut aligned = *stage;
                    aligned.table = aligned.table.page();
                    let _ = self.host.bind(device, slot, &Binding::FirstStage(aligned));
                }
                Err(error)
            }
            (_, answer) => answer.map_err(|error| self.mistakes(error)),
        }
    }

    fn replace(&self, device: HostDevice, slot: Slot, binding: &Binding) -> Result<(), HostError> {
        let (device, slot) = self.place(device, slot);
        if self.flaw == Flaw::RefusesSomeReplace
            && matches!(self.host.binding(device, slot), Some(Binding::FirstStage(_)))
            && *binding == Binding::PassThrough
        {
            return Err(HostErrorKind::Refused.into());
        }
        if self.flaw == Flaw::KeepsMappings && self.host.binding(device, slot) == Some(*binding) {
            return Ok(());
        }
        let answer = self.host.replace(device, slot, &self.smuggled(binding));
        let unbound = matches!(&answer, Err(error) if error.kind == HostErrorKind::NotBound);
        match self.flaw {
            Flaw::ReplaceOfNothingBinds if unbound => self.host.bind(device, slot, binding),
            Flaw::ReplaceOfNothingRefusedButBinds if unbound => {
                self.host.bind(device, slot, binding)?;
                answer
            }
            Flaw::ReplaceRemoves if answer.is_ok() => self.host.unbind(device, slot),
            Flaw::FailedReplaceRemoves if answer.is_err() && !unbound => {
                let _ = self.host.unbind(device, slot);
                answer
            }
            _ => answer.map_err(|error| self.mistakes(error)),
        }
    }

    fn unbind(&self, device: HostDevice, slot: Slot) -> Result<(), HostError> {
        let (device, slot) = self.place(device, slot);
        match self.flaw {
            Flaw::UnbindKeeps if self.host.binding(device, slot).is_some() => Ok(()),
            Flaw::UnbindOfNothingSucceeds if self.host.binding(device, slot).is_none() => Ok(()),
            _ => self.host.unbind(device, slot).map_err(|error| self.mistakes(error)),
        }
    }

    fn invalidate(
        &self,
        device: HostDevice,
        slot: Slot,
        batch: &[StageOneInvalidation],
    ) -> Result<(), InvalidateError> {
        let (device, slot) = self.place(device, slot);
        let unbound = self.host.binding(device, slot).is_none();
        let answer = self.host.invalidate(device, slot, batch);
        match (self.flaw, answer) {
            (Flaw::InvalidatesNothing, _) if unbound && device != ABSENT => Ok(()),
            (Flaw::RefusesEmptyBatch, Ok(())) if batch.is_empty() => {
                Err(InvalidateError { handled: 0, error: HostErrorKind::Refused.into() })
            }
            (Flaw::SaysNothingHandled, Err(failed)) => {
                Err(InvalidateError { handled: 0, ..failed })
            }
            (Flaw::SaysOneMoreHandled, Err(failed)) if !unbound => {
                Err(InvalidateError { handled: failed.handled + 1, ..failed })
            }
            (Flaw::GoesOnAfterAFailure, Err(_)) if !unbound => Ok(()),
            (Flaw::InvalidationRemoves, Ok(())) if !batch.is_empty() => {
                let _ = self.host.unbind(device, slot);
                Ok(())
            }
            (_, answer) => answer
                .map_err(|failed| InvalidateError { error: self.mistakes(failed.error), ..failed }),
        }
    }

    fn map(&self, device: HostDevice, slot: Slot, mapping: &Mapping) -> Result<(), HostError> {
        let (device, slot) = self.place(device, slot);
        match (self.flaw, self.host.map(device, slot, mapping)) {
            (Flaw::MapsWithoutABinding, Err(error)) if error.kind == HostErrorKind::NotBound => {
                Ok(())
            }
            (Flaw::MapsTwice, Err(error)) if error.kind == HostErrorKind::Refused => Ok(()),
            (_, answer) => answer,
        }
    }

    fn unmap(
        &self,
        device: HostDevice,
        slot: Slot,
        first: Iova,
        pages: u64,
    ) -> Result<(), HostError> {
        let (device, slot) = self.place(device, slot);
        match self.flaw {
            Flaw::UnmapsThoughUnsupported => Ok(()),
            Flaw::UnmapKeeps => self.host.unmap(device, slot, first, 0),
            _ => self.host.unmap(device, slot, first, pages),
        }
    }

    fn respond(&self, device: HostDevice, response: &PageGroupResponse) -> Result<(), HostError> {
        match self.flaw {
            Flaw::AnswersForAbsentDevices => Ok(()),
            Flaw::RespondsWithNoRoom if device != ABSENT => Err(HostErrorKind::NoSpace.into()),
            _ => self.host.respond(device, response),
        }
    }
}

// feature: 7.conformance suite for host backends
#[test]
fn every_flaw_is_caught_by_the_check_for_it() {
    let everything = HostCapabilities::everything();
    let table = [
        (Flaw::FailsEveryBind, everything, "bind_and_unbind"),
        (Flaw::BindReplaces, everything, "second_bind_is_refused_and_the_first_still_held"),
        (Flaw::UnbindOfNothingSucceeds, everything, "unbind_of_nothing_is_refused"),
        (Flaw::UnbindKeeps, everything, "unbind_of_nothing_is_refused"),
        (
            Flaw::ReplaceOfNothingBinds,
            everything,
            "replace_of_nothing_is_refused_and_binds_nothing",
        ),
        (
            Flaw::ReplaceOfNothingRefusedButBinds,
            everything,
            "replace_of_nothing_is_refused_and_binds_nothing",
        ),
        (Flaw::ReplaceRemoves, everything, "replace_keeps_the_slot_bound"),
        (Flaw::RefusesSomeReplace, everything, "every_supported_binding_can_be_held"),
        (Flaw::AbsentIsNotBound, everything, "absent_device_is_refused"),
        (Flaw::AbsentHasCapabilities, four_levels_only(), "absent_device_is_refused"),
        (Flaw::ForgetsTheSlot, everything, "slots_are_independent"),
        (Flaw::PasidZeroIsRid, everything, "rid_and_pasid_zero_are_two_slots"),
        (Flaw::ForgetsTheDevice, everything, "devices_are_independent"),
        (Flaw::AcceptsUnsupported, everything, "unsupported_bindings_are_refused_and_bind_nothing"),
        (Flaw::AcceptsMisaligned, everything, "misaligned_table_is_refused_and_binds_nothing"),
        (Flaw::FailedBindHolds, everything, "misaligned_table_is_refused_and_binds_nothing"),
        (Flaw::FailedReplaceRemoves, everything, "failed_replace_leaves_the_slot_bound"),
        (Flaw::FailedReplaceRemoves, four_levels_only(), "failed_replace_leaves_the_slot_bound"),
        (Flaw::IgnoresTheLimit, everything, "pasids_are_limited"),
        (Flaw::InvalidatesNothing, everything, "invalidation_of_nothing_is_refused"),
        (Flaw::RefusesEmptyBatch, everything, "empty_batch_is_done"),
        (Flaw::SaysNothingHandled, everything, "invalidations_are_done_in_order"),
        (Flaw::SaysOneMoreHandled, everything, "invalidations_are_done_in_order"),
        (Flaw::GoesOnAfterAFailure, everything, "invalidations_are_done_in_order"),
        (Flaw::InvalidationRemoves, everything, "invalidations_are_done_in_order"),
        (Flaw::MapsWithoutABinding, everything, MAPPINGS[0]),
        (Flaw::MapsTwice, everything, MAPPINGS[0]),
        (Flaw::UnmapKeeps, everything, MAPPINGS[2]),
        (Flaw::KeepsMappings, everything, MAPPINGS[3]),
        (
            Flaw::UnmapsThoughUnsupported,
            four_levels_only(),
            "what_the_capabilities_lack_is_not_supported",
        ),
        (Flaw::AnswersForAbsentDevices, everything, "responses_for_an_absent_device_are_refused"),
        (Flaw::RespondsWithNoRoom, everything, "responses_for_an_absent_device_are_refused"),
    ];
    for (flaw, capabilities, expected) in table {
        let failure = check(|| Broken { flaw, host: model(capabilities) }).unwrap_err();
        assert_eq!(failure.check, expected, "{flaw:?}: {failure}");
        assert!(failure.to_string().starts_with("host conformance, "));
    }
}
