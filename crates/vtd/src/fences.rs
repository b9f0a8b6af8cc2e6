//! A fence that costs who passes it often next to nothing, and who passes it seldom a system call.
//!
//! Two threads each store something and then look at what the other stores. At least one of them has to see the other's store,
//! which takes a fence between store and look on both sides. Linux's `membarrier` (private, expedited) makes every thread of the process
//! pass a full fence somewhere in the course of the call, so the frequent side needs to keep the compiler from reordering, and no more:
//! wherever in its instructions the fence falls, its store is before it or its look is after it. Where there is no such call both
//! sides have a full fence, which is also what the model checker sees.

use std::sync::atomic::Ordering::SeqCst;
use std::sync::atomic::compiler_fence;

use crate::sync::fence;

/// How a process does it; the same for all of its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fences {
    /// The seldom side makes every thread pass a fence.
    Asymmetric,
    /// Both sides have their own.
    Full,
}

impl Fences {
    /// The cheapest that the platform has.
    pub(crate) fn new() -> Self {
        if membarrier::register() { Self::Asymmetric } else { Self::Full }
    }

    /// The frequent side.
    #[inline]
    pub(crate) fn light(self) {
        match self {
            Self::Asymmetric => compiler_fence(SeqCst),
            Self::Full => fence(SeqCst),
        }
    }

    /// The seldom side; whether it was passed. If not, nothing may be concluded from what is seen behind it.
    pub(crate) fn heavy(self) -> bool {
        match self {
            Self::Asymmetric => membarrier::call(),
            Self::Full => {
                fence(SeqCst);
                true
            }
        }
    }
}

#[cfg(all(target_os = "linux", not(loom)))]
mod membarrier {
    use rustix::thread::{MembarrierCommand, MembarrierQuery, membarrier, membarrier_query};

    /// Whether the process may make the call from now on.
    pub(super) fn register() -> bool {
        membarrier_query().contains(MembarrierQuery::PRIVATE_EXPEDITED)
            && membarrier(MembarrierCommand::RegisterPrivateExpedited).is_ok()
    }

    pub(super) fn call() -> bool {
        membarrier(MembarrierCommand::PrivateExpedited).is_ok()
    }
}

#[cfg(not(all(target_os = "linux", not(loom))))]
mod membarrier {
    pub(super) const fn register() -> bool {
        false
    }

    pub(super) const fn call() -> bool {
        false
    }
}
