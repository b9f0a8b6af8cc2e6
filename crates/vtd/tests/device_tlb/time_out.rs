//! Devices that do not answer, and devices that answer what nobody asked.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use vtd::spec::descriptor::Wait;
use vtd::{DeviceTlbInvalidation, InvalidationId, Observer, Step};

use crate::guest::card::{Card, device_tlb};
use crate::guest::{FAULT_DATA, Guest, STATUS, wait};

const IQH: u64 = 0x80;
const FSTS: u64 = 0x34;
const IQERCD: u64 = 0xb0;
const ITE: u64 = 0x40;
const ICE: u64 = 0x20;

/// A guest with a slow card at 00:03.0, the only one of its unit.
fn slow() -> (Guest, Arc<Card>, vtd::DeviceId) {
    let card = Card::slow();
    let guest = Guest::with_cards(|_| {});
    let device = guest.plug(3, &card);
    (guest, card, device)
}

// feature: 3.device TLBs: time-out (ITE, ITESID)
#[test]
fn a_time_out_aborts_the_wait_and_stops_the_queue() {
    let (mut guest, card, device) = slow();
    guest.ring(&[device_tlb(3, 0x1000), wait(1), device_tlb(3, 0x2000), wait(2)]);
    assert_eq!(guest.unit.run(), Step::Waiting);
    guest.unit.expire_device_tlb(device).unwrap();
    assert_eq!(guest.unit.run(), Step::Idle, "nothing is outstanding any more");
    // ITE, ITESID in 47:32, the fault event once; IQH is past the wait, whose status is not written.
    assert_eq!(guest.read(FSTS, 4), ITE);
    assert_eq!(guest.read(IQERCD, 8), 0x0000_0018_0000_0000);
    assert_eq!(guest.interrupts(), [FAULT_DATA]);
    assert_eq!((guest.read(IQH, 8), guest.get(STATUS)), (0x40, 0));
    assert_eq!(guest.unit.counts().device_tlb_time_outs, 1);
    // Nothing is fetched, whatever software writes to the tail.
    guest.ring(&[]);
    assert!(guest.is_idle());
    assert_eq!(guest.read(IQH, 8), 0x40);
    // A late answer changes nothing.
    guest.unit.device_tlb_invalidated(device, card.take_ids()[0]).unwrap();
    assert!(guest.is_idle());
    assert_eq!((guest.read(FSTS, 4), guest.get(STATUS)), (ITE, 0));
    // Software clears ITE, without a new tail.
    guest.write(FSTS, 4, ITE);
    assert_eq!(guest.unit.run(), Step::Waiting);
    assert_eq!(guest.read(FSTS, 4), 0);
    assert_eq!(guest.read(IQH, 8), 0x60, "at the second wait");
    guest.unit.device_tlb_invalidated(device, card.take_ids()[0]).unwrap();
    assert!(guest.is_idle());
    assert_eq!((guest.read(IQH, 8), guest.get(STATUS)), (0x80, 2));
    assert_eq!(guest.read(IQERCD, 8), 0x0000_0018_0000_0000, "until the next error");
}

// feature: 3.device TLBs: time-out (ITE, ITESID)
#[test]
fn the_unit_measures_the_time_itself() {
    for (patience, expected) in [(Duration::ZERO, ITE), (Duration::MAX, 0)] {
        let card = Card::slow();
        let mut guest = Guest::with_cards(|config| config.device_tlb_patience = patience);
        guest.plug(3, &card);
        assert!(!guest.invalidate(&[device_tlb(3, 0x1000)]));
        std::thread::sleep(Duration::from_millis(2));
        let _left = guest.unit.step(1000);
        assert_eq!((guest.read(FSTS, 4), card.take().len()), (expected, 1), "{patience:?}");
    }
}

/// What is answered in time never times out, however short the time.
#[test]
fn an_answer_at_once_is_in_time() {
    let card = Arc::new(Card::default());
    let mut guest = Guest::with_cards(|config| config.device_tlb_patience = Duration::ZERO);
    guest.plug(3, &card);
    for _ in 0..100 {
        assert!(guest.invalidate(&[device_tlb(3, 0x1000), device_tlb(3, 0x2000)]));
    }
    assert_eq!(guest.read(FSTS, 4), 0);
}

// feature: 3.device TLBs: time-out (ITE, ITESID)
#[test]
fn a_time_out_without_a_wait_stops_the_queue_too() {
    let (mut guest, _card, device) = slow();
    guest.ring(&[device_tlb(3, 0x1000)]);
    assert_eq!(guest.unit.run(), Step::Waiting);
    guest.unit.expire_device_tlb(device).unwrap();
    guest.ring(&[wait(1)]);
    assert!(guest.is_idle());
    assert_eq!((guest.read(IQH, 8), guest.get(STATUS)), (0x20, 0));
    guest.write(FSTS, 4, ITE);
    assert!(guest.is_idle());
    assert_eq!((guest.read(IQH, 8), guest.get(STATUS)), (0x40, 1));
}

// feature: 3.device TLBs: time-out (ITE, ITESID)
/// IQERCD names one device: the next time-out is told when software has cleared ITE.
#[test]
fn time_outs_are_told_one_after_the_other() {
    let (card, other) = (Card::slow(), Card::slow());
    let mut guest = Guest::with_cards(|_| {});
    let (device, second) = (guest.plug(3, &card), guest.plug(4, &other));
    guest.ring(&[device_tlb(4, 0x1000), device_tlb(3, 0x1000), wait(1), wait(2), wait(3)]);
    assert_eq!(guest.unit.run(), Step::Waiting);
    guest.unit.expire_device_tlb(device).unwrap();
    guest.unit.expire_device_tlb(second).unwrap();
    assert_eq!(guest.unit.run(), Step::Waiting);
    assert_eq!(guest.read(IQERCD, 8), 0x0000_0020_0000_0000);
    assert_eq!(guest.read(IQH, 8), 0x60);
    guest.write(FSTS, 4, ITE);
    let _left = guest.unit.run();
    assert_eq!((guest.read(FSTS, 4), guest.read(IQERCD, 8)), (ITE, 0x0000_0018_0000_0000));
    guest.write(FSTS, 4, ITE);
    assert!(guest.is_idle());
    assert_eq!(guest.get(STATUS), 3);
    assert_eq!(guest.interrupts(), [FAULT_DATA, FAULT_DATA], "an event each, since ITE was clear");
}

#[test]
fn the_answers_of_other_devices_are_still_waited_for() {
    let (card, other) = (Card::slow(), Card::slow());
    let mut guest = Guest::with_cards(|_| {});
    let (device, second) = (guest.plug(3, &card), guest.plug(4, &other));
    guest.ring(&[device_tlb(3, 0x1000), device_tlb(4, 0x1000), wait(1), wait(2)]);
    assert_eq!(guest.unit.run(), Step::Waiting);
    guest.unit.expire_device_tlb(device).unwrap();
    guest.write(FSTS, 4, ITE);
    let _left = guest.unit.run();
    guest.write(FSTS, 4, ITE);
    assert_eq!(guest.unit.run(), Step::Waiting);
    assert_eq!((guest.read(IQH, 8), guest.get(STATUS)), (0x60, 0), "at the second wait");
    guest.unit.device_tlb_invalidated(second, other.take_ids()[0]).unwrap();
    assert!(guest.is_idle());
    assert_eq!(guest.get(STATUS), 2);
}

#[test]
fn the_fault_event_follows_its_rules() {
    // (FECTL before, events at the time-out, FECTL then, events when IM is cleared)
    let table: [(u64, &[u32], u64, &[u32]); 2] =
        [(0, &[FAULT_DATA], 0, &[]), (0x8000_0000, &[], 0xc000_0000, &[FAULT_DATA])];
    for (masked, at_once, control, later) in table {
        let (mut guest, _card, device) = slow();
        guest.write(0x38, 4, masked);
        assert!(!guest.invalidate(&[device_tlb(3, 0x1000)]));
        guest.unit.expire_device_tlb(device).unwrap();
        let _left = guest.unit.run();
        assert_eq!((guest.interrupts(), guest.read(0x38, 4)), (at_once.to_vec(), control));
        guest.write(0x38, 4, 0);
        assert_eq!(guest.interrupts(), later);
    }
}

// feature: 3.device TLBs: unexpected completion (ICE)
#[test]
fn an_answer_to_what_was_never_asked_is_a_completion_error() {
    let (card, other) = (Card::slow(), Card::slow());
    let mut guest = Guest::with_cards(|_| {});
    let (device, second) = (guest.plug(3, &card), guest.plug(4, &other));
    assert!(!guest.invalidate(&[device_tlb(3, 0x1000)]));
    let id = card.take_ids()[0];
    // Another device answers for this one.
    guest.unit.device_tlb_invalidated(second, id).unwrap();
    assert_eq!((guest.read(FSTS, 4), guest.interrupts()), (ICE, vec![FAULT_DATA]));
    assert_eq!(guest.read(IQERCD, 8), 0x0020_0000_0000_0000);
    // The wait still waits, and the queue goes on.
    assert_eq!(guest.unit.run(), Step::Waiting);
    assert_eq!(guest.get(STATUS), 0);
    guest.unit.device_tlb_invalidated(device, id).unwrap();
    assert!(guest.is_idle());
    assert_eq!(guest.get(STATUS), 1);
    guest.write(FSTS, 4, ICE);
    assert_eq!(guest.read(FSTS, 4), 0);
    // Twice is late, not wrong; what comes is wrong.
    guest.unit.device_tlb_invalidated(device, id).unwrap();
    assert_eq!(guest.read(FSTS, 4), 0);
    guest.unit.device_tlb_invalidated(device, InvalidationId(id.0 + 1)).unwrap();
    assert_eq!(guest.read(FSTS, 4), ICE);
    assert_eq!(guest.read(IQERCD, 8), 0x0018_0000_0000_0000);
    assert!(guest.invalidate(&[]), "ICE does not stop the queue");
}

#[derive(Default)]
struct Told(Mutex<Vec<String>>);

impl Told {
    fn tell(&self, what: &str, invalidation: &DeviceTlbInvalidation) {
        let page = invalidation.pages.first();
        self.0.lock().unwrap().push(format!("{what} {} {page:x}", invalidation.source_id));
    }
}

impl Observer for Told {
    fn device_tlb_invalidation(&self, invalidation: &DeviceTlbInvalidation) {
        self.tell("told", invalidation);
    }

    fn device_tlb_answered(&self, invalidation: &DeviceTlbInvalidation) {
        self.tell("answered", invalidation);
    }

    fn device_tlb_timed_out(&self, invalidation: &DeviceTlbInvalidation) {
        self.tell("timed out", invalidation);
    }

    fn wait_aborted(&self, wait: &Wait) {
        self.0.lock().unwrap().push(format!("aborted {wait}"));
    }

    fn wait_completes(&self, wait: &Wait) {
        self.0.lock().unwrap().push(format!("completes {wait}"));
    }
}

#[test]
fn an_observer_sees_it_all_in_order() {
    let (card, quick, told) = (Card::slow(), Arc::new(Card::default()), Arc::new(Told::default()));
    let mut guest = Guest::with_cards(|config| config.observer = Some(Arc::clone(&told) as _));
    let device = guest.plug(3, &card);
    guest.plug(4, &quick);
    guest.ring(&[device_tlb(4, 0x1000), device_tlb(3, 0x2000), wait(1), device_tlb(3, 0x3000)]);
    guest.ring(&[wait(2)]);
    let _left = guest.unit.run();
    guest.unit.expire_device_tlb(device).unwrap();
    let _left = guest.unit.run();
    guest.write(FSTS, 4, ITE);
    let _left = guest.unit.run();
    // The first id has timed out, and its answer is none.
    for id in card.take_ids() {
        guest.unit.device_tlb_invalidated(device, id).unwrap();
    }
    assert!(guest.is_idle());
    assert_eq!(
        *told.0.lock().unwrap(),
        [
            "told 00:04.0 1",
            "answered 00:04.0 1",
            "told 00:03.0 2",
            "timed out 00:03.0 2",
            "aborted status 1 to 0x9000",
            "told 00:03.0 3",
            "answered 00:03.0 3",
            "completes status 2 to 0x9000",
        ]
    );
}
