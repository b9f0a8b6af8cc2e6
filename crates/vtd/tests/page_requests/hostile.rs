//! Guests that set the queue up badly, or never look at it.

use vtd::PageRequestError;
use vtd::Step;
use vtd::spec::PageRequest;

use super::machine::{Machine, PQA, PQH, PQT, PRS, QUEUE};
use crate::guest::Numbers;
use crate::guest::card::page_request;

#[test]
fn no_value_of_the_registers_does_harm() {
    let machine = Machine::new();
    let guest = &machine.guest;
    let mut numbers = Numbers(0x9e37_79b9_7f4a_7c15);
    let bases = [0, QUEUE, QUEUE + 0x7000, 0x7fff_f000, 0xffff_ffff_ffff_f000, 0x1_0000_0000];
    for _ in 0..5_000 {
        match numbers.below(6) {
            0 => guest.write(PQA, 8, numbers.of(&bases) | numbers.below(8)),
            1 => guest.write(PQH, 8, numbers.next()),
            2 => guest.write(PQT, 8, numbers.next()),
            3 => guest.write(PRS, 4, numbers.below(4)),
            _ => {
                let group = u16::try_from(numbers.below(0x1_0000)).unwrap();
                let request = PageRequest {
                    last_in_group: numbers.below(2) == 0,
                    ..page_request(None, numbers.next(), group)
                };
                let size = 0x1000 << (guest.read(PQA, 8) & 7);
                let head = guest.read(PQH, 8) % size;
                if guest.unit.page_request(machine.device, request).is_ok() {
                    let tail = guest.read(PQT, 8);
                    assert!(tail < size && tail != head, "{tail:x} of {size:x}");
                }
            }
        }
        assert_eq!(guest.unit.run(), Step::Idle);
    }
}

// feature: 4.page requests: bounded space
/// A guest that never takes a request, a device that never gives up, and a VMM that does not step.
#[test]
fn two_to_the_16_requests_need_bounded_space() {
    let machine = Machine::new();
    let mut outcomes = [0; 3];
    for _ in 0..0x1_0000 {
        let request = page_request(None, 0x1000, 1);
        match machine.guest.unit.page_request(machine.device, request) {
            Ok(()) => outcomes[0] += 1,
            Err(PageRequestError::QueueFull) => outcomes[1] += 1,
            Err(PageRequestError::Busy) => outcomes[2] += 1,
            Err(other) => panic!("{other}"),
        }
    }
    // 127 fit the queue, 1,024 answers are kept, the rest is the device's to repeat.
    assert_eq!(outcomes, [127, 1024, 0x1_0000 - 127 - 1024]);
    assert_eq!(machine.card_told().len(), 1024);
    let counts = machine.guest.unit.counts();
    assert_eq!((counts.page_requests, counts.page_requests_dropped), (127, 1024));
    assert_eq!(machine.guest.interrupts().iter().filter(|data| **data == 0x23).count(), 1);
    // A step has made space.
    let asked = machine.guest.unit.page_request(machine.device, page_request(None, 0x1000, 1));
    assert_eq!(asked, Err(PageRequestError::QueueFull));
}

/// With a VMM that steps, every one of them is answered or in the queue.
#[test]
fn two_to_the_16_requests_are_answered_by_a_unit_that_steps() {
    let machine = Machine::new();
    let mut answered = 0;
    for _ in 0..0x1_0000 {
        let request = page_request(None, 0x1000, 1);
        let _dropped = machine.guest.unit.page_request(machine.device, request);
        answered += machine.card_told().len();
    }
    assert_eq!(answered, 0x1_0000 - 127);
}
