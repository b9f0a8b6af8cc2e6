//! A call to a host, as a value.

use vtd_spec::descriptor::PageGroupResponse;
use vtd_spec::{Binding, Iova, Slot};

use crate::{HostDevice, Mapping, StageOneInvalidation};

/// A call that is about to be made, as [`FailingHost::fail_calls`](crate::FailingHost::fail_calls) shows it.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub enum HostCall<'a> {
    /// [`HostIommu::bind`](crate::HostIommu::bind).
    Bind {
        /// The device.
        device: HostDevice,
        /// The slot.
        slot: Slot,
        /// What is to be held.
        binding: &'a Binding,
    },
    /// [`HostIommu::replace`](crate::HostIommu::replace).
    Replace {
        /// The device.
        device: HostDevice,
        /// The slot.
        slot: Slot,
        /// What is to be held from then on.
        binding: &'a Binding,
    },
    /// [`HostIommu::unbind`](crate::HostIommu::unbind).
    Unbind {
        /// The device.
        device: HostDevice,
        /// The slot.
        slot: Slot,
    },
    /// [`HostIommu::invalidate`](crate::HostIommu::invalidate).
    Invalidate {
        /// The device.
        device: HostDevice,
        /// The slot.
        slot: Slot,
        /// What is to be dropped.
        batch: &'a [StageOneInvalidation],
    },
    /// [`HostIommu::map`](crate::HostIommu::map).
    Map {
        /// The device.
        device: HostDevice,
        /// The slot.
        slot: Slot,
        /// What is to be shown.
        mapping: &'a Mapping,
    },
    /// [`HostIommu::unmap`](crate::HostIommu::unmap).
    Unmap {
        /// The device.
        device: HostDevice,
        /// The slot.
        slot: Slot,
        /// The first page.
        first: Iova,
        /// How many pages of 4 KiB.
        pages: u64,
    },
    /// [`HostIommu::respond`](crate::HostIommu::respond).
    Respond {
        /// The device.
        device: HostDevice,
        /// What it is told.
        response: &'a PageGroupResponse,
    },
}
