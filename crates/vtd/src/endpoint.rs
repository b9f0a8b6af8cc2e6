//! Emulated devices that hold translations of their own and ask for pages.

use std::fmt;
use std::sync::Arc;

use vtd_spec::descriptor::{PageGroupResponse, PageRange};
use vtd_spec::{Pasid, SourceId};

/// An emulated device with a device TLB (ATS), and perhaps page requests (PRI), as the unit calls it.
///
/// Both methods are called by [`RemappingUnit::step`](crate::RemappingUnit::step), with no lock of the unit held, one call after
/// the other. They must not wait for the unit to go on, and should not wait for anything else: nothing behind them in the
/// invalidation queue is carried out before they return. They may call the unit. After a panic of
/// [`invalidate_device_tlb`](Self::invalidate_device_tlb) the invalidation counts as delivered and not answered.
pub trait Endpoint: Send + Sync {
    /// Drops translations that the device has been given. Comes in the order of the guest's descriptors, and again after a
    /// restore: dropping twice has to be harmless.
    ///
    /// What was translated before must be in use no more when this returns [`DeviceTlbAnswer::Done`], or else when
    /// [`RemappingUnit::device_tlb_invalidated`](crate::RemappingUnit::device_tlb_invalidated) is called; page requests that
    /// the device has sent before have been handed to the unit by then. The guest's invalidation wait behind it completes no
    /// sooner.
    fn invalidate_device_tlb(&self, invalidation: &DeviceTlbInvalidation) -> DeviceTlbAnswer;

    /// The answer to a group of page requests: the guest's, or a failure from the unit itself for a request that was refused.
    fn page_group_response(&self, response: &PageGroupResponse);
}

/// Which translations a device is to drop: a type 3 or type 8 descriptor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct DeviceTlbInvalidation {
    /// What to answer with later.
    pub id: InvalidationId,
    /// SID: the device.
    pub source_id: SourceId,
    /// PFSID: the physical function that throttles the device's invalidations; 0 without ECAP.DIT.
    pub pfsid: SourceId,
    /// Whose translations.
    pub pasids: DeviceTlbPasids,
    /// The pages; everything where the descriptor's size says so.
    pub pages: PageRange,
}

impl DeviceTlbInvalidation {
    pub(crate) fn new(
        id: InvalidationId,
        source_id: SourceId,
        pfsid: SourceId,
        pasids: DeviceTlbPasids,
        pages: PageRange,
    ) -> Self {
        Self { id, source_id, pfsid, pasids, pages }
    }
}

/// Whose translations a [`DeviceTlbInvalidation`] is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DeviceTlbPasids {
    /// Type 3: those of requests without PASID.
    WithoutPasid,
    /// Type 8 with G=0: those of this PASID.
    One(Pasid),
    /// Type 8 with G=1: those of every PASID.
    All,
}

/// The number of a device-TLB invalidation. A unit gives each of its invalidations another one, also after a restore.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct InvalidationId(pub u64);

/// What an [`Endpoint`] says to an invalidation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DeviceTlbAnswer {
    /// It is done.
    Done,
    /// [`RemappingUnit::device_tlb_invalidated`](crate::RemappingUnit::device_tlb_invalidated) says when it is.
    Later,
}

/// The endpoint behind a device.
#[derive(Clone, Default)]
pub(crate) enum EndpointSlot {
    /// The device has no device TLB.
    #[default]
    Absent,
    /// The saved unit had one; the VMM has not named it again.
    Awaited,
    Present(Arc<dyn Endpoint>),
}

impl fmt::Debug for EndpointSlot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Absent => "Absent",
            Self::Awaited => "Awaited",
            Self::Present(_) => "Present",
        })
    }
}
