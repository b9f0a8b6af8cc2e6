//! What a unit wants done by the VMM.

use std::collections::VecDeque;

use vtd_host::HostError;
use vtd_spec::planted::is_planted;
use vtd_spec::{Pasid, Slot};

use crate::{DeviceId, Diagnostic, InterruptMessage};

/// Something for the VMM to do or to know, taken with [`RemappingUnit::take_effect`](crate::RemappingUnit::take_effect).
#[derive(Debug)]
#[non_exhaustive]
pub enum Effect {
    /// Send this interrupt to the guest.
    Interrupt(InterruptMessage),
    /// A device is released: nothing is held for it and no guard of it is left. Its handle means nothing any more.
    Released(DeviceId),
    /// A call of the host failed. The slot is tried again by the next invalidation that covers it, or by
    /// [`RemappingUnit::retry`](crate::RemappingUnit::retry), a little later. Limited, since a guest can provoke it: of many
    /// failures of a device the VMM is told of some.
    HostCallFailed {
        /// Whose slot.
        device: DeviceId,
        /// Which slot.
        slot: Slot,
        /// What was asked.
        operation: HostOperation,
        /// What the host said, with its causes.
        error: HostError,
    },
    /// The host holds a binding that it should not and did not give up: completions that promise the contrary wait until
    /// [`RemappingUnit::retry`](crate::RemappingUnit::retry) succeeds.
    HostStuck(DeviceId),
    /// The device's bindings, or the ranges mapped for its second-stage tables, are as many as a quota, and the guest's tables
    /// name more: those are blocked until some go. Limited, since a guest can provoke
    /// it.
    OverQuota(DeviceId),
    /// A guard of this device has stood in the way of a completion for longer than the configured patience.
    GuardHeldLong(DeviceId),
    /// For the VMM's log. Limited, since a guest can provoke it.
    Diagnostic(Diagnostic),
    /// This device has not answered a device-TLB invalidation in time. The guest has been told.
    DeviceTlbTimedOut(DeviceId),
    /// The allocator did not take back a PASID of the guest after a reset. The unit forgets it: it is the VMM's to give back.
    PasidNotReturned {
        /// The PASID.
        pasid: Pasid,
        /// What the allocator said, with its causes.
        error: HostError,
    },
}

/// What the host was asked to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HostOperation {
    /// To bind.
    Bind,
    /// To replace.
    Replace,
    /// To unbind.
    Unbind,
    /// To drop cached stage-1 translations.
    Invalidate,
    /// To map pages of a shadowed second-stage table.
    Map,
    /// To unmap pages.
    Unmap,
    /// To pass on a page group response.
    Respond,
}

/// Called when there is an effect to take or work left for [`RemappingUnit::step`](crate::RemappingUnit::step).
pub trait Wake: Send + Sync {
    /// Must not block. No lock of the unit is held.
    fn wake(&self);
}

/// The most effects that wait to be taken.
const CAPACITY: usize = 1024;
/// What is kept free of diagnostics for effects that the VMM cannot do without.
const RESERVED: usize = 512;

/// Effects in the order in which they came about, of bounded number.
#[derive(Debug, Default)]
pub(crate) struct EffectQueue {
    effects: VecDeque<Effect>,
    lost: u64,
}

impl EffectQueue {
    pub(crate) fn push(&mut self, effect: Effect) {
        let limit = match effect {
            // A release answers a call of the VMM, so the VMM itself bounds their number; PASIDs are bounded by their quota, and
            // one that is not told is lost.
            Effect::Released(_) | Effect::PasidNotReturned { .. } => usize::MAX,
            Effect::Interrupt(_) => CAPACITY,
            _ => CAPACITY - RESERVED,
        };
        // Planted (row 20): everything is told, however much it is.
        if self.effects.len() < limit || is_planted(20) {
            self.effects.push_back(effect);
        } else {
            self.lost += 1;
        }
    }

    pub(crate) fn take(&mut self) -> Option<Effect> {
        self.effects.pop_front()
    }

    pub(crate) fn lost(&self) -> u64 {
        self.lost
    }

    /// Drops interrupts that a reset has made meaningless.
    pub(crate) fn forget_interrupts(&mut self) {
        self.effects.retain(|effect| !matches!(effect, Effect::Interrupt(_)));
    }
}
