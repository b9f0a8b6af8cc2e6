//! Fault recording: FSTS and the fault recording registers.

use vtd_spec::FaultRecord;
use vtd_spec::register::FaultStatus;

/// Where F is in the upper quadword of a record.
const PRESENT: u64 = 1 << 63;

/// The fault status and the records of a unit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct FaultRecording {
    /// PPF is not kept: it is the OR of all F bits.
    status: FaultStatus,
    records: Vec<[u64; 2]>,
    next: usize,
}

/// What became of a fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Recording {
    /// It is in a record.
    Recorded,
    /// PFO was set, or is now.
    Overflowed,
}

impl FaultRecording {
    pub(crate) fn new(records: u16) -> Self {
        Self {
            status: FaultStatus::from_bits(0),
            records: vec![[0; 2]; usize::from(records)],
            next: 0,
        }
    }

    fn is_pending(&self) -> bool {
        self.records.iter().any(|[_, high]| high & PRESENT != 0)
    }

    /// FSTS.
    pub(crate) fn status(&self) -> FaultStatus {
        FaultStatus { pending: self.is_pending(), ..self.status }
    }

    /// Whether any cause of a fault event is set.
    pub(crate) fn has_cause(&self) -> bool {
        let status = self.status();
        status.pending
            || status.overflow
            || status.queue_error
            || status.completion_error
            || status.time_out
    }

    /// Enters a fault in the next record in turn. If that is still occupied it is lost, even if others are free.
    pub(crate) fn record(&mut self, fault: &FaultRecord) -> Recording {
        if self.status.overflow {
            return Recording::Overflowed;
        }
        let pending = self.is_pending();
        let count = self.records.len();
        let Some(record) = self.records.get_mut(self.next) else { return Recording::Overflowed };
        if record[1] & PRESENT != 0 {
            self.status.overflow = true;
            return Recording::Overflowed;
        }
        *record = fault.encode();
        if !pending {
            self.status.first_record = u8::try_from(self.next).unwrap_or(0);
        }
        self.next = (self.next + 1) % count;
        Recording::Recorded
    }

    pub(crate) fn set_queue_error(&mut self) {
        self.status.queue_error = true;
    }

    pub(crate) fn set_completion_error(&mut self) {
        self.status.completion_error = true;
    }

    pub(crate) fn set_time_out(&mut self) {
        self.status.time_out = true;
    }

    /// ITE.
    pub(crate) fn has_time_out(&self) -> bool {
        self.status.time_out
    }

    /// Whether the queue has stopped: IQE or ITE is set.
    pub(crate) fn stops_queue(&self) -> bool {
        self.status.queue_error || self.status.time_out
    }

    /// Software writes FSTS: PFO, IQE, ICE and ITE are cleared where a 1 is written.
    pub(crate) fn write_status(&mut self, value: u32) {
        let cleared = FaultStatus::from_bits(value);
        self.status.overflow &= !cleared.overflow;
        self.status.queue_error &= !cleared.queue_error;
        self.status.completion_error &= !cleared.completion_error;
        self.status.time_out &= !cleared.time_out;
    }

    /// The 32-bit word at a byte offset within the recording registers.
    pub(crate) fn read_word(&self, offset: u64) -> u32 {
        let Ok(index) = usize::try_from(offset / 16) else { return 0 };
        let Some([low, high]) = self.records.get(index) else { return 0 };
        let word = if offset & 8 == 0 { *low } else { *high };
        let word = if offset & 4 == 0 { word } else { word >> 32 };
        u32::try_from(word & 0xffff_ffff).unwrap_or(0)
    }

    /// Software writes a word: a 1 in F clears the record, everything else is read-only.
    pub(crate) fn write_word(&mut self, offset: u64, value: u32) {
        let Ok(index) = usize::try_from(offset / 16) else { return };
        if offset % 16 == 12
            && value >> 31 == 1
            && let Some(record) = self.records.get_mut(index)
        {
            *record = [0; 2];
        }
    }

    /// The fault status without PPF, the records and the next one in turn, as they are saved.
    pub(crate) fn save(&self) -> (u32, Vec<[u64; 2]>, usize) {
        (self.status.bits(), self.records.clone(), self.next)
    }

    /// Enters what was saved; `None` where it does not fit this unit.
    pub(crate) fn restore(&mut self, status: u32, records: &[[u64; 2]], next: usize) -> Option<()> {
        if records.len() != self.records.len() || next >= records.len() {
            return None;
        }
        self.records.copy_from_slice(records);
        self.status = FaultStatus { pending: false, ..FaultStatus::from_bits(status) };
        self.next = next;
        Some(())
    }
}
