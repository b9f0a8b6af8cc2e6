//! What devices have been given to keep, and have been told to drop.

use std::collections::BTreeSet;

use vtd::spec::descriptor::{Descriptor, PageRange, PasidSelection};
use vtd::spec::{Gpa, Iova, Pasid, SourceId};

use super::told::{Invalidation, Told};
use super::versions::{Held, Revoked, Times};
use crate::format::{Permissions, RequestAccess};

/// The device TLBs, as full as the lines say that they may be.
#[derive(Debug, Default)]
pub(super) struct DeviceTlbs {
    /// By what a translated request names: the device, the order of the page's size and its address.
    given: Held<(SourceId, u32, Gpa), Given>,
    /// The orders that there are.
    orders: BTreeSet<u32>,
    /// Devices that have not answered an invalidation in time: what it was about they may still hold.
    timed_out: BTreeSet<SourceId>,
}

/// A translation that a device was given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Given {
    pub(super) pasid: Option<Pasid>,
    pub(super) from: Iova,
    pub(super) permissions: Permissions,
}

/// What a device may know of an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Knowledge {
    Held,
    Revoked(Revoked),
    /// It was never given.
    Unknown,
}

impl DeviceTlbs {
    /// A device is given a page of `mask + 1` bytes.
    pub(super) fn give(
        &mut self,
        source_id: SourceId,
        given: Given,
        (gpa, mask): (Gpa, u64),
        line: u64,
    ) {
        let order = (mask >> 12).count_ones();
        self.orders.insert(order);
        let given = Given { from: Iova(given.from.0 & !mask), ..given };
        let times = Times { root: line, context: line, own: line };
        self.given.see((source_id, order, gpa), &given, times);
    }

    /// The guest is told that devices have dropped something.
    pub(super) fn forget(&mut self, told: &Told) {
        let (source_id, pages) = match &told.what {
            Invalidation::Descriptor(Descriptor::DeviceTlb(told)) => (told.source_id, told.pages),
            Invalidation::Descriptor(Descriptor::PasidDeviceTlb(told)) => {
                (told.source_id, told.pages)
            }
            _ => return,
        };
        if self.timed_out.contains(&source_id) {
            return;
        }
        let names = |pasid: Option<Pasid>| match &told.what {
            Invalidation::Descriptor(Descriptor::PasidDeviceTlb(told)) => match told.pasids {
                PasidSelection::One(one) => pasid == Some(one),
                PasidSelection::All => pasid.is_some(),
            },
            _ => pasid.is_none(),
        };
        let all = (source_id, 0, Gpa(0))..=(source_id, u32::MAX, Gpa(u64::MAX));
        self.given.forget(
            told,
            |times| times.own,
            all,
            |(_, order, _), given| {
                names(given.pasid) && PageRange::around(given.from, *order).overlaps(pages)
            },
        );
    }

    /// An invalidation of this device has timed out. The next wait that is done does not speak for it.
    pub(super) fn time_out(&mut self, source_id: SourceId) {
        self.timed_out.insert(source_id);
    }

    /// A wait is done, and with it what came before.
    pub(super) fn wait_is_done(&mut self) {
        self.timed_out.clear();
    }

    /// What a device may know of an address that it uses in this way.
    pub(super) fn knows(
        &self,
        source_id: SourceId,
        address: Gpa,
        access: RequestAccess,
    ) -> Knowledge {
        let mut known = Knowledge::Unknown;
        for order in &self.orders {
            let page = Gpa(PageRange::around(Iova(address.0), *order).address().0);
            let key = (source_id, *order, page);
            let serves = |given: &Given| given.permissions.serve(access);
            if self.given.is_crowded(key) || self.given.of(key).any(|(given, _)| serves(given)) {
                return Knowledge::Held;
            }
            for (_, gone) in self.given.revoked(key).filter(|(given, _)| serves(given)) {
                known = Knowledge::Revoked(*gone);
            }
        }
        known
    }
}
