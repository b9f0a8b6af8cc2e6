//! What a host says when it does not do what it was asked.

use alloc::sync::Arc;
use core::error::Error;
use core::fmt;

/// Why a host did not do what it was asked, with everything that is known about it.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct HostError {
    /// What sort of failure it is.
    pub kind: HostErrorKind,
    /// The error number of the system call behind it, a positive number, if there was one.
    pub errno: Option<i32>,
    /// What caused it, with its own causes, if the host says so.
    pub source: Option<Arc<dyn Error + Send + Sync>>,
}

/// What sort of failure a [`HostError`] is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
#[non_exhaustive]
pub enum HostErrorKind {
    /// The host could do such a thing, but refused this one (a misaligned table, say).
    #[error("the host refused")]
    Refused,
    /// The host does not have the device, or no longer.
    #[error("the host does not have the device")]
    NoSuchDevice,
    /// The slot holds a binding, so that nothing can be bound to it.
    #[error("the slot is already bound")]
    AlreadyBound,
    /// The slot holds no binding that could be replaced, removed or invalidated.
    #[error("the slot is not bound")]
    NotBound,
    /// The host cannot do such a thing at all: its capabilities say so.
    #[error("the host does not support it")]
    NotSupported,
    /// The host has no room for another binding, mapping or PASID now.
    #[error("the host has no space left")]
    NoSpace,
    /// Anything else.
    #[error("the host failed")]
    Other,
}

/// An ordered batch of invalidations that a host did not do, or did in part.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{handled} invalidations done, then the host failed")]
pub struct InvalidateError {
    /// How many entries of the batch are done, counted from its beginning: less than its length. The entry at this place is
    /// the one that failed, and nothing behind it is done.
    pub handled: usize,
    /// Why that one failed.
    #[source]
    pub error: HostError,
}

impl HostError {
    /// A failure of which nothing more is known.
    #[must_use]
    pub const fn new(kind: HostErrorKind) -> Self {
        Self { kind, errno: None, source: None }
    }

    /// The same with the error number of a system call.
    #[must_use]
    pub fn with_errno(self, errno: i32) -> Self {
        Self { errno: Some(errno), ..self }
    }

    /// The same with what caused it.
    #[must_use]
    pub fn with_source(self, source: impl Error + Send + Sync + 'static) -> Self {
        Self { source: Some(Arc::new(source)), ..self }
    }
}

impl From<HostErrorKind> for HostError {
    fn from(kind: HostErrorKind) -> Self {
        Self::new(kind)
    }
}

impl fmt::Display for HostError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.kind.fmt(f)?;
        self.errno.map_or(Ok(()), |errno| write!(f, " (errno {errno})"))
    }
}

// By hand, since the cause is to be seen as itself, not as the `Arc` that shares it.
impl Error for HostError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.source.as_deref().map(|source| source as &(dyn Error + 'static))
    }
}
