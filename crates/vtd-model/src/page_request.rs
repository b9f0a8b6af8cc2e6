//! Page requests: their checks, and the queue that they go into.

use crate::answer::Fault;
use crate::bits::{field, mask};
use crate::invalidation::Invalidation;
use crate::memory::Memory;
use crate::tables::{Tables, Unrecorded};
use crate::unit::{PageRequestQueue, TableMode, Unit};
use crate::walker::Walker;

/// A page request of a device.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct PageRequest {
    /// The device.
    pub source_id: u16,
    /// The PASID, if it has one.
    pub pasid: Option<u32>,
    /// The page.
    pub address: u64,
    /// R.
    pub read: bool,
    /// W.
    pub write: bool,
    /// EXE.
    pub execute: bool,
    /// PM.
    pub privileged: bool,
    /// LPIG.
    pub last: bool,
    /// PRGI.
    pub group: u16,
}

/// What comes of a page request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct PageRequestOutcome {
    /// What happens to it.
    pub fate: PageRequestFate,
    /// The unit itself answers the device with failure, so that it does not wait.
    pub failure: bool,
}

/// What happens to a page request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum PageRequestFate {
    /// It is in the queue.
    Queued {
        /// Where it is written.
        address: u64,
        /// What is written.
        qwords: [u64; 4],
        /// The page request event is raised: PPR and PRO were both clear.
        event: bool,
        /// What is dropped from the IOTLB before.
        dropped: Invalidation,
    },
    /// The queue is full, or cannot be written: PRO is set.
    Overflow {
        /// The page request event is raised.
        event: bool,
    },
    /// PRO was set already.
    Dropped,
    /// It is blocked with a fault.
    Fault(Fault),
    /// It is blocked, and nothing is recorded.
    Blocked,
}

impl PageRequest {
    /// The 32 bytes in the queue.
    #[must_use]
    pub fn qwords(&self) -> [u64; 4] {
        let pasid = self.pasid.map_or(0, |pasid| 1 << 8 | u64::from(pasid & 0xf_ffff) << 32);
        let first = 1
            | pasid
            | u64::from(self.source_id) << 16
            | u64::from(self.execute) << 52
            | u64::from(self.privileged) << 53;
        let second = u64::from(self.read)
            | u64::from(self.write) << 1
            | u64::from(self.last) << 2
            | u64::from(self.group & 0x1ff) << 3
            | self.address & mask(63, 12);
        [first, second, 0, 0]
    }

    /// LPIG=1 with R=W=0 is a stop marker: no response.
    const fn awaits_answer(&self) -> bool {
        self.last && (self.read || self.write)
    }
}

impl PageRequestQueue {
    /// Bytes of the queue: 2^(PQS+7) entries of 32 bytes.
    #[must_use]
    pub const fn size(&self) -> u64 {
        4096 << field(self.address, 2, 0)
    }
}

impl Unit {
    /// Takes a page request: moves the queue's tail and sets PPR and PRO. Memory is left to whoever calls.
    pub fn page_request<M: Memory + ?Sized>(
        &mut self,
        memory: &M,
        request: &PageRequest,
    ) -> PageRequestOutcome {
        let fate = match self.admits(memory, request) {
            Err(Some(fault)) => PageRequestFate::Fault(fault),
            Err(None) => PageRequestFate::Blocked,
            Ok(pasid) => self.enqueue(memory, request, pasid),
        };
        let queued = matches!(fate, PageRequestFate::Queued { .. });
        PageRequestOutcome { fate, failure: !queued && request.awaits_answer() }
    }

    /// The checks, outermost first; the PASID that the page is looked up with.
    pub(crate) fn admits<M: Memory + ?Sized>(
        &self,
        memory: &M,
        request: &PageRequest,
    ) -> Result<u32, Option<Fault>> {
        let (mut steps, mut updates) = (Vec::new(), Vec::new());
        let tables = Unrecorded(memory);
        let mut walker =
            Walker { unit: self, tables, steps: &mut steps, updates: &mut updates, fpd: false };
        walker.admits(request)
    }

    /// Enters a page request that was admitted, with the PASID that its page is looked up with: moves the queue's tail and sets PPR
    /// and PRO. Memory is left to whoever calls.
    pub fn enqueue<M: Memory + ?Sized>(
        &mut self,
        memory: &M,
        request: &PageRequest,
        pasid: u32,
    ) -> PageRequestFate {
        let queue = &mut self.page_requests;
        if queue.overflow {
            return PageRequestFate::Dropped;
        }
        // Bits of PQH and PQT above the size do not count.
        let within = (queue.size() - 1) & !0x1f;
        let (head, tail) = (queue.head & within, queue.tail & within);
        let next = tail + 32 & within;
        let address = (queue.address & mask(63, 12)).wrapping_add(tail);
        let event = !queue.pending;
        if next == head || !memory.writable(address) {
            queue.overflow = true;
            return PageRequestFate::Overflow { event };
        }
        queue.tail = next;
        queue.pending = true;
        let dropped = Invalidation::FaultingPage {
            source_id: request.source_id,
            pasid,
            address: request.address & mask(63, 12),
        };
        PageRequestFate::Queued { address, qwords: request.qwords(), event, dropped }
    }
}

impl<T: Tables> Walker<'_, T> {
    pub(crate) fn admits(&mut self, request: &PageRequest) -> Result<u32, Option<Fault>> {
        if !self.unit.translation {
            return Err(None);
        }
        let code = match self.unit.table_mode() {
            TableMode::Abort => return Err(None),
            TableMode::Invalid => 0x30,
            TableMode::Legacy => 0x32,
            TableMode::Scalable => match self.page_request(request) {
                Ok(pasid) => return Ok(pasid),
                Err(code) => code,
            },
        };
        Err(Some(self.fault(code)))
    }

    fn page_request(&mut self, request: &PageRequest) -> Result<u32, u8> {
        let context = self.scalable_context(request.source_id)?;
        if !context.page_requests {
            return Err(0x47);
        }
        let beyond = |pasid: u32| u64::from(pasid) >> 6 >= context.directory_entries;
        match request.pasid {
            Some(_) if !context.pasids => Err(0x45),
            Some(pasid) if beyond(pasid) => Err(0x46),
            Some(pasid) => Ok(pasid),
            None if beyond(context.rid_pasid) => Err(0x48),
            None => Ok(context.rid_pasid),
        }
    }
}
