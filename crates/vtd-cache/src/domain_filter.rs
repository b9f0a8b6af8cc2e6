//! Which pairs of a device a reconciliation compares.

use vtd_spec::DomainId;

use crate::number_set::NumberSet;

/// The domains that lead to a pair: that of what is held, of what was attempted, or of the guest's entry.
#[derive(Clone, Debug)]
pub(crate) enum DomainFilter {
    /// Any, or none at all.
    Any,
    One(DomainId),
    Several(NumberSet),
}

impl DomainFilter {
    /// Whether a pair passes whatever its domains are.
    pub(crate) fn is_open(&self) -> bool {
        matches!(self, Self::Any)
    }

    pub(crate) fn takes(&self, domain: DomainId) -> bool {
        match self {
            Self::Any => true,
            Self::One(one) => *one == domain,
            Self::Several(domains) => domains.contains(domain.0),
        }
    }
}

impl From<Option<DomainId>> for DomainFilter {
    fn from(domain: Option<DomainId>) -> Self {
        domain.map_or(Self::Any, Self::One)
    }
}
