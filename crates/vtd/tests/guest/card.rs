//! A device with a device TLB that asks for pages, and what it was told, as text.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use vtd::spec::descriptor::{PageGroupResponse, ResponseCode};
use vtd::spec::{Capabilities, Iova, PageRequest, SourceId};
use vtd::{
    DeviceId, DeviceTlbAnswer, DeviceTlbInvalidation, DeviceTlbPasids, Endpoint, InvalidationId,
    UnitConfig,
};

use super::{CAP, ECAP, Guest, pasid, source_id};

/// The capabilities of the guest with PRS, DIT and PDS.
pub(crate) const ECAP_CARDS: u64 = ECAP | 0x0000_0600_2000_0000;

/// Texts are `tlb 5 1000 1` (PASID, `-` or `*`; first address; pages, or `all`) and `response 5 1ff 0` (PASID, group, code).
#[derive(Default)]
pub(crate) struct Card {
    told: Mutex<Vec<String>>,
    ids: Mutex<Vec<InvalidationId>>,
    later: AtomicBool,
}

impl Card {
    /// One that says `Later`.
    pub(crate) fn slow() -> Arc<Self> {
        let card = Self::default();
        card.later.store(true, Ordering::SeqCst);
        Arc::new(card)
    }

    pub(crate) fn take(&self) -> Vec<String> {
        std::mem::take(&mut self.told.lock().unwrap())
    }

    /// The invalidations that were delivered since the last time.
    pub(crate) fn take_ids(&self) -> Vec<InvalidationId> {
        std::mem::take(&mut self.ids.lock().unwrap())
    }
}

impl Endpoint for Card {
    fn invalidate_device_tlb(&self, invalidation: &DeviceTlbInvalidation) -> DeviceTlbAnswer {
        let pasids = match invalidation.pasids {
            DeviceTlbPasids::WithoutPasid => "-".into(),
            DeviceTlbPasids::One(pasid) => format!("{pasid}"),
            DeviceTlbPasids::All => "*".into(),
        };
        let pages = match invalidation.pages.is_everything() {
            true => "all".into(),
            false => format!("{:x}", invalidation.pages.pages()),
        };
        let address = invalidation.pages.address().0;
        let pfsid = match invalidation.pfsid.0 {
            0 => String::new(),
            pfsid => format!(" pf {pfsid:x}"),
        };
        self.told.lock().unwrap().push(format!("tlb {pasids} {address:x} {pages}{pfsid}"));
        self.ids.lock().unwrap().push(invalidation.id);
        match self.later.load(Ordering::SeqCst) {
            true => DeviceTlbAnswer::Later,
            false => DeviceTlbAnswer::Done,
        }
    }

    fn page_group_response(&self, response: &PageGroupResponse) {
        self.told.lock().unwrap().push(response_text(response));
    }
}

pub(crate) fn response_text(response: &PageGroupResponse) -> String {
    let pasid = response.pasid.map_or("-".into(), |pasid| format!("{pasid}"));
    let code = match response.code {
        ResponseCode::Success => '0',
        ResponseCode::Invalid => '1',
        ResponseCode::Failure => 'f',
    };
    format!("response {pasid} {:x} {code}", response.group_index)
}

impl Guest {
    /// A guest in scalable mode whose unit shows all that cards need; 00:03.0 to 00:05.0 have context entries with DTE,
    /// PASIDE and PRE.
    pub(crate) fn with_cards(change: impl FnOnce(&mut UnitConfig)) -> Self {
        let mut guest = Self::made(Capabilities::new(CAP, ECAP_CARDS).unwrap(), change);
        guest.enable();
        for device in [3, 4, 5] {
            guest.put_context(device, 0);
            guest.put(0x2000 + device * 8 * 32, &[Self::directory(device) | 0x1d]);
        }
        guest
    }

    /// A card at 00:`device`.0.
    pub(crate) fn plug(&self, device: u64, card: &Arc<Card>) -> DeviceId {
        self.unit.attach_endpoint(source_id(device), Arc::clone(card) as _).unwrap()
    }
}

/// Type 3 for 00:`device`.0: one page.
pub(crate) fn device_tlb(device: u64, address: u64) -> [u64; 4] {
    [3 | device << 35, address, 0, 0]
}

/// A request of a page: R and W, the last of its group.
pub(crate) fn page_request(number: Option<u32>, address: u64, group: u16) -> PageRequest {
    PageRequest {
        source_id: SourceId(0),
        pasid: number.map(pasid),
        address: Iova(address),
        read: true,
        write: true,
        execute: false,
        privileged: false,
        last_in_group: true,
        group_index: group,
    }
}
