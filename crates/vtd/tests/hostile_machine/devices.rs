//! Devices that answer late or never, and call the unit whenever they are called.

use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use vtd::spec::descriptor::PageGroupResponse;
use vtd::spec::{Iova, PageRequest, SourceId};
use vtd::{
    DeviceId, DeviceTlbAnswer, DeviceTlbInvalidation, Endpoint, InterruptListener,
    InvalidatedInterruptEntries, InvalidationId, RemappingUnit,
};

use crate::guest::{Numbers, pasid};

/// What an endpoint says, and what it owes.
#[derive(Default)]
pub(crate) struct Card {
    pub(crate) unit: Mutex<Option<RemappingUnit>>,
    pub(crate) device: Mutex<Option<DeviceId>>,
    pub(crate) owed: Mutex<Vec<InvalidationId>>,
    pub(crate) seed: AtomicU64,
}

impl Card {
    pub(crate) fn unit(&self) -> Option<(RemappingUnit, DeviceId)> {
        Some((self.unit.lock().unwrap().clone()?, (*self.device.lock().unwrap())?))
    }

    pub(crate) fn answer_all(&self) {
        let owed = std::mem::take(&mut *self.owed.lock().unwrap());
        if let Some((unit, device)) = self.unit() {
            for id in owed {
                let _gone = unit.device_tlb_invalidated(device, id);
            }
        }
    }
}

impl Endpoint for Card {
    fn invalidate_device_tlb(&self, invalidation: &DeviceTlbInvalidation) -> DeviceTlbAnswer {
        let mut numbers = Numbers(self.seed.fetch_add(0x9e37_79b9, Ordering::Relaxed) | 1);
        let (_, mood) = (numbers.next(), numbers.below(8));
        if let Some((unit, device)) = self.unit() {
            // It may call the unit, whatever it says.
            match mood {
                0 => {
                    let _any = unit.read(0x34, 4);
                    let _any = unit.page_request(device, request(&mut numbers));
                }
                1 => unit.write(0x34, 4, 0x71),
                2 => {
                    let _any = unit.device_tlb_invalidated(device, invalidation.id);
                    return DeviceTlbAnswer::Done;
                }
                _ => {}
            }
        }
        if mood < 5 {
            return DeviceTlbAnswer::Done;
        }
        self.owed.lock().unwrap().push(invalidation.id);
        DeviceTlbAnswer::Later
    }

    fn page_group_response(&self, _: &PageGroupResponse) {
        if let Some((unit, _)) = self.unit() {
            let _any = unit.read(0xdc, 4);
        }
    }
}

/// Asks anew for what it keeps.
#[derive(Default)]
pub(crate) struct Routes(pub(crate) Mutex<Option<RemappingUnit>>);

impl InterruptListener for Routes {
    fn entries_invalidated(&self, _: InvalidatedInterruptEntries) {
        let unit = self.0.lock().unwrap().clone();
        if let Some(unit) = unit {
            for index in 0..4 {
                let _any = unit.route_interrupt(SourceId(0x18), 0xfee0_0010 | index << 5, 0);
            }
        }
    }
}

pub(crate) fn request(numbers: &mut Numbers) -> PageRequest {
    PageRequest {
        source_id: SourceId(0),
        pasid: numbers.of(&[None, Some(1), Some(5), Some(0xf_ffff)]).map(pasid),
        address: Iova(numbers.next()),
        read: numbers.below(2) == 0,
        write: numbers.below(2) == 0,
        execute: false,
        privileged: false,
        last_in_group: numbers.below(2) == 0,
        group_index: 1,
    }
}
