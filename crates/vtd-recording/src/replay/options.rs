//! How a recording is replayed.

use std::collections::BTreeSet;

use vtd::spec::SourceId;

/// How a recording is replayed. The default: nothing assigned but what the file says, caches on, no save, an audit, room for ten
/// differences.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Options {
    /// Which devices become host-backed at their first appearance.
    pub assign: Assign,
    /// After every so many inputs the unit is saved and a new one made from its state.
    pub save_restore_every: Option<u64>,
    /// Every lookup walks.
    pub without_caches: bool,
    /// What a page that no line names is.
    pub unknown_pages: UnknownPages,
    /// Whether the recorded answers are [audited](crate::audit) too.
    pub audit: bool,
    /// How many differences the report keeps, and how many violations that the audit finds.
    pub differences: usize,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            assign: Assign::AsRecorded,
            save_restore_every: None,
            without_caches: false,
            unknown_pages: UnknownPages::Zero,
            audit: true,
            differences: 10,
        }
    }
}

/// Which devices become host-backed at their first appearance.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Assign {
    /// Only those that the file's `assign` lines name.
    #[default]
    AsRecorded,
    /// Every device.
    All,
    /// These.
    These(BTreeSet<SourceId>),
}

impl Assign {
    pub(super) fn names(&self, source_id: SourceId) -> bool {
        match self {
            Self::AsRecorded => false,
            Self::All => true,
            Self::These(devices) => devices.contains(&source_id),
        }
    }
}

/// What a page is that no line names.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum UnknownPages {
    /// Zeros; the report counts the reads.
    #[default]
    Zero,
    /// An error.
    Error,
}
