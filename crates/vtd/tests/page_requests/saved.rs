//! Page requests and responses outlive the unit.

use std::sync::Arc;

use vtd::{RemappingUnit, RestoreOnto, Step, UnitConfig, UnitState};

use super::machine::{Machine, PECTL, PQA, PQH, PQT, PRS, QUEUE};
use crate::guest::card::{Card, ECAP_CARDS, page_request};
use crate::guest::{CAP, STATUS, wait};

/// Saves and restores by way of JSON, with another card in the place of the old one.
fn again(machine: &mut Machine) {
    let text = serde_json::to_string(&machine.guest.unit.save().unwrap()).unwrap();
    let state: UnitState = serde_json::from_str(&text).unwrap();
    let caps = vtd::spec::Capabilities::new(CAP, ECAP_CARDS).unwrap();
    let mut config = UnitConfig::new(caps, Arc::clone(&machine.guest.memory) as _);
    config.host = Some(Arc::clone(&machine.host) as _);
    machine.guest.unit = RemappingUnit::restore(config, &state, RestoreOnto::SameHost).unwrap();
    machine.card = Arc::new(Card::default());
    machine.guest.unit.set_endpoint(machine.device, Arc::clone(&machine.card) as _).unwrap();
}

// feature: 9.page requests and responses
#[test]
fn the_queue_goes_on_where_it_was() {
    let mut machine = Machine::new();
    machine.guest.write(PECTL, 4, 0x8000_0000);
    machine.guest.unit.page_request(machine.device, page_request(None, 0x1000, 1)).unwrap();
    again(&mut machine);
    let guest = &machine.guest;
    assert_eq!((guest.read(PQT, 8), guest.read(PQA, 8), guest.read(PRS, 4)), (0x20, QUEUE, 1));
    assert_eq!(guest.read(PECTL, 4), 0xc000_0000);
    guest.write(PECTL, 4, 0);
    assert_eq!(guest.interrupts(), [0x23], "the held event is sent");
    guest.unit.page_request(machine.device, page_request(None, 0x2000, 2)).unwrap();
    guest.unit.page_request(machine.assigned, page_request(None, 0x2000, 2)).unwrap();
    assert_eq!(machine.entry(1), [0x18_0001, 0x2017, 0, 0]);
    assert_eq!(machine.entry(2), [0x20_0001, 0x2017, 0, 0]);
    // PRO survives as well.
    machine.guest.write(PQH, 8, 0x80);
    assert!(machine.guest.unit.page_request(machine.device, page_request(None, 0, 1)).is_err());
    again(&mut machine);
    assert_eq!(machine.guest.read(PRS, 4), 3);
    assert_eq!(machine.card_told(), ["response - 1 f"]);
}

// feature: 9.page requests and responses
#[test]
fn a_response_is_delivered_once_whenever_the_unit_is_saved() {
    for steps in 0..8 {
        let mut machine = Machine::new();
        let before = Arc::clone(&machine.card);
        machine.guest.write(PQH, 8, 0x20);
        let asked = machine.guest.unit.page_request(machine.device, page_request(Some(5), 0, 9));
        assert!(asked.is_err());
        // Types 9 for both devices, one without PASID.
        machine.guest.ring(&[
            [0x0000_0005_0018_1019, 0x0c, 0, 0],
            [0x0000_0000_0020_0009, 0x14, 0, 0],
            wait(1),
        ]);
        for _ in 0..steps {
            let _left = machine.guest.unit.step(1);
        }
        again(&mut machine);
        assert_eq!(machine.guest.unit.run(), Step::Idle);
        let told: Vec<_> = before.take().into_iter().chain(machine.card.take()).collect();
        assert_eq!(told, ["response 5 9 f", "response 5 1 1"], "after {steps}");
        assert_eq!(machine.host_told(), ["4 response - 2 0"], "after {steps}");
        assert_eq!(machine.guest.get(STATUS), 1);
    }
}
