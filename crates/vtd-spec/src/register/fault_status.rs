//! The fault status register.

/// FSTS (034).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub struct FaultStatus {
    /// PFO (0), cleared by writing 1: a fault was dropped because the next record was still in use.
    pub overflow: bool,
    /// PPF (1), read-only: some record has F set.
    pub pending: bool,
    /// AFO (2), cleared by writing 1: the advanced fault log overflowed; only with CAP.AFL.
    pub log_overflow: bool,
    /// APF (3), cleared by writing 1: the advanced fault log was written; only with CAP.AFL.
    pub log_pending: bool,
    /// IQE (4), cleared by writing 1: the invalidation queue stopped at an error.
    pub queue_error: bool,
    /// ICE (5), cleared by writing 1: a device answered an invalidation wrongly.
    pub completion_error: bool,
    /// ITE (6), cleared by writing 1: a device did not answer an invalidation in time.
    pub time_out: bool,
    /// FRI (15:8), read-only: the record that was first pending when PPF became 1.
    pub first_record: u8,
}

impl FaultStatus {
    /// The status of a register value.
    #[must_use]
    pub const fn from_bits(raw: u32) -> Self {
        Self {
            overflow: raw & 1 == 1,
            pending: raw >> 1 & 1 == 1,
            log_overflow: raw >> 2 & 1 == 1,
            log_pending: raw >> 3 & 1 == 1,
            queue_error: raw >> 4 & 1 == 1,
            completion_error: raw >> 5 & 1 == 1,
            time_out: raw >> 6 & 1 == 1,
            first_record: (raw >> 8 & 0xff) as u8,
        }
    }

    /// The register value.
    #[must_use]
    pub const fn bits(self) -> u32 {
        self.overflow as u32
            | (self.pending as u32) << 1
            | (self.log_overflow as u32) << 2
            | (self.log_pending as u32) << 3
            | (self.queue_error as u32) << 4
            | (self.completion_error as u32) << 5
            | (self.time_out as u32) << 6
            | (self.first_record as u32) << 8
    }
}
