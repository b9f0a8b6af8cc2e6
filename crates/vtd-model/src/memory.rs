//! How the model reads guest memory.

use std::cell::RefCell;
use std::collections::{BTreeMap, HashMap};
use std::hash::BuildHasher;

/// Guest memory, one qword at a time.
pub trait Memory {
    /// The little-endian qword at an address that is a multiple of 8; `None` where there is no memory.
    fn qword(&self, address: u64) -> Option<u64>;

    /// Whether accessed and dirty bits can be set there.
    fn writable(&self, address: u64) -> bool {
        self.qword(address).is_some()
    }
}

impl<M: Memory + ?Sized> Memory for &M {
    fn qword(&self, address: u64) -> Option<u64> {
        (**self).qword(address)
    }

    fn writable(&self, address: u64) -> bool {
        (**self).writable(address)
    }
}

impl<M: Memory> Memory for RefCell<M> {
    fn qword(&self, address: u64) -> Option<u64> {
        self.borrow().qword(address)
    }

    fn writable(&self, address: u64) -> bool {
        self.borrow().writable(address)
    }
}

/// Qwords by their addresses; elsewhere there is no memory.
impl Memory for BTreeMap<u64, u64> {
    fn qword(&self, address: u64) -> Option<u64> {
        self.get(&address).copied()
    }
}

/// Qwords by their addresses; elsewhere there is no memory.
impl<S: BuildHasher> Memory for HashMap<u64, u64, S> {
    fn qword(&self, address: u64) -> Option<u64> {
        self.get(&address).copied()
    }
}

/// Memory from address 0 on.
impl Memory for [u64] {
    fn qword(&self, address: u64) -> Option<u64> {
        self.get(usize::try_from(address >> 3).ok()?).copied()
    }
}
