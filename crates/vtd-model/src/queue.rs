//! The invalidation queue, one descriptor at a time.

use crate::bits::{bit, field, mask};
use crate::capabilities::Capabilities;
use crate::descriptor::{Descriptor, decode};
use crate::memory::Memory;

/// The registers of the invalidation queue.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Queue {
    /// GSTS.QIES.
    pub enabled: bool,
    /// IQA as it was when the queue was enabled.
    pub address: u64,
    /// IQH.
    pub head: u64,
    /// IQT.
    pub tail: u64,
    /// FSTS.IQE.
    pub error: bool,
    /// FSTS.ITE.
    pub timeout: bool,
    /// IQERCD.IQEI: of the last error.
    pub code: u8,
}

/// What one step of the queue does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum QueueStep {
    /// Nothing: it is off, stopped by IQE or ITE, or empty.
    Idle,
    /// IQE is set with this IQEI, IQH stays, a fault event is raised.
    Stopped {
        /// IQEI.
        code: u8,
    },
    /// A descriptor to be carried out. IQH has moved past it.
    Descriptor(Descriptor),
}

impl Queue {
    /// Bytes of a descriptor.
    #[must_use]
    pub const fn descriptor_size(&self) -> u64 {
        if bit(self.address, 11) { 32 } else { 16 }
    }

    /// Bytes of the queue: 2^QS pages.
    #[must_use]
    pub const fn size(&self) -> u64 {
        4096 << field(self.address, 2, 0)
    }

    /// Takes the next descriptor. Whoever calls carries it out before the next step; of a wait that cannot complete yet
    /// [`Queue::back`] puts IQH back.
    pub fn step<M: Memory + ?Sized>(&mut self, caps: Capabilities, memory: &M) -> QueueStep {
        if !self.enabled || self.error || self.timeout {
            return QueueStep::Idle;
        }
        match self.fetch(caps, memory) {
            Ok(None) => QueueStep::Idle,
            Ok(Some(descriptor)) => {
                self.head = (self.head + self.descriptor_size()) % self.size();
                QueueStep::Descriptor(descriptor)
            }
            Err(code) => {
                self.error = true;
                self.code = code;
                QueueStep::Stopped { code }
            }
        }
    }

    /// Takes the last step back.
    pub const fn back(&mut self) {
        let behind = self.head + self.size() - self.descriptor_size();
        self.head = behind % self.size();
    }

    fn fetch<M: Memory + ?Sized>(
        &self,
        caps: Capabilities,
        memory: &M,
    ) -> Result<Option<Descriptor>, u8> {
        let wide = bit(self.address, 11);
        // DW=1 needs SMTS.
        if wide && !caps.smts() {
            return Err(5);
        }
        let tail = self.tail & mask(18, 4);
        if wide && bit(tail, 4) {
            return Err(6);
        }
        if tail >= self.size() {
            return Err(1);
        }
        if self.head == tail {
            return Ok(None);
        }
        let at = (self.address & mask(63, 12)).wrapping_add(self.head);
        let mut qwords = [0; 4];
        let length = if wide { 4 } else { 2 };
        for (qword, index) in qwords.iter_mut().take(length).zip(0..) {
            *qword = memory.qword(at.wrapping_add(8 * index)).ok_or(2)?;
        }
        decode(caps, wide, qwords).map(Some)
    }
}
