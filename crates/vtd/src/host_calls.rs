//! The calls of the host, made with no lock held.

use std::sync::Arc;

use vtd_cache::{Call, Change, MappingCall, MappingChange, ShadowRange};
use vtd_host::{
    HostDevice, HostError, HostErrorKind, HostIommu, InvalidateError, Mapping, Permission,
    StageOneInvalidation,
};
use vtd_spec::{Iova, Slot};

use crate::device::Device;
use crate::shared::{Shared, count};
use crate::{Attachment, HostCallView, HostOperation};

/// A call to be made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum HostRequest {
    /// A change that the reconciliation asks for.
    Change(Change),
    /// Stage-1 invalidations of a binding.
    Invalidate(InvalidateRequest),
    /// A change of what is mapped for a shadowed second-stage table.
    Mapping(MappingChange),
}

/// A batch of stage-1 invalidations for one slot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct InvalidateRequest {
    pub(crate) device: vtd_cache::DeviceKey,
    pub(crate) slot: Slot,
    pub(crate) batch: Vec<StageOneInvalidation>,
    /// The batch is what the first try left.
    pub(crate) again: bool,
}

/// What the host answered.
#[derive(Debug)]
pub(crate) struct HostAnswer {
    /// How many entries of a batch were carried out before the error.
    pub(crate) handled: usize,
    pub(crate) error: Option<HostError>,
}

impl HostRequest {
    pub(crate) fn device(&self) -> vtd_cache::DeviceKey {
        match self {
            Self::Change(change) => change.device,
            Self::Invalidate(request) => request.device,
            Self::Mapping(change) => change.device,
        }
    }

    pub(crate) fn slot(&self) -> Slot {
        match self {
            Self::Change(change) => change.slot,
            Self::Invalidate(request) => request.slot,
            Self::Mapping(change) => change.slot,
        }
    }

    pub(crate) fn operation(&self) -> HostOperation {
        match self {
            Self::Change(change) => match change.call {
                Call::Bind(_) => HostOperation::Bind,
                Call::Replace(_) => HostOperation::Replace,
                Call::Unbind => HostOperation::Unbind,
            },
            Self::Invalidate(_) => HostOperation::Invalidate,
            Self::Mapping(change) => match change.call {
                MappingCall::Map(_) => HostOperation::Map,
                MappingCall::Unmap { .. } => HostOperation::Unmap,
            },
        }
    }
}

/// Makes a call. No lock of the unit is held.
pub(crate) fn perform(shared: &Shared, device: &Device, request: &HostRequest) -> HostAnswer {
    count(&shared.figures.host_calls);
    let answer = match (&shared.config.host, device.attachment) {
        (Some(host), Attachment::Assigned(host_device)) => ask(host, host_device, request),
        // Only assigned devices are in the ledger, and they are refused without a host.
        _ => HostAnswer { handled: 0, error: Some(HostErrorKind::NoSuchDevice.into()) },
    };
    if answer.error.is_some() {
        count(&shared.figures.host_failures);
    }
    if let Some(observer) = &shared.config.observer {
        observer.host_call(&view(device, request, answer.error.is_none()));
    }
    answer
}

fn ask(host: &Arc<dyn HostIommu>, device: HostDevice, request: &HostRequest) -> HostAnswer {
    let result = match request {
        HostRequest::Change(change) => match &change.call {
            Call::Bind(held) => host.bind(device, change.slot, &held.binding),
            Call::Replace(held) => host.replace(device, change.slot, &held.binding),
            Call::Unbind => host.unbind(device, change.slot),
        },
        HostRequest::Mapping(change) => match change.call {
            MappingCall::Map(range) => match mapping(&range) {
                Some(mapping) => host.map(device, change.slot, &mapping),
                // A range that grants nothing is never mapped.
                None => Ok(()),
            },
            MappingCall::Unmap { first, pages } => {
                host.unmap(device, change.slot, Iova(first << 12), pages)
            }
        },
        HostRequest::Invalidate(request) => {
            return match host.invalidate(device, request.slot, &request.batch) {
                Ok(()) => HostAnswer { handled: request.batch.len(), error: None },
                Err(InvalidateError { handled, error, .. }) => {
                    HostAnswer { handled, error: Some(error) }
                }
            };
        }
    };
    HostAnswer { handled: 0, error: result.err() }
}

fn mapping(range: &ShadowRange) -> Option<Mapping> {
    let permission = Permission::new(range.read, range.write)?;
    Some(Mapping { iova: range.iova(), gpa: range.address, pages: range.pages, permission })
}

fn view<'a>(device: &Device, request: &'a HostRequest, done: bool) -> HostCallView<'a> {
    let source_id = device.source_id();
    match request {
        HostRequest::Change(change) => {
            let slot = change.slot;
            match change.call {
                Call::Bind(held) => HostCallView::Bind { source_id, slot, held, done },
                Call::Replace(held) => HostCallView::Replace { source_id, slot, held, done },
                Call::Unbind => HostCallView::Unbind { source_id, slot, done },
            }
        }
        HostRequest::Mapping(MappingChange { slot, call, .. }) => match *call {
            MappingCall::Map(range) => HostCallView::Map { source_id, slot: *slot, range, done },
            MappingCall::Unmap { first, pages } => HostCallView::Unmap {
                source_id,
                slot: *slot,
                first: Iova(first << 12),
                pages,
                done,
            },
        },
        HostRequest::Invalidate(request) => {
            HostCallView::Invalidate { source_id, slot: request.slot, batch: &request.batch, done }
        }
    }
}
