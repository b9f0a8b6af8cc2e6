//! What a device asks for.

/// A request of a device.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Request {
    /// Bus in 15:8, device in 7:3, function in 2:0.
    pub source_id: u16,
    /// The PASID of the request, 20 bits, if it has one.
    pub pasid: Option<u32>,
    /// The address asked for; of a translated request the one that the device had translated.
    pub address: u64,
    /// What it does there.
    pub access: Access,
}

/// The access of a request. A translation request with the no-write flag does not `write`; one without does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Access {
    /// It writes; else it reads.
    pub write: bool,
    /// It asks to execute.
    pub execute: bool,
    /// It has supervisor privilege.
    pub privileged: bool,
    /// It is a read of no bytes.
    pub zero_length: bool,
}

impl Access {
    /// A plain read.
    pub const READ: Self =
        Self { write: false, execute: false, privileged: false, zero_length: false };
    /// A plain write.
    pub const WRITE: Self = Self { write: true, ..Self::READ };
}
