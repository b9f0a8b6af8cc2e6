//! What the engine has to do, and what becomes true when it is done.

use vtd_cache::{Reconciliation, ShadowWalk, StageOneScope, StageOneWalk};
use vtd_host::StageOneInvalidation;

use super::device_tlbs::SavedDeviceTlbs;
use super::range_requests::LookAhead;
use crate::guards::Barrier;
use crate::host_calls::HostRequest;
use crate::responses::SavedResponse;
use crate::{DeviceId, InvalidatedInterruptEntries};

/// Work that takes more than one step, and what it is for.
#[derive(Clone, Debug)]
pub(super) struct Task {
    pub(super) purpose: Purpose,
    pub(super) work: Work,
}

impl Task {
    /// Where its reconciliation has come, for planted fault 59.
    pub(super) fn cursor(&self) -> Option<Reconciliation> {
        match &self.work {
            Work::Reconcile(cursor, _) => Some(cursor.clone()),
            _ => None,
        }
    }
}

#[derive(Clone, Debug)]
pub(super) enum Work {
    /// The queue is read ahead for a walk, which then takes the place of this.
    LookAhead(LookAhead),
    Reconcile(Reconciliation, Source),
    /// Stage-1 invalidations of the bindings that a walk finds.
    StageOne(StageOneWalk, StageOneInvalidation),
    /// Shadows are made equal to their tables; then, where a scope is given, stage-1 translations over it are dropped.
    Shadow(ShadowWalk, Option<StageOneScope>),
    /// One call of the interrupt listener.
    TellOfInterrupts {
        entries: InvalidatedInterruptEntries,
        told: bool,
    },
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
    /// SIRTP: GSTS.IRTPS.
    InterruptTable,
    /// IRE: GSTS.IRES.
    InterruptRemapping(bool),
    /// CFI: GSTS.CFIS.
    Compatibility(bool),
    /// EPM: PMEN.PRS.
    ProtectedMemory(bool),
    /// A reset, as far as interrupts are concerned.
    InterruptReset,
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
    Tell(InvalidatedInterruptEntries),
}

/// What the engine carries over to a new unit, in raw integers: it is part of the saved state.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub(crate) struct PendingWork {
    /// IQA as latched, while the queue is enabled.
    pub(crate) queue: Option<u64>,
    pub(crate) queue_closing: bool,
    /// The descriptor at the head had begun.
    pub(crate) descriptor_begun: bool,
    pub(crate) reset: bool,
    pub(crate) restore: bool,
    /// Commands whose work is to begin anew.
    pub(crate) begun: PendingCommands,
    /// Handles of devices whose slots are to be reconciled.
    pub(crate) reconcile: Vec<u32>,
    /// Commands whose work is done, and whose completion waits until what it promises holds.
    pub(crate) due: PendingCommands,
    /// Handles of devices whose release is done but for its completion.
    pub(crate) due_releases: Vec<u32>,
    #[serde(default)]
    pub(crate) device_tlbs: SavedDeviceTlbs,
    /// Page group responses that are not delivered.
    #[serde(default)]
    pub(crate) responses: Vec<SavedResponse>,
    /// The interrupt listener is to be told of a reset.
    #[serde(default)]
    pub(crate) interrupt_reset: bool,
}

/// Commands that are not complete.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub(crate) struct PendingCommands {
    pub(crate) root: bool,
    pub(crate) translation: Option<bool>,
    pub(crate) context: bool,
    pub(crate) iotlb: bool,
    #[serde(default)]
    pub(crate) interrupt_table: bool,
    #[serde(default)]
    pub(crate) interrupt_remapping: Option<bool>,
    #[serde(default)]
    pub(crate) compatibility: Option<bool>,
    #[serde(default)]
    pub(crate) protected_memory: Option<bool>,
}

impl PendingCommands {
    pub(super) fn of(purposes: impl Iterator<Item = Purpose>) -> Self {
        let mut pending = Self::default();
        for purpose in purposes {
            match purpose {
                Purpose::Root => pending.root = true,
                Purpose::Translation(on) => pending.translation = Some(on),
                Purpose::ContextCommand => pending.context = true,
                Purpose::IotlbCommand => pending.iotlb = true,
                Purpose::InterruptTable => pending.interrupt_table = true,
                Purpose::InterruptRemapping(on) => pending.interrupt_remapping = Some(on),
                Purpose::Compatibility(on) => pending.compatibility = Some(on),
                Purpose::ProtectedMemory(on) => pending.protected_memory = Some(on),
                Purpose::Reset
                | Purpose::Restore
                | Purpose::Descriptor
                | Purpose::Device(_)
                | Purpose::Release(_)
                | Purpose::InterruptReset => {}
            }
        }
        pending
    }

    pub(super) fn purposes(self) -> impl Iterator<Item = Purpose> {
        [
            self.root.then_some(Purpose::Root),
            self.translation.map(Purpose::Translation),
            self.context.then_some(Purpose::ContextCommand),
            self.iotlb.then_some(Purpose::IotlbCommand),
            self.interrupt_table.then_some(Purpose::InterruptTable),
            self.interrupt_remapping.map(Purpose::InterruptRemapping),
            self.compatibility.map(Purpose::Compatibility),
            self.protected_memory.map(Purpose::ProtectedMemory),
        ]
        .into_iter()
        .flatten()
    }
}
