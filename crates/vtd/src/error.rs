//! What can go wrong that is not the guest's doing.

use thiserror::Error;
use vtd_host::HostError;
use vtd_spec::{Pasid, SourceId};

/// A device could not be attached.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum AttachError {
    /// CAP.CM is 0: the guest would never tell of a new entry, so bindings could not follow its tables.
    #[error(
        "{0} cannot be assigned: CAP.CM (caching mode) is 0, so the guest does not tell of new entries"
    )]
    NoCachingMode(SourceId),
    /// The unit was made without a host.
    #[error("{0} cannot be assigned: the unit has no host IOMMU")]
    NoHost(SourceId),
    /// Another device has this source-id.
    #[error("{0} is attached already")]
    SourceIdTaken(SourceId),
    /// Another device has this device of the host, be it one whose release is under way: its slots can be bound for one alone.
    #[error(
        "{source_id} cannot be assigned: its device of the host is assigned to {holder} already"
    )]
    HostDeviceTaken {
        /// Which device.
        source_id: SourceId,
        /// The one that has it.
        holder: SourceId,
    },
    /// The host does not know the device, or does not say what it can bind.
    #[error("{source_id} cannot be assigned: the host refused")]
    Host {
        /// Which device.
        source_id: SourceId,
        /// What the host said.
        source: HostError,
    },
    /// The unit has as many devices as there are handles.
    #[error("{0} cannot be attached: there are too many devices")]
    TooManyDevices(SourceId),
    /// The guest has started, and what it is shown is more than the host has for this device.
    #[error(
        "{source_id} cannot be assigned: the guest is shown {feature}, and the host does not have it"
    )]
    HostLacks {
        /// Which device.
        source_id: SourceId,
        /// The first feature that the host lacks.
        feature: &'static str,
    },
    /// Of the kinds of translation that the guest would be shown, the host has none.
    #[error(
        "{0} cannot be assigned: the host has none of the kinds of translation that the unit shows"
    )]
    NothingInCommon(SourceId),
}

/// A device could not be given another source-id.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum RenumberError {
    /// The handle names no attached device.
    #[error("no such device: it was released")]
    UnknownDevice,
    /// A release of the device is under way.
    #[error("{0} is being released")]
    Releasing(SourceId),
    /// Another device has this source-id, be it one whose release is under way.
    #[error("{0} is attached already")]
    SourceIdTaken(SourceId),
}

/// A handle that names no attached device, or one of the wrong kind for what was asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("no such device: it was released, or is of the other kind (emulated or assigned)")]
pub struct UnknownDevice;

/// The unit could not be saved now.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum SaveError {
    /// A call of the host or of an endpoint is under way on another thread.
    #[error("a call of the host or an endpoint is under way: save again when it has returned")]
    HostCallUnderWay,
}

/// A state could not be restored.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum RestoreError {
    /// The state was saved by a version of the format that this one does not read.
    #[error("state of version {found}: this unit reads versions 1 to {readable}")]
    Version {
        /// The version found.
        found: u32,
        /// The newest version that can be read.
        readable: u32,
    },
    /// The configuration differs from that of the saved unit.
    #[error("the state is of a unit with {what} {saved:#x}, and this one has {configured:#x}")]
    OtherUnit {
        /// The register that differs.
        what: &'static str,
        /// Its value in the state.
        saved: u64,
        /// Its value in the configuration.
        configured: u64,
    },
    /// A field holds what no unit can have.
    #[error("field {field} of the state: {why}")]
    Field {
        /// The field.
        field: &'static str,
        /// What is wrong with it.
        why: &'static str,
    },
    /// A PASID that the guest has could not be reserved on the allocator.
    #[error("PASID {pasid} could not be reserved")]
    PasidRefused {
        /// The PASID.
        pasid: Pasid,
        /// What the allocator said.
        source: HostError,
    },
    /// A PASID that the guest has is somebody else's on a fresh host.
    #[error("PASID {0} is taken")]
    PasidTaken(Pasid),
    /// A device could not be attached again.
    #[error("a device of the state could not be attached")]
    Attach(#[from] AttachError),
}
