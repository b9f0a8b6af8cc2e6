//! A PASID allocator that asks nobody.

use alloc::collections::BTreeSet;
use std::sync::{Mutex, MutexGuard, PoisonError};

use vtd_spec::Pasid;

use crate::{HostError, HostErrorKind, PasidAllocator, Reservation};

/// Hands out PASIDs by itself, the lowest free one first: for hosts whose kernel does not manage the PASIDs of guests, as today's do
/// not.
#[derive(Debug, Default)]
pub struct LocalPasidAllocator {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    reserved: BTreeSet<Pasid>,
    /// No PASID from 1 up to this one is free.
    full_to: u32,
}

impl LocalPasidAllocator {
    /// An allocator with every PASID but 0 free.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// What is reserved now.
    #[must_use]
    pub fn reserved(&self) -> BTreeSet<Pasid> {
        self.state().reserved.clone()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl PasidAllocator for LocalPasidAllocator {
    fn allocate(&self, end: u32) -> Result<Pasid, HostError> {
        let state = &mut *self.state();
        let mut candidate = state.full_to + 1;
        let behind = Pasid::new(state.full_to).into_iter();
        for taken in behind.flat_map(|full| state.reserved.range(full..)) {
            match taken.get() {
                taken if taken < candidate => {}
                taken if taken == candidate => candidate += 1,
                _ => break,
            }
        }
        state.full_to = candidate - 1;
        let pasid = Pasid::new(candidate).filter(|_| candidate < end);
        let pasid = pasid.ok_or(HostError::new(HostErrorKind::NoSpace))?;
        state.reserved.insert(pasid);
        state.full_to = candidate;
        Ok(pasid)
    }

    fn reserve(&self, pasid: Pasid) -> Result<Reservation, HostError> {
        if pasid == Pasid::ZERO {
            return Err(HostErrorKind::Refused.into());
        }
        Ok(match self.state().reserved.insert(pasid) {
            true => Reservation::Made,
            false => Reservation::HeldAlready,
        })
    }

    fn free(&self, pasid: Pasid) -> Result<(), HostError> {
        let state = &mut *self.state();
        if !state.reserved.remove(&pasid) {
            return Err(HostErrorKind::Refused.into());
        }
        state.full_to = state.full_to.min(pasid.get() - 1);
        Ok(())
    }
}
