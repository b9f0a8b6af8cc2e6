//! What the host was asked to do.

use std::fmt;

use vtd_spec::{Binding, DomainId, FirstStageLevels, Iova, Slot, SourceId};

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
        binding: Binding,
        /// The domain that tags it.
        domain: DomainId,
    },
    /// `replace`: hold another binding than before.
    Replace {
        /// What to hold from now on.
        binding: Binding,
        /// The domain that tags it.
        domain: DomainId,
    },
    /// `unbind`: hold nothing; requests are then blocked.
    Unbind,
    /// `invalidate`: drop cached stage-1 translations.
    Invalidate(HostRange),
}

/// Which of a slot's cached translations the host was asked to drop.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum HostRange {
    /// `0 all`: every one.
    Everything,
    /// Those of a range of pages that ends within the address space.
    Pages {
        /// The first page, 4 KiB aligned.
        address: Iova,
        /// The number of 4 KiB pages, not 0.
        pages: u64,
    },
}

impl fmt::Display for HostCall {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { source_id, slot, kind } = self;
        match kind {
            HostCallKind::Bind { binding, domain } => {
                write!(f, "bind {source_id} {slot} ")?;
                write_binding(f, *binding, *domain)
            }
            HostCallKind::Replace { binding, domain } => {
                write!(f, "replace {source_id} {slot} ")?;
                write_binding(f, *binding, *domain)
            }
            HostCallKind::Unbind => write!(f, "unbind {source_id} {slot}"),
            HostCallKind::Invalidate(HostRange::Everything) => {
                write!(f, "invalidate {source_id} {slot} 0 all")
            }
            HostCallKind::Invalidate(HostRange::Pages { address, pages }) => {
                write!(f, "invalidate {source_id} {slot} {address:x} {pages:x}")
            }
        }
    }
}

fn write_binding(f: &mut fmt::Formatter<'_>, binding: Binding, domain: DomainId) -> fmt::Result {
    let stage = match binding {
        Binding::PassThrough => return write!(f, "pt 0 {domain}"),
        Binding::FirstStage(stage) => stage,
        Binding::SecondStage(_) => return write!(f, "{binding} {domain}"),
        // The writer refuses what the format has no words for; a message shows it.
        other => return write!(f, "{other} {domain}"),
    };
    let mode = match stage.levels {
        FirstStageLevels::Four => "fs4",
        FirstStageLevels::Five => "fs5",
    };
    write!(f, "{mode} {:x} {domain}", stage.table)?;
    for (set, flag) in [
        (stage.supervisor, " sre"),
        (stage.write_protect, " wpe"),
        (stage.extended_accessed, " eafe"),
    ] {
        if set {
            f.write_str(flag)?;
        }
    }
    Ok(())
}
