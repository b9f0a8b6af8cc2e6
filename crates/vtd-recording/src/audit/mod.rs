//! Whether the answers of a recording were still allowed: no DMA uses what the guest had been told is invalid.
//!
//! A unit may keep what its guest's tables said for as long as the guest has not had it invalidated, and any unit may forget it
//! sooner. So the audit keeps, of everything that requests came by, all that the tables said at a request: context entries,
//! PASID-table entries and pages. What an invalidation covers, as the guest put it, goes from there once the guest has been told
//! that it is done, unless the tables have said it again since the guest asked. An answer is right if what is left can give it.
//!
//! All of it is taken from the lines of the recording alone: nothing is asked of a unit or its caches. Done is an invalidation when
//! - the status of a wait behind it is written, or ICS.IWC is read as 1 for a wait without one,
//! - CCMD or IOTLB is read without ICC or IVT and with a granularity that was carried out,
//! - GSTS.RTPS is read as 1, for SRTP where CAP.ESRTPS is shown, or the machine is reset.
//!
//! What the audit does not know, it does not hold against anybody: requests of host-backed devices, whose answers are the host's,
//! translated requests to what the device was never given, and what has changed more often than the audit keeps in mind.

mod covered;
mod device_tlbs;
mod judge;
mod last_valid;
mod nested;
mod pages;
mod queue;
mod registers;
mod report;
mod tables;
mod told;
mod versions;

pub use judge::Audit;
pub use report::{AuditReport, UseAfterInvalidation};
