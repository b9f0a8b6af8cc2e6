//! What a channel is told to do.

use vtd::spec::Pasid;

/// The most bytes of a job.
pub(super) const MOST_BYTES: u32 = 1 << 20;

/// What the requests of a job are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// Untranslated reads or writes.
    Untranslated { write: bool },
    /// A translation request.
    Translate,
    /// A page request.
    RequestPage,
    /// Reads or writes through the device TLB.
    Translated { write: bool },
    /// No request: translations are dropped.
    DropTranslations,
}

/// A job of a channel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Job {
    pub(super) kind: Kind,
    pub(super) pasid: Option<Pasid>,
    pub(super) execute: bool,
    pub(super) privileged: bool,
    /// Translation and page requests are for writing too.
    pub(super) writable: bool,
    pub(super) page_requests: bool,
    pub(super) repeat: bool,
    pub(super) interrupt: bool,
    pub(super) stop_on_failure: bool,
    pub(super) address: u64,
    pub(super) length: u32,
    pub(super) pattern: u64,
}

/// The registers that a job is made of.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct JobRegisters {
    pub(super) pasid: u32,
    pub(super) address: u64,
    pub(super) length: u32,
    pub(super) pattern: u64,
}

impl Job {
    /// What a write to COMMAND asks for; `None` if the registers hold no job.
    pub(super) fn decode(command: u32, registers: JobRegisters) -> Option<Self> {
        let bit = |bit: u32| command >> bit & 1 != 0;
        let kind = match command & 0xf {
            1 => Kind::Untranslated { write: false },
            2 => Kind::Untranslated { write: true },
            3 => Kind::Translate,
            4 => Kind::RequestPage,
            5 => Kind::Translated { write: false },
            6 => Kind::Translated { write: true },
            7 => Kind::DropTranslations,
            _ => return None,
        };
        let pasid = match bit(4) {
            true => Some(Pasid::new(registers.pasid)?),
            false => None,
        };
        let moves = matches!(kind, Kind::Untranslated { .. } | Kind::Translated { .. });
        let fits = registers.address.is_multiple_of(8)
            && registers.length.is_multiple_of(8)
            && registers.length <= MOST_BYTES;
        (fits || !moves).then_some(Self {
            kind,
            pasid,
            execute: bit(5),
            privileged: bit(6),
            writable: bit(7),
            page_requests: bit(8),
            repeat: bit(9),
            interrupt: bit(10),
            stop_on_failure: bit(11),
            address: registers.address,
            length: registers.length,
            pattern: registers.pattern,
        })
    }
}
