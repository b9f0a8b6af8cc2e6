//! What a device is told for each descriptor.

use std::sync::{Arc, Mutex, OnceLock};

use vtd::spec::descriptor::PageGroupResponse;
use vtd::{
    Attachment, DeviceId, DeviceTlbAnswer, DeviceTlbInvalidation, Endpoint, RemappingUnit, Step,
};

use crate::guest::card::{Card, device_tlb, page_request};
use crate::guest::{Guest, calls, source_id};

const EVERYTHING: u64 = 0x7fff_ffff_ffff_f001;

// feature: 3.device TLBs: invalidations reach the device (types 3 and 8)
// feature: 3.device TLBs: ranges (S)
#[test]
fn every_range_is_decoded() {
    // Device 00:03.0 is 18. (qw0, qw1, what the device is told)
    let table: [(u64, u64, &str); 24] = [
        // Type 3: S 0.
        (0x0000_0018_0000_0003, 0x0000_0000_0000_5000, "tlb - 5000 1"),
        (0x0000_0018_0000_0003, 0xffff_ffff_ffff_f000, "tlb - fffffffffffff000 1"),
        (0x0000_0018_0000_0003, 0, "tlb - 0 1"),
        // MIP is nothing to an emulated device.
        (0x0000_0018_001f_0003, 0x0000_0000_0000_5000, "tlb - 5000 1"),
        // PFSID 1234: 15:12 and 63:52.
        (0x1230_0018_0000_4003, 0x0000_0000_0000_5000, "tlb - 5000 1 pf 1234"),
        // S 1: 8 KiB << trailing ones of the page number.
        (0x0000_0018_0000_0003, 0x0000_0000_0000_4001, "tlb - 4000 2"),
        (0x0000_0018_0000_0003, 0x0000_0000_0000_5001, "tlb - 4000 4"),
        (0x0000_0018_0000_0003, 0x0000_0000_0000_7001, "tlb - 0 10"),
        (0x0000_0018_0000_0003, 0x0000_0000_003f_f001, "tlb - 0 800"),
        (0x0000_0018_0000_0003, 0x0000_0000_800f_f001, "tlb - 80000000 200"),
        // 50, 51 and 52 trailing ones; half of everything, then everything.
        (0x0000_0018_0000_0003, 0x3fff_ffff_ffff_f001, "tlb - 0 8000000000000"),
        (0x0000_0018_0000_0003, 0xbfff_ffff_ffff_f001, "tlb - 8000000000000000 8000000000000"),
        (0x0000_0018_0000_0003, 0x7fff_ffff_ffff_f001, "tlb - 0 all"),
        (0x0000_0018_0000_0003, 0xffff_ffff_ffff_f001, "tlb - 0 all"),
        // Type 8: PASID 51:32, SID 31:16, MIP 8:4, S is bit 11.
        (0x0000_0005_0018_0008, 0x0000_0000_0000_5000, "tlb 5 5000 1"),
        (0x000f_ffff_0018_0008, 0x0000_0000_0000_5000, "tlb fffff 5000 1"),
        (0x0000_0000_0018_0008, 0x0000_0000_0000_5000, "tlb 0 5000 1"),
        (0x0000_0005_0018_01f8, 0x0000_0000_0000_5000, "tlb 5 5000 1"),
        (0x1230_0005_0018_4008, 0x0000_0000_0000_5000, "tlb 5 5000 1 pf 1234"),
        (0x0000_0005_0018_0008, 0x0000_0000_0000_5800, "tlb 5 4000 4"),
        (0x0000_0005_0018_0008, 0x7fff_ffff_ffff_f800, "tlb 5 0 all"),
        // G 1: every PASID.
        (0x0000_0005_0018_0008, 0x0000_0000_0000_5001, "tlb * 5000 1"),
        (0x0000_0000_0018_0008, 0x0000_0000_0000_5801, "tlb * 4000 4"),
        (0x0000_0000_0018_0008, 0xffff_ffff_ffff_f801, "tlb * 0 all"),
    ];
    let (card, other) = (Arc::new(Card::default()), Arc::new(Card::default()));
    let mut guest = Guest::with_cards(|_| {});
    guest.plug(3, &card);
    guest.plug(4, &other);
    for (qw0, qw1, told) in table {
        assert!(guest.invalidate(&[[qw0, qw1, 0, 0]]), "{qw0:x} {qw1:x}");
        assert_eq!(card.take(), [told], "{qw0:x} {qw1:x}");
    }
    assert_eq!(other.take(), [] as [&str; 0], "of the other device nothing was asked");
    assert_eq!(guest.unit.counts().device_tlb_invalidations, table.len() as u64);
}

// feature: 3.device TLBs: invalidations reach the device (types 3 and 8)
#[test]
fn every_device_is_told_in_order() {
    let cards = [Arc::new(Card::default()), Arc::new(Card::default())];
    let mut guest = Guest::with_cards(|_| {});
    guest.plug(3, &cards[0]);
    guest.plug(4, &cards[1]);
    assert!(guest.invalidate(&[
        device_tlb(3, 0x1000),
        device_tlb(4, 0x2000),
        device_tlb(3, 0x3000),
        device_tlb(3, 0x1000),
    ]));
    assert_eq!(cards[0].take(), ["tlb - 1000 1", "tlb - 3000 1", "tlb - 1000 1"]);
    assert_eq!(cards[1].take(), ["tlb - 2000 1"]);
}

// feature: 3.device TLBs: invalidations reach the device (types 3 and 8)
#[test]
fn devices_without_a_device_tlb_are_done_at_once() {
    let host = calls::host();
    let mut guest = Guest::with_cards(|config| config.host = Some(Arc::clone(&host) as _));
    guest.assign(3);
    guest.unit.attach(source_id(4), Attachment::Emulated).unwrap();
    let calls = host.calls();
    // Assigned, emulated without an endpoint, and not there at all.
    for device in [3, 4, 5] {
        assert!(guest.invalidate(&[device_tlb(device, EVERYTHING)]), "{device}");
    }
    assert_eq!(host.calls(), calls, "a host flushes device TLBs itself");
    assert!(guest.is_idle());
}

#[test]
fn a_register_write_calls_no_device() {
    let card = Arc::new(Card::default());
    let mut guest = Guest::with_cards(|_| {});
    guest.plug(3, &card);
    guest.ring(&[device_tlb(3, 0x1000), [0x12, 0, 0, 0], device_tlb(3, 0x2000)]);
    assert_eq!(card.take(), [] as [&str; 0]);
    assert_eq!(guest.read(0x80, 8), 0x20, "what is behind it is not fetched before");
    assert!(guest.is_idle());
    assert_eq!(card.take(), ["tlb - 1000 1", "tlb - 2000 1"]);
    assert_eq!(guest.read(0x80, 8), 0x60);
}

// feature: 3.device TLBs: invalidations reach the device (types 3 and 8)
#[test]
fn a_device_is_told_through_the_endpoint_that_it_has_now() {
    let (first, second) = (Card::slow(), Card::slow());
    let mut guest = Guest::with_cards(|_| {});
    let device = guest.plug(3, &first);
    assert!(!guest.invalidate(&[device_tlb(3, 0x1000)]));
    guest.unit.set_endpoint(device, Arc::clone(&second) as _).unwrap();
    let _left = guest.unit.run();
    assert_eq!(
        (first.take(), second.take()),
        (vec!["tlb - 1000 1".into()], vec!["tlb - 1000 1".into()])
    );
    assert_eq!(Arc::strong_count(&first), 1, "the unit lets go of the one before");
    guest.unit.device_tlb_invalidated(device, second.take_ids()[0]).unwrap();
    assert!(guest.is_idle());
    assert_eq!(guest.get(crate::guest::STATUS), 1);
}

/// What the new endpoint has not been told is not done, whatever the one before it says.
#[test]
fn an_answer_of_the_endpoint_before_does_not_count_for_the_one_that_is_still_to_be_told() {
    let (first, second) = (Card::slow(), Card::slow());
    let mut guest = Guest::with_cards(|_| {});
    let device = guest.plug(3, &first);
    assert!(!guest.invalidate(&[device_tlb(3, 0x1000)]));
    guest.unit.set_endpoint(device, Arc::clone(&second) as _).unwrap();
    guest.unit.device_tlb_invalidated(device, first.take_ids()[0]).unwrap();
    assert_eq!((guest.unit.run(), second.take()), (Step::Waiting, vec!["tlb - 1000 1".into()]));
    assert_eq!((guest.get(crate::guest::STATUS), guest.read(0x34, 4)), (0, 0));
    guest.unit.device_tlb_invalidated(device, second.take_ids()[0]).unwrap();
    assert!(guest.is_idle());
    assert_eq!(guest.get(crate::guest::STATUS), 1);
}

/// Does from inside the call what a device does: asks for a page, and answers before it says that it will.
#[derive(Default)]
struct Reentrant {
    unit: OnceLock<(RemappingUnit, DeviceId)>,
    asked: Mutex<Vec<bool>>,
}

impl Endpoint for Reentrant {
    fn invalidate_device_tlb(&self, invalidation: &DeviceTlbInvalidation) -> DeviceTlbAnswer {
        let (unit, device) = self.unit.get().unwrap();
        let asked = unit.page_request(*device, page_request(None, 0x5000, 1));
        self.asked.lock().unwrap().push(asked.is_ok());
        assert_eq!(unit.step(100), Step::Waiting, "the call is under way");
        unit.write(0x88, 8, unit.read(0x88, 8));
        unit.device_tlb_invalidated(*device, invalidation.id).unwrap();
        DeviceTlbAnswer::Later
    }

    fn page_group_response(&self, _: &PageGroupResponse) {
        let (unit, device) = self.unit.get().unwrap();
        let asked = unit.page_request(*device, page_request(None, 0x6000, 2));
        self.asked.lock().unwrap().push(asked.is_ok());
    }
}

#[test]
fn an_endpoint_may_call_the_unit() {
    let card = Arc::new(Reentrant::default());
    let mut guest = Guest::with_cards(|_| {});
    let device = guest.unit.attach_endpoint(source_id(3), Arc::clone(&card) as _).unwrap();
    assert!(card.unit.set((guest.unit.clone(), device)).is_ok());
    // A page request queue behind the status page, and a response to what was asked.
    guest.memory.fill_zero_page(vtd::spec::Gpa(0xa000));
    guest.write(0xd0, 8, 0xa000);
    assert!(guest.invalidate(&[device_tlb(3, 0x1000), [0x0018_0009, 0x0c, 0, 0]]));
    assert_eq!(*card.asked.lock().unwrap(), [true, true]);
    assert_eq!(guest.read(0xc8, 8), 0x40, "two requests are in the queue");
    assert!(guest.is_idle());
    guest.unit.release(device).unwrap();
}
