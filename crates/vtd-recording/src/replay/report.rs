//! What a replay found.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Serialize, Serializer};

use super::Departure;
use crate::audit::AuditReport;

/// What was compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Kind {
    /// The answers to `dma` lines.
    Dma,
    /// The values of `read` lines.
    Read,
    /// `fault` lines.
    Fault,
    /// `msi` lines.
    Msi,
    /// `iommu-write` lines: wait statuses, accessed and dirty bits.
    IommuWrite,
    /// `host` lines.
    Host,
    /// The bindings and mappings of the model host after each invalidation wait, against a walk of the tables.
    HostState,
    /// The answers to `translate` lines.
    Translate,
    /// The answers to `translated` lines.
    Translated,
    /// The answers to `interrupt` lines.
    Interrupt,
    /// `page-response` lines.
    PageResponse,
    /// `device-tlb` lines.
    DeviceTlb,
    /// `interrupt-entries` lines.
    InterruptEntries,
}

impl Kind {
    /// The name that reports use.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Dma => "dma",
            Self::Read => "read",
            Self::Fault => "fault",
            Self::Msi => "msi",
            Self::IommuWrite => "iommu-write",
            Self::Host => "host",
            Self::HostState => "host-state",
            Self::Translate => "translate",
            Self::Translated => "translated",
            Self::Interrupt => "interrupt",
            Self::PageResponse => "page-response",
            Self::DeviceTlb => "device-tlb",
            Self::InterruptEntries => "interrupt-entries",
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl Serialize for Kind {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.name())
    }
}

/// How many lines of a kind came out how.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Tally {
    /// Ours is what was recorded.
    pub agree: u64,
    /// They differ by a known departure.
    pub explained: u64,
    /// They differ.
    pub differ: u64,
}

impl std::iter::Sum for Tally {
    fn sum<I: Iterator<Item = Self>>(tallies: I) -> Self {
        tallies.fold(Self::default(), |all, tally| Self {
            agree: all.agree + tally.agree,
            explained: all.explained + tally.explained,
            differ: all.differ + tally.differ,
        })
    }
}

/// One difference.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Difference {
    /// The line, counted from 1; for a line that is missing, the input that it belongs to.
    pub line: u64,
    /// What was compared.
    pub kind: Kind,
    /// What was recorded, as its line; empty where nothing was.
    pub recorded: String,
    /// What ours did, as a line; empty where it did nothing.
    pub ours: String,
}

/// Hits and misses of the unit's caches.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[allow(missing_docs, reason = "each is a cache and what came of a lookup in it")]
pub struct CacheFigures {
    pub context_hits: u64,
    pub context_misses: u64,
    pub pasid_hits: u64,
    pub pasid_misses: u64,
    pub translation_hits: u64,
    pub translation_misses: u64,
}

/// Calls of the model host, by kind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[allow(missing_docs, reason = "each is a call of the host")]
pub struct HostCallFigures {
    pub bind: u64,
    pub replace: u64,
    pub unbind: u64,
    pub invalidate: u64,
    pub map: u64,
    pub unmap: u64,
    /// Calls that failed: on request, or because they were illegal.
    pub failed: u64,
}

/// What a replay found.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Report {
    /// The header's provenance.
    pub guest: Option<String>,
    /// The file is a conformance vector: nothing is explained away.
    pub strict: bool,
    /// Lines read, the header's not counted.
    pub events: u64,
    /// Lines that were inputs.
    pub inputs: u64,
    /// What came of each kind.
    pub kinds: BTreeMap<Kind, Tally>,
    /// How many fields and missing lines each departure explained.
    pub explained_by: BTreeMap<Departure, u64>,
    /// The first differences.
    pub differences: Vec<Difference>,
    /// How often the unit read a page that no line names.
    pub unknown_reads: u64,
    /// How often the unit was saved and restored.
    pub restores: u64,
    /// Hits and misses of the caches.
    pub caches: CacheFigures,
    /// Calls of the model host.
    pub host_calls: HostCallFigures,
    /// What the audit of the recorded answers found, unless none was asked for. Its violations are no differences.
    pub audit: Option<AuditReport>,
}

impl Report {
    /// All kinds together.
    #[must_use]
    pub fn total(&self) -> Tally {
        self.kinds.values().copied().sum()
    }

    /// The tally of one kind.
    #[must_use]
    pub fn tally(&self, kind: Kind) -> Tally {
        self.kinds.get(&kind).copied().unwrap_or_default()
    }

    /// How many of the recorded requests used what the guest had been told is invalid; 0 without an audit.
    #[must_use]
    pub fn violations(&self) -> u64 {
        self.audit.as_ref().map_or(0, |audit| audit.violations)
    }

    pub(super) fn agree(&mut self, kind: Kind) {
        self.kinds.entry(kind).or_default().agree += 1;
    }

    pub(super) fn explain(&mut self, kind: Kind, by: &[Departure]) {
        self.kinds.entry(kind).or_default().explained += 1;
        for departure in by {
            *self.explained_by.entry(*departure).or_default() += 1;
        }
    }

    pub(super) fn differ(&mut self, keep: usize, difference: Difference) {
        self.kinds.entry(difference.kind).or_default().differ += 1;
        if self.differences.len() < keep {
            self.differences.push(difference);
        }
    }
}
