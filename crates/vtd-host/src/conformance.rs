//! What every implementation of [`HostIommu`] has to pass.
//!
//! Each check gets a host of its own, calls it, and judges by the answers alone: a slot is held if a second bind is refused
//! as [`AlreadyBound`](crate::HostErrorKind::AlreadyBound), and free if an unbind is refused as
//! [`NotBound`](crate::HostErrorKind::NotBound). What the host's capabilities exclude is skipped, or checked to be refused.
//!
//! ```
//! use vtd_host::conformance::{self, Fixture};
//! use vtd_host::{HostDevice, ModelHost};
//!
//! let report = conformance::run(&mut || {
//!     let host = ModelHost::new();
//!     host.add_device(HostDevice(1));
//!     host.add_device(HostDevice(2));
//!     Fixture::new(host, HostDevice(1), HostDevice(2), HostDevice(3))
//! })?;
//! assert!(report.passed.contains(&"second_bind_is_refused_and_the_first_still_held"));
//! # Ok::<(), conformance::Failure>(())
//! ```

mod checks;
mod trial;

use alloc::boxed::Box;
use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;

use vtd_spec::{Gpa, Pasid};

use crate::{HostDevice, HostError, HostIommu};
use checks::CHECKS;
use trial::{Stop, Trial};

/// A host to be checked, fresh: its devices hold nothing.
#[non_exhaustive]
pub struct Fixture {
    /// The host.
    pub host: Box<dyn HostIommu>,
    /// A device that it has.
    pub device: HostDevice,
    /// Another device that it has.
    pub other: HostDevice,
    /// A device that it does not have.
    pub absent: HostDevice,
    /// Two pages of guest memory that hold first-stage tables. 1000 and 2000 unless changed.
    pub tables: [Gpa; 2],
    /// Two PASIDs of the devices, neither of them 0. 1 and fffff unless changed.
    pub pasids: [Pasid; 2],
}

/// What came of a suite that did not fail.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Report {
    /// The checks that passed, by name.
    pub passed: Vec<&'static str>,
    /// The checks that the host's capabilities leave nothing to do for.
    pub skipped: Vec<Skipped>,
}

/// A check that was not made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Skipped {
    /// Its name.
    pub check: &'static str,
    /// What the host lacks.
    pub reason: &'static str,
}

/// The first check that a host did not pass.
#[derive(Clone, Debug, thiserror::Error)]
#[error("host conformance, {check}: {expectation}")]
#[non_exhaustive]
pub struct Failure {
    /// The name of the check.
    pub check: &'static str,
    /// What was expected, and what was answered.
    pub expectation: String,
    /// The host's error, where it gave one that it should not have given.
    #[source]
    pub error: Option<HostError>,
}

/// Makes every check, each on a host that `fixture` makes for it.
///
/// # Errors
/// The first check that the host does not pass.
pub fn run(fixture: &mut dyn FnMut() -> Fixture) -> Result<Report, Failure> {
    let mut report = Report::default();
    for check in CHECKS {
        match Trial::new(fixture()).and_then(|trial| (check.perform)(&trial)) {
            Ok(()) => report.passed.push(check.name),
            Err(Stop::Skipped(reason)) => {
                report.skipped.push(Skipped { check: check.name, reason });
            }
            Err(Stop::Failed { expectation, error }) => {
                return Err(Failure { check: check.name, expectation, error });
            }
        }
    }
    Ok(report)
}

impl Fixture {
    /// A host with two devices, and one device that it does not have.
    #[must_use]
    pub fn new(
        host: impl HostIommu + 'static,
        device: HostDevice,
        other: HostDevice,
        absent: HostDevice,
    ) -> Self {
        let pasids = [Pasid::from_low_bits(1), Pasid::from_low_bits(0xf_ffff)];
        let tables = [Gpa(0x1000), Gpa(0x2000)];
        Self { host: Box::new(host), device, other, absent, tables, pasids }
    }
}

impl fmt::Debug for Fixture {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Fixture")
            .field("device", &self.device)
            .field("other", &self.other)
            .field("absent", &self.absent)
            .field("tables", &self.tables)
            .field("pasids", &self.pasids)
            .finish_non_exhaustive()
    }
}
