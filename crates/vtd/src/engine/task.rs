//! What the engine has to do, and what becomes true when it is done.

use vtd_cache::{Reconciliation, StageOneWalk};
use vtd_host::StageOneInvalidation;

use crate::DeviceId;
use crate::guards::Barrier;
use crate::host_calls::HostRequest;

/// Work that takes more than one step, and what it is for.
#[derive(Clone, Debug)]
pub(super) struct Task {
    pub(super) purpose: Purpose,
    pub(super) work: Work,
}

#[derive(Clone, Debug)]
pub(super) enum Work {
    Reconcile(Reconciliation, Source),
    /// Stage-1 invalidations of the bindings that a walk finds.
    StageOne(StageOneWalk, StageOneInvalidation),
}

/// Where the desired side of a reconciliation comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Source {
    /// The guest's tables, or what stands in for them while translation is off.
    Guest,
    Nothing,
    Restored,
}

/// What a task is for: what becomes true when it is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Purpose {
    Reset,
    Restore,
    /// SRTP: GSTS.RTPS.
    Root,
    /// TE: GSTS.TES.
    Translation(bool),
    /// The descriptor at the head of the queue.
    Descriptor,
    /// CCMD.ICC.
    ContextCommand,
    /// IOTLB.IVT.
    IotlbCommand,
    /// All slots of a device: attach or retry.
    Device(DeviceId),
    /// The end of a device.
    Release(DeviceId),
}

/// A completion that waits until what it promises holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Due {
    pub(super) purpose: Purpose,
    pub(super) barrier: Barrier,
}

/// Something that the VMM asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum DeviceJob {
    Reconcile(DeviceId),
    Release(DeviceId),
}

/// What came of working at a task.
pub(super) enum Worked {
    Done,
    More,
    Call(HostRequest),
}

/// What the engine is asked to carry over to a new unit.
#[derive(Clone, Debug, Default)]
pub(crate) struct PendingWork {
    /// IQA as latched, while the queue is enabled.
    pub(crate) queue: Option<u64>,
    pub(crate) queue_closing: bool,
    /// The descriptor at the head had begun.
    pub(crate) descriptor_begun: bool,
    pub(crate) reset: bool,
    pub(crate) restore: bool,
    pub(crate) root: bool,
    pub(crate) translation: Option<bool>,
    pub(crate) context_command: bool,
    pub(crate) iotlb_command: bool,
    pub(crate) reconcile: Vec<DeviceId>,
}
