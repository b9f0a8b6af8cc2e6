//! The locks and atomics that threads of a unit meet at: the standard library's, or, with `--cfg loom`, those of a model checker.
//!
//! `tests/model_checked.rs` is built with that cfg and runs the unit itself, not a copy, under every order of these operations.
//! Nothing else sets it. What orders nothing (figures) and what is set once under a lock (`OnceLock`) stays the standard library's.

#[cfg(not(loom))]
pub(crate) use std::sync::{
    Mutex, MutexGuard, RwLock, RwLockReadGuard, RwLockWriteGuard, atomic::AtomicBool,
    atomic::AtomicU16, atomic::AtomicU64, atomic::fence,
};

#[cfg(loom)]
pub(crate) use loom::sync::{
    Mutex, MutexGuard, RwLock, RwLockReadGuard, RwLockWriteGuard, atomic::AtomicBool,
    atomic::AtomicU16, atomic::AtomicU64, atomic::fence,
};
