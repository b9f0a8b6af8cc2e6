//! What comes of a request.

/// What comes of an untranslated request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Answer {
    /// It reaches memory.
    Memory(Translation),
    /// It is a write without PASID to FEE0_0000 to FEEF_FFFF: an interrupt request, and no DMA.
    Interrupt,
    /// It is blocked with a fault.
    Fault(Fault),
    /// It is blocked, and nothing is recorded.
    Blocked,
}

/// What comes of a translation request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum TranslationAnswer {
    /// A translation that the device may keep.
    Granted(Grant),
    /// A successful answer that grants nothing; with the fault that is behind it, which only of code 91 is reported.
    Nothing(Option<Fault>),
    /// An unsuccessful answer with a fault.
    Fault(Fault),
    /// An unsuccessful answer, and nothing is recorded.
    Blocked,
}

/// What comes of a translated request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum TranslatedAnswer {
    /// It reaches memory at its address.
    Memory,
    /// It is blocked with a fault.
    Fault(Fault),
    /// It is blocked, and nothing is recorded.
    Blocked,
}

/// Where an address leads, and what is granted there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Translation {
    /// The address that the requested one leads to, byte by byte.
    pub address: u64,
    /// The size of the page around it as a power of two.
    pub bits: u8,
    /// Reads are granted.
    pub read: bool,
    /// Writes are granted.
    pub write: bool,
}

/// What a translation request is granted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Grant {
    /// The address that the requested one leads to, byte by byte.
    pub address: u64,
    /// The size of the page around it as a power of two.
    pub bits: u8,
    /// Reads.
    pub read: bool,
    /// Writes.
    pub write: bool,
    /// Execution.
    pub execute: bool,
    /// All of it for requests with supervisor privilege.
    pub privileged: bool,
    /// Untranslated accesses only.
    pub untranslated: bool,
}

/// A fault with its reason code.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Fault {
    /// The architecture's code.
    pub code: u8,
    /// Whether it is reported: false where FPD suppresses it.
    pub recorded: bool,
}

/// Whether FPD suppresses the recording of a code.
pub(crate) const fn is_qualified(code: u8) -> bool {
    matches!(
        code,
        0x02..=0x07 | 0x0b..=0x0e | 0x41..=0x48 | 0x51 | 0x52 | 0x59..=0x5d | 0x70..=0x77 | 0x79..=0x91
    ) || matches!(code, 0x22 | 0x24 | 0x26..=0x28)
}

/// Whether a translation request that faults so is answered with success and nothing granted.
pub(crate) const fn is_recoverable(code: u8) -> bool {
    matches!(
        code,
        0x04..=0x06 | 0x51 | 0x59 | 0x5c | 0x5d | 0x70..=0x77 | 0x79 | 0x80..=0x86 | 0x90 | 0x91
    )
}
