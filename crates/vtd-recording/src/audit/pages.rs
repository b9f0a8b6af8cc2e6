//! Translations that a unit may hold.

use std::ops::RangeInclusive;

use vtd::spec::descriptor::PageRange;
use vtd::spec::table::{PageSize, Translation};
use vtd::spec::{DomainId, Gpa, Iova, Pasid, SourceId};
use vtd::{Access, Granted};
use vtd_walk::Translated;

use super::nested::pages_under;
use crate::plain_walk::{Entry, PlainWalk, Request};

/// A device, and the PASID that its requests use: none in legacy mode.
pub(super) type Space = (SourceId, Option<Pasid>);

/// The first byte of a page.
pub(super) type Place = (Space, Iova);

/// A translation that the tables gave.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Page {
    from: Iova,
    to: Gpa,
    size: PageSize,
    pub(super) granted: Granted,
    /// Privilege and execute of the request: what is granted depends on them.
    class: (bool, bool),
    /// The domain of the entry that it came through.
    pub(super) domain: DomainId,
    pub(super) reach: Reach,
}

/// The tables that a translation came through, as far as invalidations tell them apart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Reach {
    FirstStage,
    /// Legacy mode's tables too.
    SecondStage,
    /// Both, and the pages of the second stage that were used.
    Nested(Vec<PageRange>),
}

impl Reach {
    /// The tables that a request was translated by, behind this entry.
    pub(super) fn of(
        walk: PlainWalk<'_>,
        entry: &Entry,
        request: Request,
        found: &Translated,
    ) -> Self {
        let Entry::Scalable(entry) = entry else { return Self::SecondStage };
        match &entry.translation {
            Translation::FirstStage(_) => Self::FirstStage,
            Translation::Nested(first, second) => {
                let order = u32::from(found.size.shift()) - 12;
                Self::Nested(pages_under(walk, (entry, *first, second), request, order))
            }
            Translation::SecondStage(_) | Translation::PassThrough => Self::SecondStage,
        }
    }
}

impl Page {
    pub(super) fn new(
        (iova, access): (Iova, Access),
        found: &Translated,
        domain: DomainId,
        reach: Reach,
    ) -> Self {
        Self {
            from: start(iova, found.size),
            to: found.page,
            size: found.size,
            granted: found.granted,
            class: class(access),
            domain,
            reach,
        }
    }

    /// Where it is to be found.
    pub(super) fn place(&self, space: Space) -> Place {
        (space, self.from)
    }

    /// The pages that requests name to get there.
    pub(super) fn range(&self) -> PageRange {
        PageRange::around(self.from, u32::from(self.size.shift()) - 12)
    }

    /// Where it leads a request, if it serves it.
    pub(super) fn lead(&self, iova: Iova, access: Access) -> Option<Gpa> {
        let serves = self.class == class(access) && self.from == start(iova, self.size);
        let address = Gpa(self.to.0 | iova.0 & (self.size.bytes() - 1));
        (serves && !address.is_interrupt()).then_some(address)
    }
}

/// The places where a page could be that holds an address.
pub(super) fn places(space: Space, iova: Iova) -> [Place; 3] {
    let sizes = [PageSize::Size4K, PageSize::Size2M, PageSize::Size1G];
    sizes.map(|size| (space, start(iova, size)))
}

/// The places of all pages that could reach into a range, if none is larger than this.
pub(super) fn places_within(
    space: Space,
    range: PageRange,
    largest: PageSize,
) -> RangeInclusive<Place> {
    let first = start(range.address(), largest);
    (space, first)..=(space, Iova(range.last() << 12 | 0xfff))
}

fn start(iova: Iova, size: PageSize) -> Iova {
    Iova(iova.0 & !(size.bytes() - 1))
}

fn class(access: Access) -> (bool, bool) {
    (access.privileged, access.execute)
}
