//! DMA through a unit, as rust-vmm's device models do it.
#![cfg(test)]
#![cfg(feature = "iommu")]

mod accesses;
mod guards;
mod guest;
#[cfg(feature = "recording")]
mod recorded;
mod split_queue;
