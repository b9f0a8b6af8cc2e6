//! What a recording came to.

/// What a recording came to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct RecordingSummary {
    /// Events written, one line each.
    pub events: u64,
    /// Comments `# note: …` written. Each names something that the format has no line for, so that a replay may come to
    /// something else from there on.
    pub notes: u64,
}
