//! The checks, from what every later one relies on to the rare.

use alloc::format;

use vtd_spec::descriptor::{PageGroupResponse, ResponseCode};
use vtd_spec::{Iova, Pasid, Slot, SourceId};

use super::trial::{Stop, Trial, must, must_refuse};
use crate::{HostError, HostErrorKind, Mapping, Permission, StageOneInvalidation, StageOneRange};

/// A check and the name by which a report knows it.
pub(super) struct Check {
    pub(super) name: &'static str,
    pub(super) perform: fn(&Trial) -> Result<(), Stop>,
}

macro_rules! checks {
    ($($name:ident),* $(,)?) => {
        &[$(Check { name: stringify!($name), perform: $name }),*]
    };
}

pub(super) const CHECKS: &[Check] = checks![
    bind_and_unbind,
    second_bind_is_refused_and_the_first_still_held,
    unbind_of_nothing_is_refused,
    replace_of_nothing_is_refused_and_binds_nothing,
    bind_again_after_unbind,
    replace_keeps_the_slot_bound,
    absent_device_is_refused,
    slots_are_independent,
    rid_and_pasid_zero_are_two_slots,
    devices_are_independent,
    every_supported_binding_can_be_held,
    unsupported_bindings_are_refused_and_bind_nothing,
    misaligned_table_is_refused_and_binds_nothing,
    failed_replace_leaves_the_slot_bound,
    pasids_are_limited,
    invalidation_of_nothing_is_refused,
    empty_batch_is_done,
    invalidations_are_done_in_order,
    what_the_capabilities_lack_is_not_supported,
    mappings_need_a_second_stage_binding,
    pages_are_mapped_once,
    unmapped_pages_can_be_mapped_again,
    a_new_binding_begins_with_nothing_mapped,
    responses_for_an_absent_device_are_refused,
];

fn bind_and_unbind(trial: &Trial) -> Result<(), Stop> {
    for slot in trial.slots() {
        trial.binds(trial.device(), slot, &trial.binding()?)?;
        trial.unbinds(trial.device(), slot)?;
    }
    Ok(())
}

fn second_bind_is_refused_and_the_first_still_held(trial: &Trial) -> Result<(), Stop> {
    let device = trial.device();
    for slot in trial.slots() {
        trial.binds(device, slot, &trial.binding()?)?;
        for binding in trial.supported_bindings() {
            trial.refuses_bind(device, slot, &binding, HostErrorKind::AlreadyBound)?;
        }
        trial.unbinds(device, slot)?;
    }
    Ok(())
}

fn unbind_of_nothing_is_refused(trial: &Trial) -> Result<(), Stop> {
    let device = trial.device();
    for slot in trial.slots() {
        trial.is_free(device, slot)?;
        trial.binds(device, slot, &trial.binding()?)?;
        trial.unbinds(device, slot)?;
        trial.is_free(device, slot)?;
    }
    Ok(())
}

fn replace_of_nothing_is_refused_and_binds_nothing(trial: &Trial) -> Result<(), Stop> {
    let device = trial.device();
    for slot in trial.slots() {
        for binding in trial.supported_bindings() {
            trial.refuses_replace(device, slot, &binding, HostErrorKind::NotBound)?;
        }
        trial.is_free(device, slot)?;
    }
    Ok(())
}

fn bind_again_after_unbind(trial: &Trial) -> Result<(), Stop> {
    let device = trial.device();
    for slot in trial.slots() {
        for binding in [trial.binding()?, trial.binding()?] {
            trial.binds(device, slot, &binding)?;
            trial.holds(device, slot)?;
            trial.unbinds(device, slot)?;
        }
        trial.is_free(device, slot)?;
    }
    Ok(())
}

fn replace_keeps_the_slot_bound(trial: &Trial) -> Result<(), Stop> {
    let device = trial.device();
    for slot in trial.slots() {
        let binding = trial.binding()?;
        trial.binds(device, slot, &binding)?;
        // By the same too.
        for binding in core::iter::once(binding).chain(trial.supported_bindings()) {
            trial.replaces(device, slot, &binding)?;
            trial.holds(device, slot)?;
        }
        trial.unbinds(device, slot)?;
        trial.is_free(device, slot)?;
    }
    Ok(())
}

fn absent_device_is_refused(trial: &Trial) -> Result<(), Stop> {
    let absent = trial.fixture.absent;
    let kind = HostErrorKind::NoSuchDevice;
    must_refuse(&format!("capabilities of {absent}"), trial.host().capabilities(absent), kind)?;
    for slot in trial.slots() {
        trial.refuses_bind(absent, slot, &trial.binding()?, kind)?;
        trial.refuses_replace(absent, slot, &trial.binding()?, kind)?;
        trial.refuses_unbind(absent, slot, kind)?;
        for batch in [&[][..], &[StageOneInvalidation::EVERYTHING]] {
            let found = trial.stops_invalidating(absent, slot, batch, 0)?;
            must_be(found, kind)?;
        }
    }
    Ok(())
}

fn slots_are_independent(trial: &Trial) -> Result<(), Stop> {
    let device = trial.device();
    let slots = trial.slots();
    if slots.len() < 2 {
        return Err(Stop::Skipped("the host has one slot for each device"));
    }
    for slot in &slots {
        trial.binds(device, *slot, &trial.binding()?)?;
    }
    for removed in &slots {
        trial.unbinds(device, *removed)?;
        trial.is_free(device, *removed)?;
        for kept in slots.iter().filter(|slot| *slot != removed) {
            trial.holds(device, *kept)?;
        }
        trial.binds(device, *removed, &trial.binding()?)?;
    }
    Ok(())
}

fn rid_and_pasid_zero_are_two_slots(trial: &Trial) -> Result<(), Stop> {
    if trial.capabilities.pasids == 0 {
        return Err(Stop::Skipped("the host has no PASIDs"));
    }
    let (device, zero) = (trial.device(), Slot::Pasid(Pasid::ZERO));
    let binding = trial.binding()?;
    trial.binds(device, Slot::Rid, &binding)?;
    match trial.host().bind(device, zero, &binding) {
        // The only slot that a host may leave out although it has PASIDs.
        Err(error) if error.kind == HostErrorKind::NotSupported => {
            trial.is_free(device, zero)?;
            trial.holds(device, Slot::Rid)
        }
        Err(error) => Err(Stop::Failed {
            expectation: format!("bind of {binding} to PASID 0 beside the bound slot -"),
            error: Some(error),
        }),
        Ok(()) => {
            trial.unbinds(device, Slot::Rid)?;
            trial.holds(device, zero)?;
            trial.is_free(device, Slot::Rid)?;
            trial.unbinds(device, zero)
        }
    }
}

fn devices_are_independent(trial: &Trial) -> Result<(), Stop> {
    let (device, other) = (trial.device(), trial.fixture.other);
    for slot in trial.slots() {
        let binding = trial.binding()?;
        trial.binds(device, slot, &binding)?;
        trial.is_free(other, slot)?;
        trial.binds(other, slot, &binding)?;
        trial.unbinds(device, slot)?;
        trial.is_free(device, slot)?;
        trial.holds(other, slot)?;
        trial.unbinds(other, slot)?;
    }
    Ok(())
}

fn every_supported_binding_can_be_held(trial: &Trial) -> Result<(), Stop> {
    let device = trial.device();
    // Skips where there is none.
    trial.binding()?;
    for slot in trial.slots() {
        for old in trial.supported_bindings() {
            for new in trial.supported_bindings() {
                trial.binds(device, slot, &old)?;
                trial.replaces(device, slot, &new)?;
                trial.unbinds(device, slot)?;
            }
        }
    }
    Ok(())
}

fn unsupported_bindings_are_refused_and_bind_nothing(trial: &Trial) -> Result<(), Stop> {
    let (device, kind) = (trial.device(), HostErrorKind::NotSupported);
    let unsupported = trial.unsupported_bindings();
    let without_pasids = trial.capabilities.pasids == 0;
    if unsupported.is_empty() && !without_pasids {
        return Err(Stop::Skipped("the host supports every binding"));
    }
    for slot in trial.slots() {
        for binding in &unsupported {
            trial.refuses_bind(device, slot, binding, kind)?;
            trial.is_free(device, slot)?;
        }
    }
    if without_pasids {
        for slot in trial.fixture.pasids.map(Slot::Pasid) {
            trial.refuses_bind(device, slot, &trial.binding()?, kind)?;
            trial.is_free(device, slot)?;
        }
    }
    Ok(())
}

fn misaligned_table_is_refused_and_binds_nothing(trial: &Trial) -> Result<(), Stop> {
    let device = trial.device();
    for slot in trial.slots() {
        trial.refuses_bind(device, slot, &trial.misaligned()?, HostErrorKind::Refused)?;
        trial.is_free(device, slot)?;
        trial.binds(device, slot, &trial.binding()?)?;
    }
    Ok(())
}

fn failed_replace_leaves_the_slot_bound(trial: &Trial) -> Result<(), Stop> {
    let device = trial.device();
    let unsupported = trial.unsupported_bindings();
    let misaligned = trial.misaligned();
    if unsupported.is_empty()
        && let Err(Stop::Skipped(reason)) = misaligned
    {
        return Err(Stop::Skipped(reason));
    }
    for slot in trial.slots() {
        trial.binds(device, slot, &trial.binding()?)?;
        for binding in &unsupported {
            trial.refuses_replace(device, slot, binding, HostErrorKind::NotSupported)?;
            trial.holds(device, slot)?;
        }
        if let Ok(binding) = &misaligned {
            trial.refuses_replace(device, slot, binding, HostErrorKind::Refused)?;
            trial.holds(device, slot)?;
        }
        trial.unbinds(device, slot)?;
        trial.is_free(device, slot)?;
    }
    Ok(())
}

fn pasids_are_limited(trial: &Trial) -> Result<(), Stop> {
    const MANY: u32 = 64;
    let (device, limit) = (trial.device(), trial.capabilities.pasids);
    if limit == 0 || limit > MANY {
        return Err(Stop::Skipped("the host has no PASIDs, or room for many"));
    }
    let binding = trial.binding()?;
    let slot = |number: u32| Slot::Pasid(Pasid::from_low_bits(u64::from(number)));
    // Requests without PASID need no PASID.
    trial.binds(device, Slot::Rid, &binding)?;
    for number in 1..=limit {
        trial.binds(device, slot(number), &binding)?;
    }
    trial.refuses_bind(device, slot(limit + 1), &binding, HostErrorKind::NoSpace)?;
    trial.is_free(device, slot(limit + 1))?;
    trial.replaces(device, slot(limit), &binding)?;
    trial.unbinds(device, slot(1))?;
    trial.binds(device, slot(limit + 1), &binding)
}

fn invalidation_of_nothing_is_refused(trial: &Trial) -> Result<(), Stop> {
    let device = trial.device();
    for slot in trial.slots() {
        for batch in [&[][..], &[StageOneInvalidation::EVERYTHING]] {
            let found = trial.stops_invalidating(device, slot, batch, 0)?;
            must_be(found, HostErrorKind::NotBound)?;
        }
        trial.is_free(device, slot)?;
    }
    Ok(())
}

fn empty_batch_is_done(trial: &Trial) -> Result<(), Stop> {
    let (device, binding) = (trial.device(), trial.first_stage()?);
    for slot in trial.slots() {
        trial.binds(device, slot, &binding)?;
        trial.invalidates(device, slot, &[])?;
        trial.holds(device, slot)?;
    }
    Ok(())
}

fn invalidations_are_done_in_order(trial: &Trial) -> Result<(), Stop> {
    let pages = |first, count| StageOneInvalidation {
        range: StageOneRange::Pages { first: Iova(first), count },
        leaf_only: false,
    };
    let leaf = StageOneInvalidation { leaf_only: true, ..pages(0x7fff_ffff_f000, 1) };
    let good = [StageOneInvalidation::EVERYTHING, leaf, pages(0x20_0000, 0x200)];
    let bad = [pages(0x1008, 1), pages(0x1000, 0)];
    let (device, binding) = (trial.device(), trial.first_stage()?);
    for slot in trial.slots() {
        trial.binds(device, slot, &binding)?;
        trial.invalidates(device, slot, &good)?;
        let [everything, leaf, range] = good;
        for bad in bad {
            trial.stops_invalidating(device, slot, &[bad], 0)?;
            trial.stops_invalidating(device, slot, &[leaf, bad, everything], 1)?;
            trial.stops_invalidating(device, slot, &[everything, leaf, range, bad], 3)?;
            trial.stops_invalidating(device, slot, &[range, bad, bad, leaf], 1)?;
        }
        trial.invalidates(device, slot, &good)?;
        trial.holds(device, slot)?;
        trial.unbinds(device, slot)?;
    }
    Ok(())
}

fn what_the_capabilities_lack_is_not_supported(trial: &Trial) -> Result<(), Stop> {
    let (host, device) = (trial.host(), trial.device());
    let kind = HostErrorKind::NotSupported;
    if trial.capabilities.shadowing {
        return Err(Stop::Skipped("the host has all that is optional"));
    }
    let [table, _] = trial.fixture.tables;
    let mapping = Mapping { iova: Iova(0), gpa: table, pages: 1, permission: Permission::Read };
    must_refuse("map", host.map(device, Slot::Rid, &mapping), kind)?;
    must_refuse("unmap", host.unmap(device, Slot::Rid, Iova(0), 1), kind)?;
    Ok(())
}

fn must_be(found: HostErrorKind, expected: HostErrorKind) -> Result<(), Stop> {
    must_refuse("the invalidation", Err::<(), _>(found.into()), expected)
}

/// `pages` pages of the fixture's memory, which has two.
fn mapping(trial: &Trial, page: u64, pages: u64) -> Mapping {
    let [table, other_table] = trial.fixture.tables;
    let gpa = if table < other_table { table } else { other_table };
    Mapping { iova: Iova(page << 12), gpa, pages, permission: Permission::ReadWrite }
}

fn mappings_need_a_second_stage_binding(trial: &Trial) -> Result<(), Stop> {
    let (host, device) = (trial.host(), trial.device());
    trial.second_stage()?;
    for slot in trial.slots() {
        let one = mapping(trial, 16, 1);
        must_refuse("map", host.map(device, slot, &one), HostErrorKind::NotBound)?;
        let unmap = host.unmap(device, slot, Iova(0x1_0000), 1);
        must_refuse("unmap", unmap, HostErrorKind::NotBound)?;
        if let Ok(other) = trial.first_stage() {
            trial.binds(device, slot, &other)?;
            must_refuse("map", host.map(device, slot, &one), HostErrorKind::Refused)?;
            trial.unbinds(device, slot)?;
        }
    }
    Ok(())
}

fn pages_are_mapped_once(trial: &Trial) -> Result<(), Stop> {
    let (host, device) = (trial.host(), trial.device());
    let binding = trial.second_stage()?;
    for slot in trial.slots() {
        trial.binds(device, slot, &binding)?;
        must("map", host.map(device, slot, &mapping(trial, 16, 2)))?;
        for (page, pages) in [(16, 2), (16, 1), (17, 1), (15, 2), (17, 2)] {
            let again = host.map(device, slot, &mapping(trial, page, pages));
            must_refuse("a second map", again, HostErrorKind::Refused)?;
        }
        for misaligned in [1, 0x800] {
            let one = mapping(trial, 32, 1);
            let iova = Mapping { iova: Iova(one.iova.0 | misaligned), ..one };
            must_refuse("map", host.map(device, slot, &iova), HostErrorKind::Refused)?;
        }
        trial.unbinds(device, slot)?;
    }
    Ok(())
}

fn unmapped_pages_can_be_mapped_again(trial: &Trial) -> Result<(), Stop> {
    let (host, device) = (trial.host(), trial.device());
    let binding = trial.second_stage()?;
    for slot in trial.slots() {
        trial.binds(device, slot, &binding)?;
        must("unmap of nothing", host.unmap(device, slot, Iova(0), 1 << 20))?;
        for _ in 0..2 {
            must("map", host.map(device, slot, &mapping(trial, 16, 1)))?;
            must("map", host.map(device, slot, &mapping(trial, 18, 2)))?;
            must("unmap of both", host.unmap(device, slot, Iova(0x1_0000), 4))?;
        }
        if trial.capabilities.unmap_cuts {
            must("map", host.map(device, slot, &mapping(trial, 16, 2)))?;
            must("unmap of a part", host.unmap(device, slot, Iova(0x1_1000), 1))?;
            must("map of that part", host.map(device, slot, &mapping(trial, 17, 1)))?;
        }
        trial.unbinds(device, slot)?;
    }
    Ok(())
}

fn a_new_binding_begins_with_nothing_mapped(trial: &Trial) -> Result<(), Stop> {
    let (host, device) = (trial.host(), trial.device());
    let binding = trial.second_stage()?;
    for slot in trial.slots() {
        trial.binds(device, slot, &binding)?;
        must("map", host.map(device, slot, &mapping(trial, 16, 1)))?;
        must("replace", host.replace(device, slot, &binding))?;
        must("map after a replace", host.map(device, slot, &mapping(trial, 16, 1)))?;
        trial.unbinds(device, slot)?;
        trial.binds(device, slot, &binding)?;
        must("map after an unbind", host.map(device, slot, &mapping(trial, 16, 1)))?;
        trial.unbinds(device, slot)?;
    }
    Ok(())
}

/// A host that takes responses may refuse one that nobody waits for, but knows which devices it has.
fn responses_for_an_absent_device_are_refused(trial: &Trial) -> Result<(), Stop> {
    let response = PageGroupResponse {
        source_id: SourceId(0),
        pasid: None,
        code: ResponseCode::Invalid,
        last_in_group: true,
        group_index: 0,
    };
    let unsupported = |error: &HostError| error.kind == HostErrorKind::NotSupported;
    let (absent, device) = (trial.fixture.absent, trial.device());
    let answer = trial.host().respond(absent, &response);
    if answer.as_ref().is_err_and(unsupported) {
        return Err(Stop::Skipped("the host takes no page group responses"));
    }
    must_refuse(&format!("response to {absent}"), answer, HostErrorKind::NoSuchDevice)?;
    match trial.host().respond(device, &response) {
        Err(error) if error.kind != HostErrorKind::Refused => Err(Stop::Failed {
            expectation: format!("response to {device} must succeed, or fail with Refused"),
            error: Some(error),
        }),
        _ => Ok(()),
    }
}
