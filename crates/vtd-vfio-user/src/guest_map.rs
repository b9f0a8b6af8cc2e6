//! Guest memory, as the VMM maps it for a function.

use std::collections::BTreeMap;
use std::fs::File;
use std::sync::{Arc, Mutex, PoisonError};

use vm_memory::{
    FileOffset, GuestAddress, GuestMemoryAtomic, GuestMemoryMmap, GuestRegionMmap, MmapRegion,
};

/// Why memory cannot be mapped.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum MapError {
    /// The range is empty or ends past the end of the address space.
    #[error("{length:#x} bytes at {address:#x} are no range of memory")]
    Range {
        /// The first byte.
        address: u64,
        /// How many bytes.
        length: u64,
    },
    /// The file cannot be mapped.
    #[error("{length:#x} bytes at {address:#x} cannot be mapped from their file: {source}")]
    File {
        /// The first byte.
        address: u64,
        /// How many bytes.
        length: u64,
        /// Why.
        source: vm_memory::mmap::MmapRegionError,
    },
    /// The ranges do not fit together.
    #[error("the mapped ranges do not fit together: {0}")]
    Regions(#[from] vm_memory::GuestRegionCollectionError),
}

/// The guest memory that a function may reach. Clones are the same map.
///
/// Ranges come and go while firmware runs. One that overlaps others takes their place. Memory that comes without a file (devices of
/// the VMM's own) or is not to be written (ROM) is left out: a request for it finds no memory. The VMM is trusted not to shorten a file that it
/// has handed over.
#[derive(Clone)]
pub struct GuestMap {
    memory: GuestMemoryAtomic<GuestMemoryMmap>,
    regions: Arc<Mutex<BTreeMap<u64, Arc<GuestRegionMmap>>>>,
}

impl Default for GuestMap {
    fn default() -> Self {
        let memory = GuestMemoryAtomic::new(GuestMemoryMmap::new());
        Self { memory, regions: Arc::default() }
    }
}

impl std::fmt::Debug for GuestMap {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("GuestMap").finish_non_exhaustive()
    }
}

impl GuestMap {
    /// The memory. What it gives is the map of the moment when it is asked.
    #[must_use]
    pub fn memory(&self) -> &GuestMemoryAtomic<GuestMemoryMmap> {
        &self.memory
    }

    /// Maps `length` bytes of a file from `offset` on.
    ///
    /// # Errors
    /// [`MapError`]; the map is as it was then.
    pub fn map(&self, address: u64, length: u64, file: File, offset: u64) -> Result<(), MapError> {
        let size = usize::try_from(length).ok().filter(|size| *size > 0);
        let size = size.filter(|_| address.checked_add(length).is_some());
        let size = size.ok_or(MapError::Range { address, length })?;
        let region = MmapRegion::from_file(FileOffset::new(file, offset), size)
            .map_err(|source| MapError::File { address, length, source })?;
        let region = GuestRegionMmap::new(region, GuestAddress(address));
        let region = Arc::new(region.ok_or(MapError::Range { address, length })?);
        self.change(|regions| {
            remove(regions, address, length);
            regions.insert(address, region);
        })
    }

    /// Unmaps what lies in a range.
    ///
    /// # Errors
    /// [`MapError`]; the map is as it was then.
    pub fn unmap(&self, address: u64, length: u64) -> Result<(), MapError> {
        self.change(|regions| remove(regions, address, length))
    }

    /// Unmaps everything.
    ///
    /// # Errors
    /// [`MapError`]; the map is as it was then.
    pub fn clear(&self) -> Result<(), MapError> {
        self.change(BTreeMap::clear)
    }

    fn change(
        &self,
        change: impl FnOnce(&mut BTreeMap<u64, Arc<GuestRegionMmap>>),
    ) -> Result<(), MapError> {
        let mut regions = self.regions.lock().unwrap_or_else(PoisonError::into_inner);
        let mut changed = regions.clone();
        change(&mut changed);
        let memory = match changed.is_empty() {
            true => GuestMemoryMmap::new(),
            false => GuestMemoryMmap::from_arc_regions(changed.values().cloned().collect())?,
        };
        *regions = changed;
        let exclusive = self.memory.lock().unwrap_or_else(PoisonError::into_inner);
        exclusive.replace(memory);
        Ok(())
    }
}

/// Takes out every range that overlaps this one.
fn remove(regions: &mut BTreeMap<u64, Arc<GuestRegionMmap>>, address: u64, length: u64) {
    use vm_memory::GuestMemoryRegion;
    let end = address.saturating_add(length);
    regions.retain(|start, region| *start >= end || start.saturating_add(region.len()) <= address);
}
