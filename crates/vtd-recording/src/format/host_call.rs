//! What the host was asked to do.

use std::fmt;

use vtd_spec::table::SecondStageLevels;
use vtd_spec::{Binding, DomainId, FirstStage, FirstStageLevels, Gpa, Iova, Slot, SourceId};

use super::{PageRange, Permissions};

/// One request to the host, for one slot of one host-backed device.
///
/// Its `Display` is its line without the word `host`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct HostCall {
    /// The device.
    pub source_id: SourceId,
    /// The slot; [`Slot::Rid`] is the device's own attachment.
    pub slot: Slot,
    /// What the host was asked for.
    pub kind: HostCallKind,
}

/// What the host was asked to do with a slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum HostCallKind {
    /// `bind`: hold a binding where there is none.
    Bind {
        /// What to hold.
        mode: HostMode,
        /// The domain that tags it.
        domain: DomainId,
    },
    /// `replace`: hold another binding than before.
    Replace {
        /// What to hold from now on.
        mode: HostMode,
        /// The domain that tags it.
        domain: DomainId,
    },
    /// `unbind`: hold nothing; requests are then blocked.
    Unbind,
    /// `invalidate`: drop cached stage-1 translations.
    Invalidate(PageRange),
    /// `map`: show pages of guest memory.
    Map {
        /// The first address that a device uses, 4 KiB aligned.
        iova: Iova,
        /// Where it leads, 4 KiB aligned.
        gpa: Gpa,
        /// The number of 4 KiB pages, not 0. Both ranges end within the address space.
        pages: u64,
        /// What the device may do there.
        permissions: Permissions,
    },
    /// `unmap`: hide pages.
    Unmap {
        /// The first address, 4 KiB aligned.
        iova: Iova,
        /// The number of 4 KiB pages, not 0, that end within the address space.
        pages: u64,
    },
}

/// What a host is to hold for a slot: MODE and TABLE.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum HostMode {
    /// `pt 0`: requests reach guest memory untranslated.
    PassThrough,
    /// `fs4` or `fs5`: the guest's first-stage table. Its flags stand at the end of the line.
    FirstStage(FirstStage),
    /// `ss3`, `ss4` or `ss5`: a second-stage table, which is shadowed with `map` and `unmap`.
    SecondStage {
        /// The root of the table, 4 KiB aligned.
        table: Gpa,
        /// The number of levels.
        levels: SecondStageLevels,
    },
}

impl HostMode {
    /// MODE.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::PassThrough => "pt",
            Self::FirstStage(stage) => match stage.levels {
                FirstStageLevels::Four => "fs4",
                FirstStageLevels::Five => "fs5",
            },
            Self::SecondStage { levels, .. } => match levels {
                SecondStageLevels::Three => "ss3",
                SecondStageLevels::Four => "ss4",
                SecondStageLevels::Five => "ss5",
            },
        }
    }

    /// A binding as the format has it; `None` for one that it has no words for.
    #[must_use]
    pub const fn from_binding(binding: Binding) -> Option<Self> {
        match binding {
            Binding::PassThrough => Some(Self::PassThrough),
            Binding::FirstStage(stage) => Some(Self::FirstStage(stage)),
            Binding::SecondStage(stage) => {
                Some(Self::SecondStage { table: stage.table, levels: stage.levels })
            }
            _ => None,
        }
    }
}

impl fmt::Display for HostCall {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { source_id, slot, kind } = self;
        match kind {
            HostCallKind::Bind { mode, domain } => {
                write!(f, "bind {source_id} {slot} ")?;
                write_mode(f, *mode, *domain)
            }
            HostCallKind::Replace { mode, domain } => {
                write!(f, "replace {source_id} {slot} ")?;
                write_mode(f, *mode, *domain)
            }
            HostCallKind::Unbind => write!(f, "unbind {source_id} {slot}"),
            HostCallKind::Invalidate(range) => write!(f, "invalidate {source_id} {slot} {range}"),
            HostCallKind::Map { iova, gpa, pages, permissions } => {
                write!(f, "map {source_id} {slot} {iova:x} {gpa:x} {pages:x} {permissions}")
            }
            HostCallKind::Unmap { iova, pages } => {
                write!(f, "unmap {source_id} {slot} {iova:x} {pages:x}")
            }
        }
    }
}

fn write_mode(f: &mut fmt::Formatter<'_>, mode: HostMode, domain: DomainId) -> fmt::Result {
    let name = mode.name();
    match mode {
        HostMode::PassThrough => write!(f, "{name} 0 {domain}"),
        HostMode::SecondStage { table, .. } => write!(f, "{name} {table:x} {domain}"),
        HostMode::FirstStage(stage) => {
            write!(f, "{name} {:x} {domain}", stage.table)?;
            [
                (stage.supervisor, " sre"),
                (stage.write_protect, " wpe"),
                (stage.extended_accessed, " eafe"),
            ]
            .iter()
            .filter(|(set, _)| *set)
            .try_for_each(|(_, flag)| f.write_str(flag))
        }
    }
}
