//! Rows 16, 20, 21 and 29 for devices with device TLBs and page requests.

use std::sync::{Arc, Mutex};

use vtd::spec::descriptor::{PageGroupResponse, ResponseCode};
use vtd::spec::{Gpa, Iova, PageRequest, SourceId};
use vtd::{
    DeviceId, DeviceTlbAnswer, DeviceTlbInvalidation, Effect, Endpoint, InvalidationId,
    PageRequestError,
};

use crate::guest::{Guest, Shape, context_place, pasid_of};
use crate::raw::*;

const PQT: u64 = 0xc8;
const PRS: u64 = 0xdc;
/// Where the page request queue lies.
const REQUESTS: u64 = 0x30_0000;

/// What a device was told; it answers no invalidation at once.
#[derive(Default)]
struct Card {
    invalidations: Mutex<Vec<DeviceTlbInvalidation>>,
    responses: Mutex<Vec<PageGroupResponse>>,
}

impl Endpoint for Card {
    fn invalidate_device_tlb(&self, invalidation: &DeviceTlbInvalidation) -> DeviceTlbAnswer {
        self.invalidations.lock().unwrap().push(*invalidation);
        DeviceTlbAnswer::Later
    }

    fn page_group_response(&self, response: &PageGroupResponse) {
        self.responses.lock().unwrap().push(*response);
    }
}

impl Card {
    fn take_ids(&self) -> Vec<InvalidationId> {
        self.invalidations.lock().unwrap().drain(..).map(|one| one.id).collect()
    }
}

/// A guest with a card that may ask for pages, and a queue of 128 requests full of ones.
fn with_card() -> (Guest, Arc<Card>, DeviceId) {
    let ecap = ECAP | ECAP_PRS | ECAP_DIT | ECAP_PDS;
    let guest = Guest::of(Shape { ecap, ..Shape::default() });
    guest.set_context(DEVICE, [DIRECTORY | 0x1d, 0, 0, 0]);
    assert_eq!(context_place(DEVICE), LOWER_CONTEXTS + 0x18 * 32);
    guest.ram.pages.fill_zero_page(Gpa(REQUESTS));
    guest.ram.put(REQUESTS, &[u64::MAX; 512]);
    guest.write64(0xd0, REQUESTS);
    guest.write64(0xe8, 0xfee0_0000);
    guest.write64(0xe0, 0x23 << 32);
    let card = Arc::new(Card::default());
    let device = guest.unit.attach_endpoint(SourceId(DEVICE), Arc::clone(&card) as _).unwrap();
    (guest, card, device)
}

fn ask(guest: &Guest, device: DeviceId, pasid: Option<u64>) -> Result<(), PageRequestError> {
    let request = PageRequest {
        source_id: SourceId(0),
        pasid: pasid.map(pasid_of),
        address: Iova(PAGE),
        read: true,
        write: false,
        execute: false,
        privileged: false,
        last_in_group: true,
        group_index: 3,
    };
    guest.unit.page_request(device, request)
}

fn events(guest: &Guest) -> usize {
    let is_event = |effect: &Effect| matches!(effect, Effect::Interrupt(_));
    guest.effects().iter().filter(|effect| is_event(effect)).count()
}

// feature: 3.device TLBs: invalidations reach the device (types 3 and 8)
#[test]
fn known_failure_16_pfsid_reaches_the_device() {
    for (qw0, qw1) in [(0x1230_0018_0000_4003, PAGE), (0x1230_0005_0018_4008, PAGE)] {
        let (guest, card, _) = with_card();
        assert!(!guest.try_flush(&[[qw0, qw1, 0, 0]]));
        let told = card.invalidations.lock().unwrap().clone();
        assert_eq!((told.len(), told[0].pfsid), (1, SourceId(0x1234)), "{qw0:x}");
        assert_eq!(guest.read32(FSTS), 0);
    }
}

// feature: 4.page requests: event (PRS.PPR, PECTL)
#[test]
fn known_failure_20_page_requests_send_one_event() {
    let (guest, _, device) = with_card();
    for _ in 0..100 {
        ask(&guest, device, None).unwrap();
    }
    assert_eq!(events(&guest), 1, "PPR was set");
    guest.write32(PRS, 1);
    ask(&guest, device, None).unwrap();
    assert_eq!(events(&guest), 1);
}

// feature: 4.page requests: queue (PQA, PQH, PQT)
#[test]
fn known_failure_21_page_requests_are_written_whole() {
    let (guest, _, device) = with_card();
    ask(&guest, device, None).unwrap();
    ask(&guest, device, Some(0x1fff)).unwrap();
    let entry = |index: u64| -> Vec<u64> {
        (0..4).map(|word| guest.ram.at(REQUESTS + index * 32 + word * 8)).collect()
    };
    assert_eq!(entry(0), [0x0000_0000_0018_0001, PAGE | 0x1d, 0, 0]);
    assert_eq!(entry(1), [0x0000_1fff_0018_0101, PAGE | 0x1d, 0, 0]);
    assert_eq!(entry(2), [u64::MAX; 4], "and nothing behind them");
    assert_eq!(guest.read64(PQT), 0x40);
}

// feature: 4.page group responses: format (type 9), with and without PASID
#[test]
fn known_failure_21_a_response_reaches_the_device_in_both_forms() {
    let (guest, card, _) = with_card();
    guest.flush(&[
        [9 | u64::from(DEVICE) << 16, 0x1c, 0, 0],
        [0x19 | u64::from(DEVICE) << 16 | 5 << 32 | 1 << 12, 0x1c, 0, 0],
    ]);
    let told: Vec<_> =
        card.responses.lock().unwrap().iter().map(|one| (one.pasid, one.code)).collect();
    let expected = [(None, ResponseCode::Success), (Some(pasid_of(5)), ResponseCode::Invalid)];
    assert_eq!(told, expected);
}

// feature: 4.page requests: overflow (PRS.PRO)
#[test]
fn known_failure_21_nothing_is_queued_while_pro_is_set() {
    let (guest, card, device) = with_card();
    // The head right behind the tail: full.
    guest.write64(0xc0, 0x20);
    assert_eq!(ask(&guest, device, None), Err(PageRequestError::QueueFull));
    guest.write64(0xc0, 0);
    assert_eq!(ask(&guest, device, None), Err(PageRequestError::QueueFull));
    assert_eq!((guest.read64(PQT), guest.read32(PRS)), (0, 2));
    assert_eq!(guest.ram.at(REQUESTS), u64::MAX);
    guest.run();
    let codes: Vec<_> = card.responses.lock().unwrap().iter().map(|one| one.code).collect();
    assert_eq!(codes, [ResponseCode::Failure; 2], "the device does not hang");
    guest.write32(PRS, 2);
    assert_eq!(ask(&guest, device, None), Ok(()));
}

// feature: 3.device TLBs: waits behind them follow
#[test]
fn known_failure_29_a_wait_follows_the_answers_of_devices() {
    let (guest, card, device) = with_card();
    let asked = [3 | u64::from(DEVICE) << 32, PAGE, 0, 0];
    assert!(!guest.try_flush(&[asked, asked]));
    for id in card.take_ids() {
        assert!(!guest.is_flushed(), "one has not answered");
        guest.unit.device_tlb_invalidated(device, id).unwrap();
        guest.run();
    }
    assert!(guest.is_flushed());
}
