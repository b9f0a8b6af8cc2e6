//! A guest, devices and a VMM that do anything at any moment.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};

use vtd::spec::Capabilities;
use vtd::spec::descriptor::PageGroupResponse;
use vtd::{
    DeviceId, DeviceTlbAnswer, DeviceTlbInvalidation, Endpoint, InvalidationId, RemappingUnit,
    ResetKind, RestoreOnto, UnitConfig,
};

use crate::guest::card::{ECAP_CARDS, device_tlb};
use crate::guest::{CAP, Guest, Numbers, STATUS, source_id, wait};

/// Keeps every invalidation with its page, and answers none at once that has an even page.
#[derive(Default)]
struct Card(Mutex<Told>);

#[derive(Default)]
struct Told {
    waiting: Vec<(InvalidationId, u64)>,
    done: BTreeSet<u64>,
}

impl Endpoint for Card {
    fn invalidate_device_tlb(&self, invalidation: &DeviceTlbInvalidation) -> DeviceTlbAnswer {
        let page = invalidation.pages.first();
        let mut told = self.0.lock().unwrap();
        if page % 2 == 1 {
            told.done.insert(page);
            return DeviceTlbAnswer::Done;
        }
        told.waiting.push((invalidation.id, page));
        DeviceTlbAnswer::Later
    }

    fn page_group_response(&self, _: &PageGroupResponse) {}
}

/// Each invalidation has a page of its own, and the wait behind it the number of that page: when the status has reached a
/// number, every invalidation up to it must be done.
struct Storm {
    guest: Guest,
    card: Arc<Card>,
    device: DeviceId,
    page: u64,
    /// Pages that nobody waits for any more: of time-outs, releases and resets.
    excused: BTreeSet<u64>,
    asked: Vec<u64>,
}

impl Storm {
    fn new() -> Self {
        let card = Arc::new(Card::default());
        let guest = Guest::with_cards(|_| {});
        let device = guest.unit.attach_endpoint(source_id(3), Arc::clone(&card) as _).unwrap();
        Self { guest, card, device, page: 0, excused: BTreeSet::new(), asked: Vec::new() }
    }

    /// Whatever has been asked for so far may be left undone from now on.
    fn excuse(&mut self) {
        self.excused.extend(self.asked.iter());
    }

    fn ask(&mut self) {
        self.page += 1;
        let page = self.page;
        // Of three invalidations one is of a device that is not there.
        let device = if page.is_multiple_of(3) { 4 } else { 3 };
        if device == 3 {
            self.asked.push(page);
        }
        self.guest.ring(&[device_tlb(device, page << 12), wait(page)]);
    }

    fn answer(&mut self, numbers: &mut Numbers) {
        let taken = {
            let mut told = self.card.0.lock().unwrap();
            if told.waiting.is_empty() {
                return;
            }
            let place = usize::try_from(numbers.below(told.waiting.len() as u64)).unwrap();
            let (id, page) = told.waiting.swap_remove(place);
            told.done.insert(page);
            id
        };
        self.guest.unit.device_tlb_invalidated(self.device, taken).unwrap();
    }

    fn save_and_restore(&mut self) {
        let state = self.guest.unit.save().unwrap();
        let caps = Capabilities::new(CAP, ECAP_CARDS).unwrap();
        let config = UnitConfig::new(caps, Arc::clone(&self.guest.memory) as _);
        self.guest.unit = RemappingUnit::restore(config, &state, RestoreOnto::SameHost).unwrap();
        self.guest.unit.set_endpoint(self.device, Arc::clone(&self.card) as _).unwrap();
    }

    fn release_and_attach(&mut self) {
        self.guest.unit.release(self.device).unwrap();
        let _left = self.guest.unit.run();
        self.excuse();
        self.card = Arc::new(Card::default());
        let card = Arc::clone(&self.card) as _;
        self.device = self.guest.unit.attach_endpoint(source_id(3), card).unwrap();
    }

    fn queue_off_and_on(&mut self) {
        self.guest.write(0x18, 4, 0x8000_0000);
        let _left = self.guest.unit.run();
        if self.guest.read(0x1c, 4) & 0x0400_0000 == 0 {
            // What had not been fetched never will be.
            self.excuse();
            self.guest.enable_queue();
        } else {
            self.guest.write(0x18, 4, 0x8400_0000);
        }
    }

    fn check(&self, name: &str) {
        let status = self.guest.get(STATUS) & 0xffff_ffff;
        let told = self.card.0.lock().unwrap();
        for page in self.asked.iter().filter(|page| **page <= status) {
            assert!(
                told.done.contains(page) || self.excused.contains(page),
                "{name}: the status is {status}, and {page} is not done"
            );
        }
    }
}

// feature: 3.device TLBs: waits behind them follow
#[test]
fn no_wait_completes_before_its_invalidations_whatever_happens() {
    for seed in 1..60 {
        let mut numbers = Numbers(0x9e37_79b9_7f4a_7c15_u64.wrapping_mul(seed));
        let mut storm = Storm::new();
        for round in 0..200 {
            match numbers.below(20) {
                0..=6 => storm.ask(),
                7..=10 => storm.answer(&mut numbers),
                11..=13 => {
                    let _left = storm.guest.unit.step(u32::try_from(numbers.below(6)).unwrap());
                }
                14 => {
                    storm.guest.unit.expire_device_tlb(storm.device).unwrap();
                    storm.excuse();
                }
                15 => storm.guest.write(0x34, 4, 0x70),
                16 => storm.save_and_restore(),
                17 => storm.release_and_attach(),
                18 => storm.queue_off_and_on(),
                _ => {
                    storm.guest.unit.reset(ResetKind::Warm);
                    storm.excuse();
                    storm.guest.write(0x34, 4, 0x71);
                    storm.guest.enable();
                }
            }
            storm.check(&format!("seed {seed}, round {round}"));
        }
        // In the end everything can be brought to rest.
        storm.guest.write(0x18, 4, 0x8000_0000);
        for _ in 0..1_000 {
            let _left = storm.guest.unit.run();
            storm.answer(&mut numbers);
        }
        storm.guest.enable_queue();
        storm.guest.write(0x34, 4, 0x70);
        assert!(storm.guest.is_idle(), "seed {seed}");
        assert!(storm.guest.invalidate(&[[0x12, 0, 0, 0]]), "seed {seed}");
    }
}
