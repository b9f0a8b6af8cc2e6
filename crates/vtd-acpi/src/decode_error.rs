//! Why bytes are no DMAR table.

/// Why bytes are no DMAR table: which field of them, and what is wrong with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{field} at byte {offset}: {kind}")]
#[non_exhaustive]
pub struct DecodeError {
    /// Where the field begins, in bytes from the first one that was given.
    pub offset: usize,
    /// The structure, or what is around it, and the field.
    pub field: &'static str,
    /// What is wrong with it.
    pub kind: DecodeErrorKind,
}

/// What is wrong with a field.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DecodeErrorKind {
    /// It runs over the end of what it is in.
    #[error("it has {needed} bytes, and {left} are left")]
    Cut {
        /// How long it is.
        needed: usize,
        /// How much there is.
        left: usize,
    },
    /// Its value is none that it can have.
    #[error("{found:#x} is not {expected}")]
    Invalid {
        /// The value.
        found: u64,
        /// What it has to be.
        expected: &'static str,
    },
}
