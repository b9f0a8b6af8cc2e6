//! Page group responses: the guest's, and the unit's own.

use vtd::host::HostCall;
use vtd::spec::{PageRequest, Slot};
use vtd::{Effect, HostOperation, PageRequestError, ResetKind, Step};

use super::machine::{Machine, PQH};
use crate::guest::card::page_request;
use crate::guest::{STATUS, wait};

/// Type 9 for 00:`device`.0 with LPIG.
fn response(device: u64, number: Option<u64>, group: u64, code: u64) -> [u64; 4] {
    let pasid = number.map_or(0, |number| 0x10 | number << 32);
    [9 | pasid | code << 12 | device << 19, 4 | group << 3, 0, 0]
}

// feature: 4.page group responses: reach the device or its host
// feature: 4.page group responses: format (type 9), with and without PASID
#[test]
fn the_guests_responses_reach_the_device_or_the_host() {
    // (PASID, group, code; what is delivered)
    let table: [(Option<u64>, u64, u64, &str); 10] = [
        (None, 0, 0, "response - 0 0"),
        (None, 0x1ff, 0, "response - 1ff 0"),
        (None, 7, 1, "response - 7 1"),
        (None, 7, 0xf, "response - 7 f"),
        // A code without a meaning is a failure.
        (None, 7, 2, "response - 7 f"),
        (None, 7, 0xe, "response - 7 f"),
        (Some(0), 7, 0, "response 0 7 0"),
        (Some(5), 7, 1, "response 5 7 1"),
        (Some(0xf_ffff), 7, 0xf, "response fffff 7 f"),
        (Some(5), 7, 3, "response 5 7 f"),
    ];
    for (number, group, code, told) in table {
        let mut machine = Machine::new();
        assert!(
            machine
                .guest
                .invalidate(&[response(3, number, group, code), response(4, number, group, code)])
        );
        assert_eq!(machine.card_told(), [told]);
        assert_eq!(machine.host_told(), [format!("4 {told}")]);
        assert_eq!(machine.guest.unit.counts().page_responses, 2);
    }
}

// feature: 4.page group responses: delivered before the wait behind them
#[test]
fn a_response_is_delivered_before_the_wait_behind_it() {
    let mut machine = Machine::new();
    machine.guest.ring(&[response(3, None, 1, 0), wait(1)]);
    assert_eq!(
        (machine.guest.get(STATUS), machine.card.take()),
        (0, vec![]),
        "a write calls nobody"
    );
    loop {
        let step = machine.guest.unit.step(1);
        if machine.guest.get(STATUS) == 1 {
            assert_eq!(machine.card.take(), ["response - 1 0"]);
            break;
        }
        assert_eq!(step, Step::More);
    }
}

#[test]
fn responses_for_nobody_are_counted_and_dropped() {
    let mut machine = Machine::new();
    machine.guest.emulate(5);
    // 00:05.0 has no endpoint, 00:06.0 does not exist.
    assert!(machine.guest.invalidate(&[response(5, None, 1, 0), response(6, Some(5), 1, 0)]));
    machine.guest.unit.release(machine.device).unwrap();
    assert!(machine.guest.invalidate(&[response(3, None, 1, 0)]));
    let counts = machine.guest.unit.counts();
    assert_eq!((counts.page_responses, counts.page_responses_dropped), (0, 3));
    assert_eq!(machine.card_told(), [] as [&str; 0]);
}

// feature: 4.page group responses: to what the queue could not take (LPIG)
#[test]
fn a_request_that_is_dropped_is_answered_if_it_is_the_last_of_its_group() {
    let last = page_request(Some(5), 0x1000, 0x1ff);
    let first = PageRequest { last_in_group: false, ..last };
    // A stop marker: last, with neither read nor write.
    let stop = PageRequest { read: false, write: false, ..last };
    let table: [(PageRequest, &[&str]); 5] = [
        (last, &["response 5 1ff f"]),
        (PageRequest { write: false, ..last }, &["response 5 1ff f"]),
        (PageRequest { read: false, ..last }, &["response 5 1ff f"]),
        (first, &[]),
        (stop, &[]),
    ];
    for (request, told) in table {
        let machine = Machine::new();
        machine.guest.write(PQH, 8, 0x20);
        for _ in 0..2 {
            for device in [machine.device, machine.assigned] {
                let asked = machine.guest.unit.page_request(device, request);
                assert_eq!(asked, Err(PageRequestError::QueueFull));
            }
            assert_eq!(machine.card_told(), told, "{request}");
            let of_host: Vec<_> = told.iter().map(|text| format!("4 {text}")).collect();
            assert_eq!(machine.host_told(), of_host, "{request}");
        }
        assert_eq!(machine.guest.unit.counts().page_requests_dropped, 4);
    }
}

#[test]
fn what_is_queued_is_answered_by_the_guest_alone() {
    let machine = Machine::new();
    machine.guest.unit.page_request(machine.device, page_request(None, 0x1000, 1)).unwrap();
    let stop = PageRequest { read: false, write: false, ..page_request(None, 0x1000, 1) };
    machine.guest.unit.page_request(machine.device, stop).unwrap();
    assert_eq!(machine.card_told(), [] as [&str; 0]);
    assert_eq!(machine.entry(1), [0x18_0001, 0x100c, 0, 0], "a stop marker is queued as well");
}

// feature: 4.page requests: drain (PD of a wait)
#[test]
fn a_drain_holds_when_its_wait_completes() {
    // PD is bit 7. What was asked for before is in the queue, and what was refused is answered.
    let mut machine = Machine::new();
    machine.guest.write(PQH, 8, 0x40);
    let ask = |group| {
        machine.guest.unit.page_request(machine.device, page_request(None, 0x1000, group)).is_ok()
    };
    assert_eq!((ask(1), ask(2)), (true, false));
    machine.guest.ring(&[[0x1_0000_00a5, STATUS, 0, 0]]);
    assert_eq!(machine.guest.get(STATUS), 0, "not before the answer is delivered");
    assert_eq!(machine.card_told(), ["response - 2 f"]);
    assert_eq!((machine.guest.get(STATUS), machine.guest.read(0xc8, 8)), (1, 0x20));
}

#[test]
fn a_response_that_the_host_refuses_is_told_and_not_repeated() {
    let mut machine = Machine::new();
    machine.host.fail_calls(|call| matches!(call, HostCall::Respond { .. }));
    assert!(machine.guest.invalidate(&[response(4, Some(5), 1, 0), response(4, None, 1, 0)]));
    let told: Vec<_> = machine.guest.effects();
    let slots: Vec<_> = told
        .iter()
        .filter_map(|effect| match effect {
            Effect::HostCallFailed { operation: HostOperation::Respond, slot, device, .. } => {
                assert_eq!(*device, machine.assigned);
                Some(*slot)
            }
            _ => None,
        })
        .collect();
    assert_eq!(slots, [Slot::Pasid(crate::guest::pasid(5)), Slot::Rid]);
    machine.host.stop_failing();
    assert_eq!(machine.host_told(), [] as [&str; 0]);
}

/// A guest can have as many refused as it likes.
#[test]
fn of_many_responses_that_the_host_refuses_some_are_told() {
    let mut machine = Machine::new();
    machine.host.fail_calls(|call| matches!(call, HostCall::Respond { .. }));
    for _ in 0..20 {
        assert!(machine.guest.invalidate(&[response(4, Some(5), 1, 0); 100]));
    }
    let told = machine.guest.effects();
    let refused = told.iter().filter(|effect| matches!(effect, Effect::HostCallFailed { .. }));
    // Ten at once, and one a second.
    assert!((10..100).contains(&refused.count()), "{}", told.len());
    let counts = machine.guest.unit.counts();
    assert_eq!((counts.host_failures, counts.effects_lost), (2_000, 0));
    assert!(counts.effects_suppressed > 1_900);
}

#[test]
fn a_reset_forgets_responses() {
    for kind in [ResetKind::Warm, ResetKind::PowerOn] {
        let mut machine = Machine::new();
        machine.guest.ring(&[response(3, None, 1, 0)]);
        machine.guest.write(PQH, 8, 0x20);
        let asked = machine.guest.unit.page_request(machine.device, page_request(None, 0x1000, 2));
        assert!(asked.is_err());
        machine.guest.unit.reset(kind);
        assert_eq!(machine.card_told(), [] as [&str; 0]);
        for offset in [0xc0, 0xc8, 0xd0, 0xd8] {
            assert_eq!(machine.guest.read(offset, 8), 0, "{offset:x}");
        }
        let asked = machine.guest.unit.page_request(machine.device, page_request(None, 0x1000, 2));
        assert_eq!(asked, Err(PageRequestError::Blocked), "translation is off");
    }
}

#[test]
fn an_observer_sees_requests_and_responses_in_order() {
    let mut machine = Machine::new();
    machine.guest.write(PQH, 8, 0x40);
    for group in [1, 2] {
        let request = page_request(Some(5), 0x1000, group);
        let _dropped = machine.guest.unit.page_request(machine.device, request);
    }
    assert!(machine.guest.invalidate(&[response(4, None, 1, 1)]));
    assert_eq!(
        machine.told.take(),
        [
            "queued 00:03.0 PASID 5 read write of 0x1000, group 1, last",
            "dropped 00:03.0 PASID 5 read write of 0x1000, group 2, last: the page request queue is full",
            "00:03.0 response 5 2 f",
            "00:04.0 response - 1 1",
        ]
    );
}
