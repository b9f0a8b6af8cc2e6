//! A guest with a page request queue and two devices that ask for pages.

use std::sync::{Arc, Mutex};

use vtd::spec::PageRequest;
use vtd::spec::descriptor::PageGroupResponse;
use vtd::{DeviceId, Observer, PageRequestError, Step};

use crate::guest::Guest;
use crate::guest::calls::{Host, host};
use crate::guest::card::{Card, response_text};

pub(crate) const PQH: u64 = 0xc0;
pub(crate) const PQT: u64 = 0xc8;
pub(crate) const PQA: u64 = 0xd0;
pub(crate) const PRS: u64 = 0xdc;
pub(crate) const PECTL: u64 = 0xe0;
pub(crate) const PAGE_DATA: u32 = 0x23;
/// Where the page request queue lies: eight pages, and nothing behind them.
pub(crate) const QUEUE: u64 = 0x20_0000;

/// What an observer was told of page requests.
#[derive(Default)]
pub(crate) struct Told(Mutex<Vec<String>>);

impl Told {
    pub(crate) fn take(&self) -> Vec<String> {
        std::mem::take(&mut self.0.lock().unwrap())
    }
}

impl Observer for Told {
    fn page_request_queued(&self, request: &PageRequest) {
        self.0.lock().unwrap().push(format!("queued {request}"));
    }

    fn page_request_dropped(&self, request: &PageRequest, why: &PageRequestError) {
        self.0.lock().unwrap().push(format!("dropped {request}: {why}"));
    }

    fn page_response(&self, response: &PageGroupResponse) {
        self.0.lock().unwrap().push(format!("{} {}", response.source_id, response_text(response)));
    }
}

/// An emulated card at 00:03.0 and an assigned device at 00:04.0, both with PRE; a queue of one page; events are sent.
pub(crate) struct Machine {
    pub(crate) guest: Guest,
    pub(crate) card: Arc<Card>,
    pub(crate) device: DeviceId,
    pub(crate) assigned: DeviceId,
    pub(crate) host: Host,
    pub(crate) told: Arc<Told>,
}

impl Machine {
    pub(crate) fn new() -> Self {
        let (card, host, told) = (Arc::new(Card::default()), host(), Arc::new(Told::default()));
        let guest = Guest::with_cards(|config| {
            config.host = Some(Arc::clone(&host) as _);
            config.observer = Some(Arc::clone(&told) as _);
        });
        for page in (QUEUE..QUEUE + 0x8000).step_by(0x1000) {
            guest.memory.fill_zero_page(vtd::spec::Gpa(page));
        }
        let device = guest.plug(3, &card);
        let assigned = guest.assign(4);
        let machine = Self { guest, card, device, assigned, host, told };
        machine.guest.write(PQA, 8, QUEUE);
        machine.unmask();
        machine
    }

    pub(crate) fn unmask(&self) {
        self.guest.write(PECTL + 4, 4, u64::from(PAGE_DATA));
        self.guest.write(PECTL + 8, 4, 0xfee0_0000);
        self.guest.write(PECTL, 4, 0);
    }

    /// The four quadwords of an entry of the queue.
    pub(crate) fn entry(&self, index: u64) -> [u64; 4] {
        [0, 8, 16, 24].map(|offset| self.guest.get(QUEUE + index * 32 + offset))
    }

    /// What the card was told, after all steps that can be done now.
    pub(crate) fn card_told(&self) -> Vec<String> {
        assert_eq!(self.guest.unit.run(), Step::Idle);
        self.card.take()
    }

    /// What the host was told for its device, after all steps that can be done now.
    pub(crate) fn host_told(&self) -> Vec<String> {
        assert_eq!(self.guest.unit.run(), Step::Idle);
        let responses = self.host.inner().take_responses();
        responses
            .iter()
            .map(|(device, response)| format!("{} {}", device.0, response_text(response)))
            .collect()
    }
}
