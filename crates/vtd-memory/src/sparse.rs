//! Guest memory made of the pages that were written.

use core::fmt;
use core::hash::{BuildHasherDefault, Hasher};
use core::sync::atomic::{AtomicU64, Ordering};
use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock};

use vtd_spec::Gpa;

use crate::page::Page;
use crate::span::Span;
use crate::{AccessError, GuestMemory, qword};

/// Guest memory whose 4 KiB pages are made when they are first written; for tests, replays of recordings and fuzzing.
///
/// It covers the whole 64-bit address space and costs about 4 KiB for each page written. What a page that was never
/// written means is chosen when it is made: with [`new`](Self::new) it is no memory, with
/// [`zero_filled`](Self::zero_filled) it reads as zero, and the reads are counted. Pages never go away.
///
/// The methods of [`GuestMemory`] are what the unit does to its guest's memory; the methods of the type itself are what its
/// owner does: they make pages under either policy and count nothing. All of them may be called from many threads.
pub struct SparseMemory {
    // A snapshot is the map as it was, shared. The map is copied only when a page is made while a snapshot is in use, so
    // that no walk runs with the lock held.
    pages: RwLock<Arc<Pages>>,
    unknown: Option<UnknownReads>,
}

/// Pages by their address.
type Pages = HashMap<Gpa, Arc<Page>, BuildHasherDefault<PageHasher>>;

impl SparseMemory {
    /// Memory in which a page that was never written is no memory: the unit's accesses to it fail.
    #[must_use]
    pub fn new() -> Self {
        Self { pages: RwLock::default(), unknown: None }
    }

    /// Memory in which a page that was never written reads as zero, and is made when the unit writes it.
    #[must_use]
    pub fn zero_filled() -> Self {
        Self { pages: RwLock::default(), unknown: Some(UnknownReads::default()) }
    }

    /// Writes bytes, making the pages that they lie in. Each qword changes in one piece.
    ///
    /// # Errors
    /// The bytes would run past the end of the 64-bit address space; nothing is written then.
    pub fn write_bytes(&self, gpa: Gpa, bytes: &[u8]) -> Result<(), AccessError> {
        let mut rest = bytes;
        for piece in Span::new(gpa, bytes.len(), 1)?.pieces() {
            let here;
            (here, rest) = rest.split_at(piece.size);
            self.page_or_new(piece.page).write_bytes(piece.offset, here);
        }
        Ok(())
    }

    /// Writes one qword in one piece, making the page that it lies in.
    ///
    /// # Errors
    /// `gpa` is no multiple of 8.
    pub fn write_u64(&self, gpa: Gpa, value: u64) -> Result<(), AccessError> {
        for piece in Span::of_qwords(gpa, 1)?.pieces() {
            self.page_or_new(piece.page).store_qwords(piece.offset, &[value]);
        }
        Ok(())
    }

    /// Reads bytes. Where [`zero_filled`](Self::zero_filled) a page that was never written gives zeros.
    ///
    /// # Errors
    /// Not all of them are memory; the contents of `out` mean nothing then.
    pub fn read_bytes(&self, gpa: Gpa, out: &mut [u8]) -> Result<(), AccessError> {
        let span = Span::new(gpa, out.len(), 1)?;
        let mut rest = out;
        for piece in span.pieces() {
            let here;
            (here, rest) = rest.split_at_mut(piece.size);
            match self.page(piece.page) {
                Some(page) => page.read_bytes(piece.offset, here),
                None if self.unknown.is_some() => here.fill(0),
                None => return Err(span.not_backed()),
            }
        }
        Ok(())
    }

    /// Makes the 4 KiB page that holds `gpa` known and all zero, whatever it held.
    pub fn fill_zero_page(&self, gpa: Gpa) {
        self.page_or_new(gpa.page()).clear();
    }

    /// How many pages of 4 KiB are known: what this memory takes up.
    #[must_use]
    pub fn page_count(&self) -> usize {
        self.pages.read().unwrap_or_else(PoisonError::into_inner).len()
    }

    /// Whether the 4 KiB page that holds `gpa` was ever written.
    #[must_use]
    pub fn contains_page(&self, gpa: Gpa) -> bool {
        self.page(gpa.page()).is_some()
    }

    /// How often the unit read a page that was never written: once for each such page of each access. Always 0 for
    /// [`new`](Self::new).
    #[must_use]
    pub fn unknown_reads(&self) -> u64 {
        self.unknown.as_ref().map_or(0, |unknown| unknown.count.load(Ordering::Relaxed))
    }

    /// The first page that the unit read although it was never written, since [`take_unknown`](Self::take_unknown) was last
    /// called.
    #[must_use]
    pub fn first_unknown_page(&self) -> Option<Gpa> {
        self.unknown.as_ref().and_then(|unknown| found(unknown.first.load(Ordering::Relaxed)))
    }

    /// [`first_unknown_page`](Self::first_unknown_page), which is none again afterwards. The count of
    /// [`unknown_reads`](Self::unknown_reads) goes on.
    pub fn take_unknown(&self) -> Option<Gpa> {
        self.unknown
            .as_ref()
            .and_then(|unknown| found(unknown.first.swap(NO_PAGE, Ordering::Relaxed)))
    }

    fn snapshot(&self) -> Snapshot<'_> {
        let pages = Arc::clone(&self.pages.read().unwrap_or_else(PoisonError::into_inner));
        Snapshot { pages, memory: self }
    }

    fn page(&self, page: Gpa) -> Option<Arc<Page>> {
        self.pages.read().unwrap_or_else(PoisonError::into_inner).get(&page).cloned()
    }

    fn page_or_new(&self, page: Gpa) -> Arc<Page> {
        self.page(page).unwrap_or_else(|| {
            let mut pages = self.pages.write().unwrap_or_else(PoisonError::into_inner);
            let made =
                Arc::make_mut(&mut *pages).entry(page).or_insert_with(|| Arc::new(Page::zeroed()));
            Arc::clone(made)
        })
    }
}

impl Default for SparseMemory {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for SparseMemory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SparseMemory")
            .field("pages", &self.pages.read().unwrap_or_else(PoisonError::into_inner).len())
            .field("zero_filled", &self.unknown.is_some())
            .field("unknown_reads", &self.unknown_reads())
            .finish()
    }
}

impl GuestMemory for SparseMemory {
    fn load_u64(&self, gpa: Gpa) -> Result<u64, AccessError> {
        self.snapshot().load_u64(gpa)
    }

    fn load_qwords(&self, gpa: Gpa, out: &mut [u64]) -> Result<(), AccessError> {
        self.snapshot().load_qwords(gpa, out)
    }

    fn compare_exchange_u64(
        &self,
        gpa: Gpa,
        current: u64,
        new: u64,
    ) -> Result<Result<u64, u64>, AccessError> {
        self.snapshot().compare_exchange_u64(gpa, current, new)
    }

    fn store_u32_release(&self, gpa: Gpa, value: u32) -> Result<(), AccessError> {
        self.snapshot().store_u32_release(gpa, value)
    }

    fn store_qwords_release(&self, gpa: Gpa, values: &[u64]) -> Result<(), AccessError> {
        self.snapshot().store_qwords_release(gpa, values)
    }

    fn with_snapshot(&self, walk: &mut dyn FnMut(&dyn GuestMemory)) {
        walk(&self.snapshot());
    }
}

/// The map as it was, and the memory for pages made since: pages never go away, so that a walk may see them.
struct Snapshot<'a> {
    pages: Arc<Pages>,
    memory: &'a SparseMemory,
}

impl Snapshot<'_> {
    /// Looks at a page; at none where it is unknown.
    fn look<R>(&self, page: Gpa, look: impl FnOnce(Option<&Page>) -> R) -> R {
        match self.pages.get(&page) {
            Some(known) => look(Some(known)),
            None => look(self.memory.page(page).as_deref()),
        }
    }

    /// The page to write to; none where it is unknown and stays so.
    fn page_to_write(&self, page: Gpa) -> Option<Arc<Page>> {
        match self.pages.get(&page) {
            Some(known) => Some(Arc::clone(known)),
            None if self.memory.unknown.is_some() => Some(self.memory.page_or_new(page)),
            None => self.memory.page(page),
        }
    }
}

impl GuestMemory for Snapshot<'_> {
    fn load_u64(&self, gpa: Gpa) -> Result<u64, AccessError> {
        let mut value = [0];
        self.load_qwords(gpa, &mut value)?;
        let [value] = value;
        Ok(value)
    }

    fn load_qwords(&self, gpa: Gpa, out: &mut [u64]) -> Result<(), AccessError> {
        let span = Span::of_qwords(gpa, out.len())?;
        let mut rest = out;
        for piece in span.pieces() {
            let here;
            (here, rest) = rest.split_at_mut(piece.size / 8);
            self.look(piece.page, |page| match (page, &self.memory.unknown) {
                (Some(page), _) => {
                    page.load_qwords(piece.offset, here);
                    Ok(())
                }
                (None, Some(unknown)) => {
                    unknown.note(piece.page);
                    here.fill(0);
                    Ok(())
                }
                (None, None) => Err(span.not_backed()),
            })?;
        }
        Ok(())
    }

    fn compare_exchange_u64(
        &self,
        gpa: Gpa,
        current: u64,
        new: u64,
    ) -> Result<Result<u64, u64>, AccessError> {
        let span = Span::of_qwords(gpa, 1)?;
        let piece = span.pieces().next().ok_or(span.not_backed())?;
        if let Some(unknown) = &self.memory.unknown
            && self.look(piece.page, |page| page.is_none())
        {
            unknown.note(piece.page);
        }
        let page = self.page_to_write(piece.page).ok_or(span.not_backed())?;
        let qword = page.qword(piece.offset).ok_or(span.not_backed())?;
        Ok(qword::compare_exchange(qword, current, new))
    }

    fn store_u32_release(&self, gpa: Gpa, value: u32) -> Result<(), AccessError> {
        let span = Span::new(gpa, 4, 4)?;
        for piece in span.pieces() {
            let page = self.page_to_write(piece.page).ok_or(span.not_backed())?;
            page.write_bytes(piece.offset, &value.to_le_bytes());
        }
        Ok(())
    }

    fn store_qwords_release(&self, gpa: Gpa, values: &[u64]) -> Result<(), AccessError> {
        let span = Span::of_qwords(gpa, values.len())?;
        // Nothing is written unless all of it can be.
        if span.pieces().any(|piece| self.page_to_write(piece.page).is_none()) {
            return Err(span.not_backed());
        }
        let mut rest = values;
        for piece in span.pieces() {
            let here;
            (here, rest) = rest.split_at(piece.size / 8);
            let page = self.page_to_write(piece.page).ok_or(span.not_backed())?;
            page.store_qwords(piece.offset, here);
        }
        Ok(())
    }

    fn with_snapshot(&self, walk: &mut dyn FnMut(&dyn GuestMemory)) {
        walk(self);
    }
}

/// Reads of pages that were never written.
struct UnknownReads {
    count: AtomicU64,
    /// The first page, or `NO_PAGE`.
    first: AtomicU64,
}

/// No address of a page: it is not aligned.
const NO_PAGE: u64 = u64::MAX;

fn found(first: u64) -> Option<Gpa> {
    (first != NO_PAGE).then_some(Gpa(first))
}

impl Default for UnknownReads {
    fn default() -> Self {
        Self { count: AtomicU64::new(0), first: AtomicU64::new(NO_PAGE) }
    }
}

impl UnknownReads {
    fn note(&self, page: Gpa) {
        self.count.fetch_add(1, Ordering::Relaxed);
        // A failure means that another page was first.
        let _ = self.first.compare_exchange(NO_PAGE, page.0, Ordering::Relaxed, Ordering::Relaxed);
    }
}

/// Spreads page addresses over the hash map. A walk looks up a page or two for each of its levels, and the standard hasher
/// would take longer than everything else in that.
#[derive(Default)]
struct PageHasher(u64);

impl Hasher for PageHasher {
    fn write_u64(&mut self, value: u64) {
        // Multiplying spreads to the high bits, and the map uses low ones too.
        self.0 = (self.0 ^ value).wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(32);
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.write_u64(u64::from(*byte));
        }
    }

    fn finish(&self) -> u64 {
        self.0
    }
}
