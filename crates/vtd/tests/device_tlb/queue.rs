//! The queue is switched, reset and left while invalidations are outstanding.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use vtd::spec::descriptor::PageGroupResponse;
use vtd::{DeviceTlbAnswer, DeviceTlbInvalidation, Effect, Endpoint, ResetKind, Step};

use crate::guest::card::{Card, device_tlb};
use crate::guest::{Guest, QUEUE, STATUS, source_id, wait};

const IQH: u64 = 0x80;
const GSTS: u64 = 0x1c;
const FSTS: u64 = 0x34;

/// A guest whose card has not answered, with a wait behind.
fn outstanding() -> (Guest, Arc<Card>, vtd::DeviceId) {
    let card = Card::slow();
    let mut guest = Guest::with_cards(|_| {});
    let device = guest.plug(3, &card);
    guest.ring(&[device_tlb(3, 0x1000), wait(1)]);
    assert_eq!(guest.unit.run(), Step::Waiting);
    (guest, card, device)
}

// feature: 3.device TLBs: queue disabled with invalidations outstanding (QIES)
#[test]
fn the_queue_goes_off_behind_the_answer() {
    for with_wait in [true, false] {
        let card = Card::slow();
        let mut guest = Guest::with_cards(|_| {});
        let device = guest.plug(3, &card);
        guest.ring(&[device_tlb(3, 0x1000)]);
        if with_wait {
            guest.ring(&[wait(1)]);
        }
        assert_eq!(guest.unit.run(), Step::Waiting);
        guest.command(0x8000_0000);
        guest.ring(&[wait(2)]);
        assert_eq!(guest.read(GSTS, 4), 0xc400_0000, "QIES stays");
        guest.unit.device_tlb_invalidated(device, card.take_ids()[0]).unwrap();
        assert!(guest.is_idle());
        assert_eq!((guest.read(GSTS, 4), guest.read(IQH, 8)), (0xc000_0000, 0));
        assert_eq!(guest.get(STATUS), u64::from(with_wait), "the wait that was fetched, no other");
        guest.enable_queue();
        assert!(guest.invalidate(&[]));
    }
}

// feature: 3.device TLBs: queue disabled with invalidations outstanding (QIES)
/// A guest that disables the queue does not wait for ever, whether it has cleared ITE or not.
#[test]
fn the_queue_goes_off_behind_time_outs() {
    let (card, other) = (Card::slow(), Card::slow());
    let mut guest = Guest::with_cards(|_| {});
    let devices = [guest.plug(3, &card), guest.plug(4, &other)];
    guest.ring(&[device_tlb(3, 0x1000), device_tlb(4, 0x1000), wait(1)]);
    assert_eq!(guest.unit.run(), Step::Waiting);
    guest.command(0x8000_0000);
    for device in devices {
        guest.unit.expire_device_tlb(device).unwrap();
    }
    assert!(guest.is_idle());
    assert_eq!((guest.read(GSTS, 4), guest.get(STATUS)), (0xc000_0000, 0));
    assert_eq!(guest.read(0xb0, 8), 0x0000_0018_0000_0000, "the first is told");
    assert_eq!(guest.unit.counts().device_tlb_time_outs, 2);
    let timed_out = |effect| match effect {
        Effect::DeviceTlbTimedOut(device) => Some(device),
        _ => None,
    };
    let told: Vec<_> = guest.effects().into_iter().filter_map(timed_out).collect();
    assert_eq!(told, devices);
}

// feature: 3.device TLBs: queue disabled with invalidations outstanding (QIES)
#[test]
fn off_and_on_again_waits_for_the_answer() {
    let (guest, card, device) = outstanding();
    // Another queue from the next enabling on: IQA is latched.
    guest.put(0x7000, &wait(9));
    guest.write(0x90, 8, 0x7800);
    guest.command(0x8000_0000);
    guest.write(0x88, 8, 0x20);
    guest.command(0x8400_0000);
    assert_eq!((guest.read(IQH, 8), guest.get(STATUS)), (0x20, 0), "still the first queue");
    guest.unit.device_tlb_invalidated(device, card.take_ids()[0]).unwrap();
    assert!(guest.is_idle());
    assert_eq!((guest.read(GSTS, 4), guest.read(IQH, 8)), (0xc400_0000, 0x20));
    assert_eq!(guest.get(STATUS), 9);
}

#[test]
fn iqa_counts_as_it_was_latched() {
    let (mut guest, card, device) = outstanding();
    guest.write(0x90, 8, 0x7001);
    guest.unit.device_tlb_invalidated(device, card.take_ids()[0]).unwrap();
    assert!(guest.is_idle());
    assert!(guest.invalidate(&[]), "from {QUEUE:x}");
}

#[test]
fn a_reset_forgets_what_is_outstanding() {
    for kind in [ResetKind::Warm, ResetKind::PowerOn] {
        let (mut guest, card, device) = outstanding();
        guest.unit.reset(kind);
        assert!(guest.is_idle());
        let late = card.take_ids()[0];
        guest.unit.device_tlb_invalidated(device, late).unwrap();
        guest.unit.expire_device_tlb(device).unwrap();
        assert!(guest.is_idle());
        assert_eq!((guest.get(STATUS), guest.read(FSTS, 4)), (0, 0), "{kind:?}");
        // The device is still there, and its next invalidation has another number.
        guest.enable();
        assert!(!guest.invalidate(&[device_tlb(3, 0x1000)]));
        let id = card.take_ids()[0];
        assert_ne!(id, late);
        guest.unit.device_tlb_invalidated(device, late).unwrap();
        assert_eq!(guest.unit.run(), Step::Waiting);
        guest.unit.device_tlb_invalidated(device, id).unwrap();
        assert!(guest.is_idle());
        assert_eq!(guest.get(STATUS), 1);
    }
}

#[test]
fn translation_goes_off_whatever_is_outstanding() {
    let (guest, card, device) = outstanding();
    guest.command(0x0400_0000);
    assert_eq!((guest.read(GSTS, 4), guest.get(STATUS)), (0x4400_0000, 0));
    guest.unit.device_tlb_invalidated(device, card.take_ids()[0]).unwrap();
    assert!(guest.is_idle());
    assert_eq!(guest.get(STATUS), 1);
}

// feature: 7.devices: unplug with device-TLB invalidations outstanding
#[test]
fn a_device_that_is_released_has_no_device_tlb() {
    let (mut guest, card, device) = outstanding();
    guest.unit.release(device).unwrap();
    assert_eq!(Arc::strong_count(&card), 1, "the unit lets go of the endpoint");
    assert!(guest.is_idle());
    assert_eq!(guest.get(STATUS), 1, "what it had not answered counts as done");
    assert!(guest.effects().iter().any(|effect| matches!(effect, Effect::Released(_))));
    let id = card.take_ids()[0];
    assert!(guest.unit.device_tlb_invalidated(device, id).is_err());
    assert!(guest.unit.expire_device_tlb(device).is_err());
    assert!(guest.unit.set_endpoint(device, Arc::clone(&card) as _).is_err());
    assert!(guest.invalidate(&[device_tlb(3, 0x1000)]));
    assert_eq!(card.take(), ["tlb - 1000 1"], "told nothing more");
    // Another device in its place.
    let next = Arc::new(Card::default());
    guest.plug(3, &next);
    assert!(guest.unit.attach_endpoint(source_id(3), Arc::clone(&card) as _).is_err());
    assert!(guest.invalidate(&[device_tlb(3, 0x2000)]));
    assert_eq!(next.take(), ["tlb - 2000 1"]);
}

/// Panics at the first invalidation, and then answers.
#[derive(Default)]
struct Panics(AtomicBool);

impl Endpoint for Panics {
    fn invalidate_device_tlb(&self, _: &DeviceTlbInvalidation) -> DeviceTlbAnswer {
        assert!(self.0.swap(true, Ordering::SeqCst), "the device model is broken");
        DeviceTlbAnswer::Done
    }

    fn page_group_response(&self, _: &PageGroupResponse) {}
}

#[test]
fn an_endpoint_that_panics_has_not_answered() {
    let mut guest = Guest::with_cards(|_| {});
    let panics = Arc::new(Panics::default());
    let device = guest.unit.attach_endpoint(source_id(3), panics).unwrap();
    guest.ring(&[device_tlb(3, 0x1000), wait(1)]);
    let step = catch_unwind(AssertUnwindSafe(|| guest.unit.run()));
    assert!(step.is_err());
    assert_eq!(guest.unit.run(), Step::Waiting, "the unit goes on");
    assert_eq!(guest.get(STATUS), 0);
    guest.unit.expire_device_tlb(device).unwrap();
    assert!(guest.is_idle());
    assert_eq!(guest.read(FSTS, 4), 0x40);
    guest.write(FSTS, 4, 0x40);
    assert!(guest.invalidate(&[device_tlb(3, 0x1000)]));
}
