//! What a request asks for and what a walk grants.

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
}

impl Access {
    /// A read with user privilege.
    pub const READ: Self = Self { write: false, execute: false, privileged: false };
    /// A write with user privilege.
    pub const WRITE: Self = Self { write: true, execute: false, privileged: false };

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

    /// Whether this suffices for an access.
    #[must_use]
    pub const fn allows(self, access: Access) -> bool {
        if access.write {
            self.write && (!access.execute || self.execute)
        } else {
            self.read && (!access.execute || self.execute)
        }
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
