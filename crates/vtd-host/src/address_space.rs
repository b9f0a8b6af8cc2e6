//! What a host without hardware maps for one slot.

use std::collections::BTreeMap;
use std::vec::Vec;

use vtd_spec::{Gpa, Iova};

use crate::{HostErrorKind, Mapping, Permission};

/// The mappings of a slot, by first input page; they do not overlap.
#[derive(Clone, Debug, Default)]
pub(crate) struct AddressSpace {
    mappings: BTreeMap<u64, Mapping>,
}

impl AddressSpace {
    pub(crate) fn mappings(&self) -> Vec<Mapping> {
        self.mappings.values().copied().collect()
    }

    /// Where an address leads, and what is granted there.
    pub(crate) fn translate(&self, iova: Iova) -> Option<(Gpa, Permission)> {
        let page = iova.0 >> 12;
        let (_, mapping) = self.mappings.range(..=page).next_back()?;
        let inside = page < mapping.end_page();
        inside.then(|| (Gpa(mapping.gpa.0 + (iova.0 - mapping.iova.0)), mapping.permission))
    }

    fn first_in(&self, first: u64, end: u64) -> Option<&Mapping> {
        let before = self.mappings.range(..end).next_back().map(|(_, mapping)| mapping);
        before.filter(|mapping| mapping.end_page() > first)
    }

    pub(crate) fn map(&mut self, mapping: &Mapping) -> Result<(), HostErrorKind> {
        let first = mapping.iova.0 >> 12;
        let aligned = (mapping.iova.0 | mapping.gpa.0) & 0xfff == 0;
        let bytes = mapping.pages.checked_mul(0x1000);
        let fits = bytes.and_then(|bytes| mapping.gpa.checked_add(bytes - 1)).is_some()
            && mapping.end_page() <= 1 << 52;
        if !aligned || mapping.pages == 0 || !fits {
            return Err(HostErrorKind::Refused);
        }
        if self.first_in(first, mapping.end_page()).is_some() {
            return Err(HostErrorKind::Refused);
        }
        self.mappings.insert(first, *mapping);
        Ok(())
    }

    /// Unmaps pages; a mapping is cut only where that is allowed.
    pub(crate) fn unmap(
        &mut self,
        first: Iova,
        pages: u64,
        cuts: bool,
    ) -> Result<(), HostErrorKind> {
        if first.0 & 0xfff != 0 {
            return Err(HostErrorKind::Refused);
        }
        let (first, end) = (first.0 >> 12, (first.0 >> 12).saturating_add(pages));
        let is_cut = |page: u64| {
            let over = page.checked_sub(1).and_then(|before| self.first_in(before, page));
            over.is_some_and(|mapping| mapping.end_page() > page)
        };
        if !cuts && (is_cut(first) || is_cut(end)) {
            return Err(HostErrorKind::Refused);
        }
        while let Some(mapping) = self.first_in(first, end).copied() {
            let start = mapping.iova.0 >> 12;
            self.mappings.remove(&start);
            if start < first {
                self.mappings.insert(start, Mapping { pages: first - start, ..mapping });
            }
            if mapping.end_page() > end {
                let gone = (end - start) << 12;
                let rest = Mapping {
                    iova: Iova(end << 12),
                    gpa: Gpa(mapping.gpa.0 + gone),
                    pages: mapping.end_page() - end,
                    ..mapping
                };
                self.mappings.insert(end, rest);
            }
        }
        Ok(())
    }
}
