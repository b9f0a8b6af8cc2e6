#![doc = include_str!("../README.md")]
#![forbid(unsafe_code)]

#[cfg(feature = "iommu")]
mod dma;
#[cfg(feature = "iommu")]
mod iommu;
mod map;
mod memory;
mod span;

#[cfg(feature = "iommu")]
pub use dma::{Dma, Guard};
#[cfg(feature = "iommu")]
pub use iommu::{DmaIommu, GuardIommu, GuardedIotlb};
pub use memory::VmMemory;
