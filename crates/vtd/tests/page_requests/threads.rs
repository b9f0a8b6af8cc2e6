//! Devices, a vCPU and a worker at the same time.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

use vtd::spec::descriptor::PageGroupResponse;
use vtd::{
    DeviceTlbAnswer, DeviceTlbInvalidation, Endpoint, InvalidationId, PageRequestError,
    RemappingUnit,
};

use super::machine::{PQA, PQH, PQT, PRS, QUEUE};
use crate::guest::card::{device_tlb, page_request};
use crate::guest::{Guest, STATUS, source_id};

/// Answers every other invalidation from a thread of its own, and counts what it is told.
#[derive(Default)]
struct Busy {
    told: AtomicU64,
    responses: AtomicU64,
    later: std::sync::Mutex<Vec<InvalidationId>>,
}

impl Endpoint for Busy {
    fn invalidate_device_tlb(&self, invalidation: &DeviceTlbInvalidation) -> DeviceTlbAnswer {
        // Held while it is counted: whoever sees the count finds the number, too.
        let mut later = self.later.lock().unwrap();
        if self.told.fetch_add(1, Ordering::SeqCst).is_multiple_of(2) {
            return DeviceTlbAnswer::Done;
        }
        later.push(invalidation.id);
        DeviceTlbAnswer::Later
    }

    fn page_group_response(&self, _: &PageGroupResponse) {
        self.responses.fetch_add(1, Ordering::SeqCst);
    }
}

const REQUESTS: u64 = 1_000;
const ROUNDS: u64 = 40;

#[test]
fn requests_and_invalidations_come_from_many_threads() {
    let mut guest = Guest::with_cards(|_| {});
    guest.memory.fill_zero_page(vtd::spec::Gpa(QUEUE));
    guest.write(PQA, 8, QUEUE);
    let cards: Vec<_> = (0..3).map(|_| Arc::new(Busy::default())).collect();
    let attach = |(card, place): (&Arc<Busy>, u64)| {
        guest.unit.attach_endpoint(source_id(place), Arc::clone(card) as _).unwrap()
    };
    let devices: Vec<_> = cards.iter().zip(3..).map(attach).collect();
    let unit = guest.unit.clone();
    let queued: u64 = thread::scope(|scope| {
        let mut asking = Vec::new();
        for (card, device) in cards.iter().zip(devices) {
            let unit = unit.clone();
            asking.push(scope.spawn(move || run_card(&unit, card, device)));
        }
        // The vCPU: invalidations of every card, each with a wait; requests are taken from the queue meanwhile.
        for round in 0..ROUNDS {
            let asked: Vec<_> = (3..6).map(|device| device_tlb(device, round << 12)).collect();
            let done = guest.invalidate(&asked);
            let mut turns = 0_u64;
            while !done && guest.get(STATUS) & 0xffff_ffff != round + 1 {
                take_requests(&guest.unit);
                let _left = guest.unit.step(100);
                thread::yield_now();
                turns += 1;
                assert!(turns < 10_000_000, "round {round} does not end");
            }
        }
        for card in &cards {
            assert_eq!(card.told.load(Ordering::SeqCst), ROUNDS, "each is told once");
        }
        while asking.iter().any(|thread| !thread.is_finished()) {
            take_requests(&guest.unit);
            let _left = guest.unit.step(100);
        }
        asking.into_iter().map(|thread| thread.join().unwrap()).sum()
    });
    assert!(guest.is_idle());
    let counts = guest.unit.counts();
    assert_eq!(counts.page_requests, queued);
    assert_eq!(counts.page_requests_dropped, 3 * REQUESTS - queued);
    let responses: u64 = cards.iter().map(|card| card.responses.load(Ordering::SeqCst)).sum();
    assert_eq!(responses, 3 * REQUESTS - queued, "what is not queued is answered");
}

/// Asks, and answers what it said it would; how many requests were queued.
fn run_card(unit: &RemappingUnit, card: &Busy, device: vtd::DeviceId) -> u64 {
    let (mut queued, mut asked) = (0, 0);
    loop {
        for id in std::mem::take(&mut *card.later.lock().unwrap()) {
            unit.device_tlb_invalidated(device, id).unwrap();
        }
        if asked == REQUESTS {
            if card.told.load(Ordering::SeqCst) == ROUNDS && card.later.lock().unwrap().is_empty() {
                return queued;
            }
            thread::yield_now();
            continue;
        }
        match unit.page_request(device, page_request(None, asked << 12, 1)) {
            Ok(()) => queued += 1,
            Err(PageRequestError::QueueFull) => {}
            Err(PageRequestError::Busy) => {
                thread::yield_now();
                continue;
            }
            Err(other) => panic!("{other}"),
        }
        asked += 1;
    }
}

/// What a driver does at the event.
fn take_requests(unit: &RemappingUnit) {
    unit.write(PRS, 4, 3);
    let tail = unit.read(PQT, 8);
    unit.write(PQH, 8, tail);
    while unit.take_effect().is_some() {}
}
