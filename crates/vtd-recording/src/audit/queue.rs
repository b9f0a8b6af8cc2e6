//! The invalidation queue, read from the recorded memory.

use std::collections::VecDeque;

use vtd::memory::GuestMemory;
use vtd::spec::descriptor::{Descriptor, Wait};
use vtd::spec::register::QueueAddress;
use vtd::spec::{Capabilities, Gpa};

/// The queue as it was enabled, and what of it the guest has not been told is done.
///
/// Descriptors are read when the guest is told that a wait is done: whatever stands before it has been fetched by then, so that
/// the recording has it.
#[derive(Debug)]
pub(super) struct Queue {
    address: QueueAddress,
    /// Where the first descriptor stands that is not known to be done.
    next: u64,
    /// Tails that the guest has written, with their lines.
    tails: VecDeque<(u64, u64)>,
    /// No wait up to the last tail was the one that was looked for: there is no use in looking again.
    is_barren: bool,
    /// An interrupt told of a wait, and ICS.IWC was not cleared since.
    is_interrupt_told: bool,
}

/// How the guest learns that a wait is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sign {
    /// These four bytes were written.
    Status(Gpa, u32),
    /// ICS.IWC is 1.
    Interrupt,
}

impl Sign {
    fn is_of(self, wait: &Wait) -> bool {
        match self {
            Self::Status(place, data) => {
                wait.status.is_some_and(|status| (status.address, status.data) == (place, data))
            }
            // One with a status has been told by that.
            Self::Interrupt => wait.interrupt && wait.status.is_none(),
        }
    }
}

impl Queue {
    /// A queue that is enabled at this line. The tail may have been written before.
    pub(super) fn new(address: QueueAddress, tail: u64, line: u64) -> Self {
        let mut queue = Self {
            address,
            next: 0,
            tails: VecDeque::new(),
            is_barren: false,
            is_interrupt_told: false,
        };
        queue.ring(tail, line);
        queue
    }

    /// The guest writes the tail.
    pub(super) fn ring(&mut self, tail: u64, line: u64) {
        let tail = tail & 0x7_fff0;
        let last = self.tails.back().map_or(self.next, |(tail, _)| *tail);
        let valid =
            tail.is_multiple_of(self.address.descriptor_bytes()) && tail < self.address.bytes();
        if tail != last && valid {
            self.tails.push_back((tail, line));
        }
        self.is_barren = false;
    }

    /// ICS.IWC is cleared: the next time that it is 1 it tells of another wait.
    pub(super) fn clear_interrupt(&mut self) {
        self.is_interrupt_told = false;
    }

    /// The guest sees that a wait is done: the descriptors before it, with the lines at which the guest put them there. `None`
    /// where none was waited for.
    pub(super) fn done(
        &mut self,
        memory: &dyn GuestMemory,
        caps: &Capabilities,
        sign: Sign,
    ) -> Option<Vec<(Descriptor, u64)>> {
        let told = sign == Sign::Interrupt && self.is_interrupt_told;
        if self.is_barren || told {
            return None;
        }
        let mut found = Vec::new();
        let mut next = self.next;
        for (passed, (tail, line)) in self.tails.iter().enumerate() {
            while next != *tail {
                let descriptor = self.descriptor(memory, caps, next);
                next = self.address_after(next);
                match descriptor {
                    Some(Descriptor::Wait(wait)) if sign.is_of(&wait) => {
                        let all = next == *tail;
                        self.tails.drain(..passed + usize::from(all));
                        self.next = next;
                        self.is_interrupt_told |= wait.interrupt;
                        return Some(found);
                    }
                    Some(descriptor) => found.push((descriptor, *line)),
                    // The queue had stopped there, or the unit knows more than this project.
                    None => {}
                }
            }
        }
        self.is_barren = matches!(sign, Sign::Status(..));
        None
    }

    fn address_after(&self, place: u64) -> u64 {
        let next = place + self.address.descriptor_bytes();
        if next >= self.address.bytes() { 0 } else { next }
    }

    fn descriptor(
        &self,
        memory: &dyn GuestMemory,
        caps: &Capabilities,
        place: u64,
    ) -> Option<Descriptor> {
        let mut raw = [0; 4];
        let words = if self.address.wide { &mut raw[..] } else { &mut raw[..2] };
        let place = self.address.base.checked_add(place)?;
        memory.load_qwords(place, words).ok()?;
        Descriptor::decode(raw, self.address.wide, caps).ok()
    }
}
