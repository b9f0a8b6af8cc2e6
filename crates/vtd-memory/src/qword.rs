//! One qword of guest memory: eight little-endian bytes that change in one piece.
//!
//! It is only ever accessed as an `AtomicU64`, four bytes of it too: two atomic accesses of different sizes that race are
//! undefined in Rust's memory model.

use core::sync::atomic::{AtomicU64, Ordering};

/// Reads the value with acquire ordering.
pub(crate) fn load(qword: &AtomicU64) -> u64 {
    u64::from_le(qword.load(Ordering::Acquire))
}

/// Writes the value with release ordering.
pub(crate) fn store(qword: &AtomicU64, value: u64) {
    qword.store(value.to_le(), Ordering::Release);
}

/// Writes `new` where `current` is; gives what was there, as `Err` where that is something else.
pub(crate) fn compare_exchange(qword: &AtomicU64, current: u64, new: u64) -> Result<u64, u64> {
    qword
        .compare_exchange(current.to_le(), new.to_le(), Ordering::AcqRel, Ordering::Acquire)
        .map(u64::from_le)
        .map_err(u64::from_le)
}

/// Writes some of its bytes with release ordering, the first of them at `within`, below 8. What others write to the
/// remaining bytes at the same time is kept.
pub(crate) fn store_bytes(qword: &AtomicU64, within: usize, bytes: &[u8]) {
    let merged = |raw: u64| {
        let mut all = raw.to_ne_bytes();
        for (byte, value) in all.iter_mut().skip(within).zip(bytes) {
            *byte = *value;
        }
        u64::from_ne_bytes(all)
    };
    let mut raw = qword.load(Ordering::Relaxed);
    while let Err(newer) =
        qword.compare_exchange_weak(raw, merged(raw), Ordering::Release, Ordering::Relaxed)
    {
        raw = newer;
    }
}
