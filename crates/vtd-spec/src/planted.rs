//! Faults planted on purpose, to show that the tests find them.
//!
//! Each has the number of a row of the project's table of known failures. Only the test-only feature `planted` lets one be on,
//! and then only the one that the environment variable `VTD_PLANTED` names; without the feature every question is answered by a
//! constant `false`, and the planted code is gone.
//!
//! Numbers from 1001 on are races between threads, for the model-checked test alone (`vtd/tests/model_checked`).

/// Whether the fault of this row is planted.
#[cfg(feature = "planted")]
#[must_use]
pub fn is_planted(row: u16) -> bool {
    extern crate std;
    static ROW: std::sync::OnceLock<Option<u16>> = std::sync::OnceLock::new();
    let read = || std::env::var("VTD_PLANTED").ok().and_then(|text| text.parse().ok());
    *ROW.get_or_init(read) == Some(row)
}

/// Whether the fault of this row is planted: never, without the feature `planted`.
#[cfg(not(feature = "planted"))]
#[must_use]
pub const fn is_planted(_row: u16) -> bool {
    false
}
