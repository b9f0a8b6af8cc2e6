//! What a request asks for and what a walk grants.

use vtd_spec::Capabilities;

/// What a request asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct Access {
    /// The request writes.
    pub write: bool,
    /// The request fetches instructions.
    pub execute: bool,
    /// The request has supervisor privilege.
    pub privileged: bool,
    /// The request reads no bytes: where CAP.ZLR is shown a second stage that permits writes alone serves it too. It is a read in
    /// all else, and it means nothing in a write.
    pub zero_length: bool,
}

impl Access {
    /// A read with user privilege.
    pub const READ: Self =
        Self { write: false, execute: false, privileged: false, zero_length: false };
    /// A write with user privilege.
    pub const WRITE: Self = Self { write: true, ..Self::READ };
    /// A read of no bytes with user privilege.
    pub const ZERO_LENGTH_READ: Self = Self { zero_length: true, ..Self::READ };

    /// The same, fetching instructions.
    #[must_use]
    pub const fn executing(self) -> Self {
        Self { execute: true, ..self }
    }

    /// The same, with user privilege.
    #[must_use]
    pub const fn without_privilege(self) -> Self {
        Self { privileged: false, ..self }
    }

    /// The same, with supervisor privilege.
    #[must_use]
    pub const fn with_privilege(self) -> Self {
        Self { privileged: true, ..self }
    }

    /// The same to a unit with these capabilities: without CAP.ZLR a read of no bytes is a read like any other.
    #[must_use]
    pub const fn under(self, caps: &Capabilities) -> Self {
        Self { zero_length: self.zero_length && !self.write && caps.zero_length_read(), ..self }
    }

    /// Whether a second stage that grants this serves the request. Its [`zero_length`](Self::zero_length) is taken at its word.
    pub(crate) const fn is_granted(self, read: bool, write: bool) -> bool {
        if self.write { write } else { read || self.zero_length && write }
    }
}

/// What a translation grants to requests of the same privilege.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Granted {
    /// Reads.
    pub read: bool,
    /// Writes.
    pub write: bool,
    /// Instruction fetches.
    pub execute: bool,
}

impl Granted {
    /// Everything, as pass-through grants it.
    pub const ALL: Self = Self { read: true, write: true, execute: true };

    /// Whether this suffices for an access, a read of no bytes being one that CAP.ZLR is shown for ([`Access::under`]).
    #[must_use]
    pub const fn allows(self, access: Access) -> bool {
        access.is_granted(self.read, self.write) && (!access.execute || self.execute)
    }
}

/// Whether a walk sets accessed and dirty bits in the tables.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TableUpdates {
    /// As the architecture says: the walk is on behalf of a device.
    Made,
    /// None: the walk only looks.
    Withheld,
}
