//! Several range requests that one walk serves.

use vtd_spec::SourceId;

use crate::RangeRequest;
use crate::domain_filter::DomainFilter;
use crate::number_set::NumberSet;

/// Range requests, of which a walk serves all at once: it compares the pairs that any of them takes, and no others.
///
/// One alone takes no memory of its own, any number of them at most 16 KiB.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RangeRequests(Kept);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Kept {
    One(RangeRequest),
    Several(Several),
}

/// Requests other than for everything.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Several {
    requesters: NumberSet,
    domains: NumberSet,
}

impl Several {
    fn add(&mut self, request: RangeRequest) {
        match request {
            // Who keeps it drops the others.
            RangeRequest::Everything => {}
            RangeRequest::Requesters { source_id, ignored } => {
                requesters(source_id, ignored).for_each(|number| self.requesters.insert(number));
            }
            RangeRequest::Domain(domain) => self.domains.insert(domain.0),
        }
    }
}

impl From<RangeRequest> for RangeRequests {
    fn from(request: RangeRequest) -> Self {
        Self(Kept::One(request))
    }
}

impl RangeRequests {
    /// Adds a request.
    pub fn add(&mut self, request: RangeRequest) {
        if self.cover(request) {
            return;
        }
        if request == RangeRequest::Everything {
            self.0 = Kept::One(request);
            return;
        }
        match &mut self.0 {
            Kept::One(first) => {
                let mut several = Several::default();
                several.add(*first);
                several.add(request);
                self.0 = Kept::Several(several);
            }
            Kept::Several(several) => several.add(request),
        }
    }

    /// Whether they take every pair.
    #[must_use]
    pub fn are_everything(&self) -> bool {
        self.0 == Kept::One(RangeRequest::Everything)
    }

    /// Whether a request would add nothing to them.
    #[must_use]
    pub fn cover(&self, request: RangeRequest) -> bool {
        match request {
            _ if self.are_everything() => true,
            RangeRequest::Everything => false,
            RangeRequest::Requesters { source_id, ignored } => {
                requesters(source_id, ignored).all(|number| self.has_requester(SourceId(number)))
            }
            RangeRequest::Domain(domain) => match &self.0 {
                Kept::One(one) => *one == request,
                Kept::Several(several) => several.domains.contains(domain.0),
            },
        }
    }

    /// Whether all slots of a device are asked for, whatever their domains.
    fn has_requester(&self, source: SourceId) -> bool {
        match &self.0 {
            Kept::One(RangeRequest::Everything) => true,
            Kept::One(RangeRequest::Requesters { source_id, ignored }) => {
                (source_id.0 ^ source.0) & !ignored == 0
            }
            Kept::One(RangeRequest::Domain(_)) => false,
            Kept::Several(several) => several.requesters.contains(source.0),
        }
    }

    /// Which pairs of a device are asked for, if any.
    pub(crate) fn filter(&self, source: SourceId) -> Option<DomainFilter> {
        if self.has_requester(source) {
            return Some(DomainFilter::Any);
        }
        match &self.0 {
            Kept::One(RangeRequest::Domain(domain)) => Some(DomainFilter::One(*domain)),
            Kept::One(_) => None,
            Kept::Several(several) if several.domains.is_empty() => None,
            Kept::Several(several) => Some(DomainFilter::Several(several.domains.clone())),
        }
    }
}

/// The source-ids that are this one in every bit that the mask does not clear: 8 at most where it is a descriptor's function mask.
fn requesters(source_id: SourceId, ignored: u16) -> impl Iterator<Item = u16> {
    let next =
        move |bits: &u16| Some(bits.wrapping_sub(ignored) & ignored).filter(|bits| *bits != 0);
    core::iter::successors(Some(0), next).map(move |bits| source_id.0 & !ignored | bits)
}
