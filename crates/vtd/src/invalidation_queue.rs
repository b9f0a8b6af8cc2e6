//! The invalidation queue: where descriptors are fetched from.

use vtd_memory::GuestMemory;
use vtd_spec::descriptor::Descriptor;
use vtd_spec::planted::is_planted;
use vtd_spec::register::{QueueAddress, QueueErrorInfo};
use vtd_spec::{Capabilities, Gpa};

/// The queue as IQA named it when it was enabled. Later writes of IQA do not touch it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct InvalidationQueue {
    address: QueueAddress,
}

/// Why nothing can be fetched.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct QueueStop {
    pub(crate) info: QueueErrorInfo,
    /// For people.
    pub(crate) why: String,
    /// The descriptor, where one was fetched.
    pub(crate) descriptor: Option<[u64; 4]>,
}

impl InvalidationQueue {
    /// Latches IQA.
    pub(crate) fn new(queue_address: u64) -> Self {
        let mut address = QueueAddress::from_bits(queue_address);
        // Planted (row 25): DW is looked for at another bit.
        if is_planted(25) {
            address.wide = queue_address >> 10 & 1 == 1;
        }
        Self { address }
    }

    /// IQA as it was latched.
    pub(crate) fn bits(&self) -> u64 {
        self.address.bits()
    }

    /// The head after the descriptor at this one.
    pub(crate) fn next(&self, head: u64) -> u64 {
        let next = head + self.address.descriptor_bytes();
        // Planted (row 24): the queue is read past its end.
        if next >= self.address.bytes() && !is_planted(124) { 0 } else { next }
    }

    /// The descriptor at `head`, or `None` where the tail is. The tail is checked before anything is fetched.
    pub(crate) fn fetch(
        &self,
        memory: &dyn GuestMemory,
        caps: &Capabilities,
        head: u64,
        tail: u64,
    ) -> Result<Option<Descriptor>, QueueStop> {
        let stop = |info, why| QueueStop { info, why, descriptor: None };
        if self.address.wide && !caps.scalable_mode() {
            let why = "256-bit descriptors need ECAP.SMTS".into();
            return Err(stop(QueueErrorInfo::InvalidWidth, why));
        }
        if !tail.is_multiple_of(self.address.descriptor_bytes()) {
            let why = format!("tail {tail:#x} is not aligned to a 256-bit descriptor");
            return Err(stop(QueueErrorInfo::UnalignedTail, why));
        }
        // Planted (row 25): a tail past the end is not noticed, and never reached.
        if tail >= self.address.bytes() && !is_planted(125) {
            let why =
                format!("tail {tail:#x} is past a queue of {:#x} bytes", self.address.bytes());
            return Err(stop(QueueErrorInfo::InvalidTail, why));
        }
        if head == tail {
            return Ok(None);
        }
        let mut raw = [0; 4];
        let words = if self.address.wide { &mut raw[..] } else { &mut raw[..2] };
        let place = Gpa(self.address.base.0.saturating_add(head));
        memory.load_qwords(place, words).map_err(|error| {
            stop(QueueErrorInfo::FetchFailed, format!("descriptor at {head:#x}: {error}"))
        })?;
        match Descriptor::decode(raw, self.address.wide, caps) {
            Ok(descriptor) => Ok(Some(descriptor)),
            Err(error) => {
                let stop = stop(error.info(), error.to_string());
                Err(QueueStop { descriptor: Some(raw), ..stop })
            }
        }
    }
}

/// Whether a tail moves on: around the end of the queue, from the head on, the old one does not come behind the new one.
pub(crate) fn tail_advances(head: u64, old: u64, new: u64) -> bool {
    if head <= new { (head..=new).contains(&old) } else { old >= head || old <= new }
}
