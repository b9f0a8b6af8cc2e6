//! Outstanding invalidations outlive the unit.

use std::sync::Arc;

use vtd::{RemappingUnit, RestoreError, RestoreOnto, Step, UnitConfig, UnitState};

use crate::guest::card::{Card, ECAP_CARDS, device_tlb};
use crate::guest::{CAP, Guest, STATUS, wait};

fn config(guest: &Guest) -> UnitConfig {
    let caps = vtd::spec::Capabilities::new(CAP, ECAP_CARDS).unwrap();
    UnitConfig::new(caps, Arc::clone(&guest.memory) as _)
}

fn json(guest: &Guest) -> serde_json::Value {
    serde_json::to_value(guest.unit.save().unwrap()).unwrap()
}

/// Saves and restores by way of JSON; nothing of the endpoints is in it.
fn again(guest: &mut Guest) {
    let state: UnitState = serde_json::from_value(json(guest)).unwrap();
    guest.unit = RemappingUnit::restore(config(guest), &state, RestoreOnto::SameHost).unwrap();
}

// feature: 9.device-TLB invalidations outstanding
#[test]
fn what_is_outstanding_is_delivered_again() {
    let told = ["tlb - 1000 1", "tlb 5 4000 4", "tlb * 0 all", "tlb - 2000 1 pf 1234"];
    for steps in 0..12 {
        let (old, new) = (Card::slow(), Card::slow());
        let mut guest = Guest::with_cards(|_| {});
        let device = guest.plug(3, &old);
        guest.ring(&[
            device_tlb(3, 0x1000),
            [0x0000_0005_0018_0008, 0x5800, 0, 0],
            [0x0000_0000_0018_0008, 0x7fff_ffff_ffff_f801, 0, 0],
            [0x1230_0018_0000_4003, 0x2000, 0, 0],
            wait(1),
        ]);
        for _ in 0..steps {
            let _left = guest.unit.step(1);
        }
        let before = old.take();
        assert_eq!(before, told[..before.len()]);
        again(&mut guest);
        // Nothing is delivered, and nothing completes, before the endpoint is named.
        assert_eq!(guest.unit.run(), Step::Waiting, "{steps}");
        assert_eq!((old.take(), guest.get(STATUS)), (vec![], 0));
        guest.unit.set_endpoint(device, Arc::clone(&new) as _).unwrap();
        assert_eq!(guest.unit.run(), Step::Waiting);
        assert_eq!(new.take(), told, "after {steps} steps");
        for id in new.take_ids() {
            assert_eq!(guest.get(STATUS), 0);
            guest.unit.device_tlb_invalidated(device, id).unwrap();
            let _left = guest.unit.run();
        }
        assert!(guest.is_idle());
        assert_eq!(guest.get(STATUS), 1);
    }
}

// feature: 9.device-TLB invalidations outstanding
#[test]
fn answered_ones_are_not_delivered_again() {
    let (old, new) = (Card::slow(), Card::slow());
    let mut guest = Guest::with_cards(|_| {});
    let device = guest.plug(3, &old);
    guest.ring(&[device_tlb(3, 0x1000), device_tlb(3, 0x2000), wait(1)]);
    assert_eq!(guest.unit.run(), Step::Waiting);
    let ids = old.take_ids();
    guest.unit.device_tlb_invalidated(device, ids[0]).unwrap();
    again(&mut guest);
    guest.unit.set_endpoint(device, Arc::clone(&new) as _).unwrap();
    assert_eq!(guest.unit.run(), Step::Waiting);
    assert_eq!((new.take(), new.take_ids()), (vec!["tlb - 2000 1".to_string()], vec![ids[1]]));
}

// feature: 9.device-TLB invalidations outstanding
/// Saved before it is told, and after.
#[test]
fn time_outs_survive() {
    let (old, new) = (Card::slow(), Card::slow());
    let mut guest = Guest::with_cards(|_| {});
    let device = guest.plug(3, &old);
    guest.ring(&[device_tlb(3, 0x1000), wait(1), wait(2)]);
    assert_eq!(guest.unit.run(), Step::Waiting);
    guest.unit.expire_device_tlb(device).unwrap();
    again(&mut guest);
    guest.unit.set_endpoint(device, Arc::clone(&new) as _).unwrap();
    let _left = guest.unit.run();
    again(&mut guest);
    guest.unit.set_endpoint(device, new).unwrap();
    assert!(guest.is_idle());
    assert_eq!((guest.read(0x34, 4), guest.read(0xb0, 8)), (0x40, 0x0000_0018_0000_0000));
    assert_eq!((guest.read(0x80, 8), guest.get(STATUS)), (0x40, 0), "the wait was aborted");
    guest.write(0x34, 4, 0x40);
    assert!(guest.is_idle());
    assert_eq!(guest.get(STATUS), 2);
}

#[test]
fn a_state_that_no_unit_can_have_is_refused() {
    let card = Card::slow();
    let mut guest = Guest::with_cards(|_| {});
    guest.plug(3, &card);
    guest.ring(&[device_tlb(3, 0x1000)]);
    assert_eq!(guest.unit.run(), Step::Waiting);
    let mut state = json(&guest);
    state["pending"]["device_tlbs"]["outstanding"][0]["device"] = 77.into();
    let state: UnitState = serde_json::from_value(state).unwrap();
    let refused = RemappingUnit::restore(config(&guest), &state, RestoreOnto::SameHost);
    assert!(matches!(refused, Err(RestoreError::Field { field: "pending", .. })));
}
