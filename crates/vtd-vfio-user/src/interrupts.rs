//! The MSI-X vectors of a function.

use std::fs::File;
use std::io::Write;
use std::sync::{Arc, Mutex, PoisonError};

/// Where the interrupts of a function go: an event descriptor for each vector, which the VMM hands over as its guest enables
/// them. Clones are the same vectors.
#[derive(Clone, Debug, Default)]
pub struct Interrupts {
    vectors: Arc<Mutex<Vec<Option<File>>>>,
}

impl Interrupts {
    /// As many vectors, none of them enabled.
    #[must_use]
    pub fn new(vectors: u16) -> Self {
        let none = std::iter::repeat_with(|| None).take(usize::from(vectors));
        Self { vectors: Arc::new(Mutex::new(none.collect())) }
    }

    /// Sends the interrupt of a vector, if the guest has enabled it.
    pub fn trigger(&self, vector: u16) {
        let vectors = self.lock();
        if let Some(Some(event)) = vectors.get(usize::from(vector)) {
            // It can fail only when its counter is full, and then the VMM has an interrupt to send anyway.
            let _full = (&*event).write(&1_u64.to_ne_bytes());
        }
    }

    /// Hands over the event descriptors from vector `start` on; `None` disables one.
    pub fn assign(&self, start: u32, events: impl Iterator<Item = Option<File>>) {
        let mut vectors = self.lock();
        let from = usize::try_from(start).unwrap_or(usize::MAX);
        for (vector, event) in vectors.iter_mut().skip(from).zip(events) {
            *vector = event;
        }
    }

    /// Disables all.
    pub fn clear(&self) {
        self.lock().iter_mut().for_each(|vector| *vector = None);
    }

    /// How many there are.
    #[must_use]
    pub fn count(&self) -> usize {
        self.lock().len()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<Option<File>>> {
        self.vectors.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
