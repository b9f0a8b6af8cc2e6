//! A request to reconcile more than single slots.

use vtd_spec::{DomainId, SourceId};

use crate::{DeviceScope, Scope, SlotScope};

/// All slots of some devices, or those of a domain on all of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RangeRequest {
    /// Everything.
    Everything,
    /// The devices whose source-id is this one in every bit that the mask does not clear.
    Requesters {
        /// The source-id to compare with.
        source_id: SourceId,
        /// Bits that do not count.
        ignored: u16,
    },
    /// The pairs whose held, attempted or guest entry's domain is this one.
    Domain(DomainId),
}

impl From<RangeRequest> for Scope {
    fn from(request: RangeRequest) -> Self {
        let devices = match request {
            RangeRequest::Requesters { source_id, ignored } => {
                DeviceScope::Requesters { source_id, ignored }
            }
            RangeRequest::Everything | RangeRequest::Domain(_) => DeviceScope::All,
        };
        let domain = match request {
            RangeRequest::Domain(domain) => Some(domain),
            RangeRequest::Everything | RangeRequest::Requesters { .. } => None,
        };
        Self { devices, slots: SlotScope::All, domain }
    }
}
