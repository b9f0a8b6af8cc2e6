//! Device-TLB invalidations that have no answer yet.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use vtd_spec::descriptor::PageRange;
use vtd_spec::{Iova, Pasid, SourceId};

use crate::guards::Barrier;
use crate::{DeviceId, DeviceTlbInvalidation, DeviceTlbPasids, InvalidationId};

/// How many invalidations one device may have outstanding: as many as the queue of a device with ATS holds at most.
const OF_DEVICE: usize = 32;
/// How many all devices of a unit may have outstanding.
const OF_UNIT: usize = 1024;

/// The invalidations without an answer, in the order of their descriptors.
#[derive(Debug, Default)]
pub(super) struct DeviceTlbs {
    next: u64,
    outstanding: VecDeque<Outstanding>,
    undelivered: usize,
}

#[derive(Clone, Copy, Debug)]
struct Outstanding {
    device: DeviceId,
    invalidation: DeviceTlbInvalidation,
    /// When it was delivered: no time passes for a device before.
    delivered: Option<Instant>,
    /// The VMM says that its time is up.
    expired: bool,
    /// It is delivered when the guards of the device from before it are closed: what the device was given inside one may be on
    /// its way into the device TLB.
    barrier: Barrier,
}

/// What an answer is to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Answered {
    /// To an outstanding invalidation, which is done.
    Outstanding(DeviceTlbInvalidation),
    /// To one that is answered already, has timed out or was forgotten, or is to be delivered anew.
    Late,
    /// To one that the device was never given.
    Unexpected,
}

impl DeviceTlbs {
    pub(super) fn is_empty(&self) -> bool {
        self.outstanding.is_empty()
    }

    /// Whether the device may not be given another invalidation now.
    pub(super) fn is_full(&self, device: DeviceId) -> bool {
        let of_device = self.outstanding.iter().filter(|one| one.device == device).count();
        of_device >= OF_DEVICE || self.outstanding.len() >= OF_UNIT
    }

    /// Takes up an invalidation, to be delivered.
    pub(super) fn enter(
        &mut self,
        device: DeviceId,
        source_id: SourceId,
        pfsid: SourceId,
        pasids: DeviceTlbPasids,
        pages: PageRange,
        barrier: Barrier,
    ) {
        let id = InvalidationId(self.next);
        self.next = self.next.wrapping_add(1);
        let invalidation = DeviceTlbInvalidation::new(id, source_id, pfsid, pasids, pages);
        self.outstanding.push_back(Outstanding {
            device,
            invalidation,
            delivered: None,
            expired: false,
            barrier,
        });
        self.undelivered += 1;
    }

    pub(super) fn has_undelivered(&self) -> bool {
        self.undelivered > 0
    }

    /// The devices that invalidations have to be delivered to, in order, each with what has to be past before.
    pub(super) fn undelivered(&self) -> impl Iterator<Item = (DeviceId, Barrier)> {
        let waiting = self.outstanding.iter().filter(|one| one.delivered.is_none());
        waiting.map(|one| (one.device, one.barrier)).take(self.undelivered)
    }

    /// The first invalidation that has to be delivered to a device; from now on it is.
    pub(super) fn deliver(&mut self, device: DeviceId) -> Option<DeviceTlbInvalidation> {
        let waiting = |one: &&mut Outstanding| one.device == device && one.delivered.is_none();
        let one = self.outstanding.iter_mut().find(waiting)?;
        one.delivered = Some(Instant::now());
        self.undelivered -= 1;
        Some(one.invalidation)
    }

    /// The device has another endpoint: what is outstanding is delivered to it.
    pub(super) fn deliver_again(&mut self, device: DeviceId) {
        for one in self.outstanding.iter_mut().filter(|one| one.device == device) {
            one.delivered = None;
        }
        self.count_undelivered();
    }

    fn count_undelivered(&mut self) {
        self.undelivered = self.outstanding.iter().filter(|one| one.delivered.is_none()).count();
    }

    /// A device says that an invalidation is done.
    pub(super) fn answer(&mut self, device: DeviceId, id: InvalidationId) -> Answered {
        let found = self.outstanding.iter().position(|one| one.invalidation.id == id);
        let Some(place) = found else {
            return if id.0 < self.next { Answered::Late } else { Answered::Unexpected };
        };
        match self.outstanding.get(place).copied() {
            // The endpoint that had it before was asked, and another is to be.
            Some(one) if one.device == device && one.delivered.is_none() => Answered::Late,
            Some(one) if one.device == device => {
                self.outstanding.remove(place);
                self.count_undelivered();
                Answered::Outstanding(one.invalidation)
            }
            _ => Answered::Unexpected,
        }
    }

    /// The time of the oldest outstanding invalidation of a device is up.
    pub(super) fn expire(&mut self, device: DeviceId) {
        let oldest = |one: &&mut Outstanding| one.device == device && !one.expired;
        if let Some(one) = self.outstanding.iter_mut().find(oldest) {
            one.expired = true;
        }
    }

    /// Takes out the first invalidation whose time is up.
    pub(super) fn take_overdue(
        &mut self,
        patience: Duration,
    ) -> Option<(DeviceId, DeviceTlbInvalidation)> {
        // The clock is read once, however many there are: this is asked before each descriptor.
        let now = Instant::now();
        let overdue = |one: &Outstanding| {
            let waited = one.delivered.map(|since| now.saturating_duration_since(since));
            one.expired || waited.is_some_and(|waited| waited > patience)
        };
        let place = self.outstanding.iter().position(overdue)?;
        let taken = self.outstanding.remove(place);
        self.count_undelivered();
        taken.map(|one| (one.device, one.invalidation))
    }

    /// The device is gone, and its device TLB with it.
    pub(super) fn forget(&mut self, device: DeviceId) {
        self.outstanding.retain(|one| one.device != device);
        self.count_undelivered();
    }

    /// All devices are reset.
    pub(super) fn clear(&mut self) {
        self.outstanding.clear();
        self.undelivered = 0;
    }

    pub(super) fn save(&self) -> SavedDeviceTlbs {
        let outstanding = self.outstanding.iter().map(SavedInvalidation::from).collect();
        SavedDeviceTlbs { next: self.next, outstanding }
    }

    /// Takes up what a saved unit had outstanding. All of it is delivered again, and its time begins anew.
    pub(super) fn restore(&mut self, saved: &SavedDeviceTlbs, barrier: Barrier) {
        self.next = saved.next;
        self.outstanding = saved.outstanding.iter().map(|one| one.entry(barrier)).collect();
        self.undelivered = self.outstanding.len();
    }
}

/// The outstanding invalidations of a saved unit, in raw integers.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct SavedDeviceTlbs {
    next: u64,
    outstanding: Vec<SavedInvalidation>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct SavedInvalidation {
    /// The handle of the device.
    device: u32,
    id: u64,
    source_id: u16,
    pfsid: u16,
    /// None for requests without PASID.
    pasid: Option<u32>,
    all_pasids: bool,
    first_page: u64,
    order: u32,
    expired: bool,
}

impl SavedDeviceTlbs {
    /// The handles of the devices.
    pub(crate) fn devices(&self) -> impl Iterator<Item = u32> {
        self.outstanding.iter().map(|one| one.device)
    }
}

impl From<&Outstanding> for SavedInvalidation {
    fn from(one: &Outstanding) -> Self {
        let DeviceTlbInvalidation { id, source_id, pfsid, pasids, pages } = one.invalidation;
        Self {
            device: one.device.0,
            id: id.0,
            source_id: source_id.0,
            pfsid: pfsid.0,
            pasid: match pasids {
                DeviceTlbPasids::One(pasid) => Some(pasid.get()),
                DeviceTlbPasids::WithoutPasid | DeviceTlbPasids::All => None,
            },
            all_pasids: pasids == DeviceTlbPasids::All,
            first_page: pages.first(),
            order: pages.order(),
            expired: one.expired,
        }
    }
}

impl SavedInvalidation {
    fn entry(&self, barrier: Barrier) -> Outstanding {
        let pasids = match self.pasid {
            _ if self.all_pasids => DeviceTlbPasids::All,
            Some(pasid) => DeviceTlbPasids::One(Pasid::from_low_bits(pasid.into())),
            None => DeviceTlbPasids::WithoutPasid,
        };
        Outstanding {
            device: DeviceId(self.device),
            invalidation: DeviceTlbInvalidation::new(
                InvalidationId(self.id),
                SourceId(self.source_id),
                SourceId(self.pfsid),
                pasids,
                PageRange::around(Iova(self.first_page << 12), self.order),
            ),
            delivered: None,
            expired: self.expired,
            barrier,
        }
    }
}
