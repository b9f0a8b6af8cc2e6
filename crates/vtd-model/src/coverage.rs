//! Which invalidation drops which entry.

use crate::bits::mask;
use crate::invalidation::Invalidation;
use crate::path::EntryKind;
use crate::tables::Tag;

/// What drops a translation of a page-table entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Rule {
    /// What the architecture asks of every unit.
    Architecture,
    /// Translations go with the context or PASID-table entry that they were made through, as this project decided.
    Dependents,
}

/// An entry as a cache may hold it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Held {
    pub(crate) kind: EntryKind,
    pub(crate) tag: Tag,
    /// The domain of the entry itself, or of the one above it; `None` where it has none, or it is not known yet.
    pub(crate) domain: Option<u16>,
    /// Page-table entries: it is a leaf.
    pub(crate) leaf: bool,
    /// Page-table entries: the addresses of the page that the IOTLB holds. A table above a leaf is part of the IOTLB's entry
    /// for the page as well as of paging-structure caches, so what drops it from the latter alone is not enough.
    pub(crate) page: (u64, u64),
    /// PASID-table entries: where they lie, and what the first two qwords hold now.
    pub(crate) in_memory: Option<(u64, [u64; 2])>,
}

impl Held {
    /// Whether an invalidation surely drops it. More may always be dropped, so what is not sure does not count.
    /// A PASID-cache invalidation by PASID with the domain that the entry in memory names, `renamed`, counts too: "both domains
    /// have to lead to the entry".
    pub(crate) fn is_dropped_by(
        &self,
        invalidation: &Invalidation,
        rule: Rule,
        renamed: Option<u16>,
    ) -> bool {
        match invalidation {
            Invalidation::Everything => return true,
            Invalidation::Translations => return self.kind != EntryKind::Interrupt,
            _ => {}
        }
        match self.kind {
            EntryKind::Root | EntryKind::Context => self.by_context(invalidation),
            EntryKind::Directory | EntryKind::PasidEntry => {
                let by_pasid = matches!(invalidation, Invalidation::Pasid { .. });
                let renamed = Self { domain: renamed.filter(|_| by_pasid), ..*self };
                self.by_context(invalidation)
                    || self.by_pasid(invalidation)
                    || renamed.by_pasid(invalidation)
            }
            EntryKind::FirstStage { .. } => {
                self.by_first_stage(invalidation) || self.by_dependence(invalidation, rule)
            }
            EntryKind::SecondStage { .. } => {
                self.by_second_stage(invalidation) || self.by_dependence(invalidation, rule)
            }
            EntryKind::Interrupt => self.by_interrupt(invalidation),
        }
    }

    fn by_dependence(&self, invalidation: &Invalidation, rule: Rule) -> bool {
        rule == Rule::Dependents && (self.by_context(invalidation) || self.by_pasid(invalidation))
    }

    fn by_context(&self, invalidation: &Invalidation) -> bool {
        match *invalidation {
            Invalidation::ContextGlobal => true,
            Invalidation::ContextDomain { domain } => {
                !self.tag.legacy || self.domain == Some(domain)
            }
            Invalidation::ContextDevice { domain, source_id, function_mask } => {
                let ignored = match function_mask {
                    0 => 0,
                    1 => 4,
                    2 => 6,
                    _ => 7,
                };
                (source_id ^ self.tag.source_id) & !ignored == 0
                    && (!self.tag.legacy || self.domain == Some(domain))
            }
            _ => false,
        }
    }

    fn by_pasid(&self, invalidation: &Invalidation) -> bool {
        if self.tag.legacy {
            return false;
        }
        match *invalidation {
            Invalidation::PasidGlobal => true,
            Invalidation::PasidDomain { domain } => self.domain == Some(domain),
            Invalidation::Pasid { domain, pasid } => {
                self.domain == Some(domain) && self.tag.pasid == Some(pasid)
            }
            _ => false,
        }
    }

    /// First-stage translations: type 6, and type 2 but by page.
    fn by_first_stage(&self, invalidation: &Invalidation) -> bool {
        match *invalidation {
            Invalidation::IotlbGlobal => true,
            Invalidation::IotlbDomain { domain } => self.domain == Some(domain),
            Invalidation::PasidIotlb { domain, pasid } => {
                self.domain == Some(domain) && self.tag.pasid == Some(pasid)
            }
            Invalidation::PasidIotlbPages { domain, pasid, pages } => {
                let (first, last) = self.page;
                self.domain == Some(domain)
                    && self.tag.pasid == Some(pasid)
                    && (self.leaf || !pages.leaf_only)
                    && pages.overlap(first, last)
            }
            _ => self.by_page_request(invalidation),
        }
    }

    /// The page of a page request.
    fn by_page_request(&self, invalidation: &Invalidation) -> bool {
        match *invalidation {
            Invalidation::FaultingPage { source_id, pasid, address } => {
                let (first, last) = self.page;
                self.leaf
                    && self.tag.source_id == source_id
                    && self.tag.pasid == Some(pasid)
                    && (first..=last).contains(&address)
            }
            _ => false,
        }
    }

    /// Second-stage translations: type 2.
    fn by_second_stage(&self, invalidation: &Invalidation) -> bool {
        match *invalidation {
            Invalidation::IotlbGlobal => true,
            Invalidation::IotlbDomain { domain } => self.domain == Some(domain),
            Invalidation::IotlbPages { domain, pages } => {
                let (first, last) = self.page;
                self.domain == Some(domain)
                    && (self.leaf || !pages.leaf_only)
                    && pages.overlap(first, last)
            }
            _ => false,
        }
    }

    fn by_interrupt(&self, invalidation: &Invalidation) -> bool {
        match *invalidation {
            Invalidation::InterruptGlobal => true,
            Invalidation::InterruptIndex { index, mask } => {
                // 2^IM entries around the index.
                let within = if mask >= 16 { u64::MAX } else { (1 << mask) - 1 };
                (u64::from(index) ^ self.tag.address) & !within == 0
            }
            _ => false,
        }
    }
}

/// The addresses around one that an entry of a level translates.
pub(crate) fn page(address: u64, level: u8) -> (u64, u64) {
    let shift = 12 + 9 * (u32::from(level.max(1)) - 1);
    let within = mask(shift - 1, 0);
    (address & !within, address | within)
}
