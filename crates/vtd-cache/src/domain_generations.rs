//! When each domain was last invalidated.

use alloc::vec::Vec;

use vtd_spec::DomainId;

/// A generation for each domain, up to the largest that was ever invalidated: at most 512 KiB.
#[derive(Clone, Debug, Default)]
pub(crate) struct DomainGenerations {
    generations: Vec<u64>,
}

impl DomainGenerations {
    /// The generation of a domain; 0 where it was never invalidated.
    pub(crate) fn get(&self, domain: DomainId) -> u64 {
        self.generations.get(usize::from(domain.0)).copied().unwrap_or(0)
    }

    pub(crate) fn set(&mut self, domain: DomainId, generation: u64) {
        let index = usize::from(domain.0);
        if self.generations.len() <= index {
            self.generations.resize(index + 1, 0);
        }
        if let Some(place) = self.generations.get_mut(index) {
            *place = generation;
        }
    }
}
