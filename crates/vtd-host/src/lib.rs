#![doc = include_str!("../README.md")]
#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;
#[cfg(feature = "std")]
extern crate std;

#[cfg(feature = "std")]
mod address_space;
#[cfg(feature = "std")]
mod call;
mod capabilities;
pub mod conformance;
mod device;
mod error;
#[cfg(feature = "std")]
mod failing;
mod host;
mod invalidation;
#[cfg(feature = "std")]
mod local_pasid_allocator;
mod mapping;
#[cfg(feature = "std")]
mod model;
mod pasid_allocator;

#[cfg(feature = "std")]
pub use call::HostCall;
pub use capabilities::HostCapabilities;
pub use device::HostDevice;
pub use error::{HostError, HostErrorKind, InvalidateError};
#[cfg(feature = "std")]
pub use failing::FailingHost;
pub use host::HostIommu;
pub use invalidation::{StageOneInvalidation, StageOneRange};
#[cfg(feature = "std")]
pub use local_pasid_allocator::LocalPasidAllocator;
pub use mapping::{Mapping, Permission};
#[cfg(feature = "std")]
pub use model::{CallCounts, ModelHost};
pub use pasid_allocator::{PasidAllocator, Reservation};
