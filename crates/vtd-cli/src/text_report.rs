//! The report for people.

use std::fmt;
use std::path::Path;

use vtd_recording::audit::{AuditReport, UseAfterInvalidation};
use vtd_recording::replay::{CacheFigures, Difference, HostCallFigures, Report, Tally};

use crate::printable::Printable;

/// How many characters of the guest's description are shown.
const GUEST_WIDTH: usize = 300;

/// The column of kinds is as wide as its longest name, and no narrower than the longest of most recordings.
const NARROWEST_KIND: usize = "iommu-write".len();

/// What a replay of one file found.
pub(crate) struct TextReport<'r> {
    pub(crate) file: &'r Path,
    pub(crate) report: &'r Report,
    /// The command line made devices host-backed, so the host's figures matter even if they are 0.
    pub(crate) assigned: bool,
}

impl fmt::Display for TextReport<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let report = self.report;
        match &report.guest {
            Some(guest) => {
                writeln!(f, "{}: {}", self.file.display(), Printable::new(guest, GUEST_WIDTH))?;
            }
            None => writeln!(f, "{}", self.file.display())?,
        }
        let names = report.kinds.keys().map(|kind| kind.name().len());
        let width = names.max().unwrap_or_default().max(NARROWEST_KIND);
        writeln!(f, "  {:<width$}  {:>8}  {:>9}  {:>6}", "", "agree", "explained", "differ")?;
        for (kind, tally) in &report.kinds {
            let Tally { agree, explained, differ } = tally;
            writeln!(f, "  {kind:<width$}  {agree:>8}  {explained:>9}  {differ:>6}")?;
        }
        if !report.explained_by.is_empty() {
            let by = report.explained_by.iter().map(|(name, count)| format!("{name} {count}"));
            writeln!(f, "  explained: {}", by.collect::<Vec<_>>().join(", "))?;
        }
        caches(f, &report.caches)?;
        host_calls(f, &report.host_calls, self.assigned)?;
        if report.restores > 0 {
            writeln!(f, "  saves and restores: {}", report.restores)?;
        }
        differences(f, report)?;
        if let Some(report) = &report.audit {
            audit(f, report)?;
        }
        let Report { events, inputs, unknown_reads, strict, .. } = report;
        let strict = if *strict { ", strict" } else { "" };
        writeln!(f, "  {events} lines, {inputs} inputs, {unknown_reads} unknown reads{strict}")?;
        write!(f, "  {} differ", report.total().differ)?;
        match report.violations() {
            0 => writeln!(f),
            violations => writeln!(f, ", {violations} used after invalidation"),
        }
    }
}

fn caches(f: &mut fmt::Formatter<'_>, figures: &CacheFigures) -> fmt::Result {
    let caches = [
        ("context", figures.context_hits, figures.context_misses),
        ("PASID", figures.pasid_hits, figures.pasid_misses),
        ("IOTLB", figures.translation_hits, figures.translation_misses),
    ];
    let caches = caches.map(|(name, hits, misses)| format!("{name} {hits} hits, {misses} misses"));
    writeln!(f, "  caches: {}", caches.join("; "))
}

fn host_calls(f: &mut fmt::Formatter<'_>, figures: &HostCallFigures, always: bool) -> fmt::Result {
    if !always && *figures == HostCallFigures::default() {
        return Ok(());
    }
    let HostCallFigures { bind, replace, unbind, invalidate, map, unmap, failed } = figures;
    writeln!(
        f,
        "  host calls: bind {bind}, replace {replace}, unbind {unbind}, invalidate {invalidate}, map {map}, unmap {unmap}, failed {failed}"
    )
}

fn differences(f: &mut fmt::Formatter<'_>, report: &Report) -> fmt::Result {
    for Difference { line, kind, recorded, ours } in &report.differences {
        writeln!(f, "  line {line}: {kind} differs")?;
        writeln!(f, "    recorded: {}", or_nothing(recorded))?;
        writeln!(f, "    ours:     {}", or_nothing(ours))?;
    }
    match report.total().differ - report.differences.len() as u64 {
        0 => Ok(()),
        more => writeln!(f, "  and {more} more that --differences would show"),
    }
}

fn audit(f: &mut fmt::Formatter<'_>, report: &AuditReport) -> fmt::Result {
    let AuditReport { requests, stale, unjudged, invalidations, violations, uses, .. } = report;
    for one in uses {
        let UseAfterInvalidation { line, request, tables, .. } = one;
        match (&one.invalidation, one.valid_until, one.asked, one.done) {
            (Some(what), Some(valid), Some(asked), Some(done)) => {
                writeln!(f, "  line {line}: use after invalidation")?;
                writeln!(f, "    answered:    {request}")?;
                writeln!(f, "    tables:      {tables}, the answer was right until line {valid}")?;
                writeln!(
                    f,
                    "    invalidated: {what}; asked for at line {asked}, done at line {done}"
                )?;
            }
            _ => {
                writeln!(f, "  line {line}: an answer that the tables never gave")?;
                writeln!(f, "    answered:    {request}")?;
                writeln!(f, "    tables:      {tables}")?;
            }
        }
    }
    if let more @ 1.. = violations - uses.len() as u64 {
        writeln!(f, "  and {more} more uses that --differences would show")?;
    }
    write!(f, "  audit: {requests} requests, {invalidations} invalidations; ")?;
    write!(f, "{stale} answers stale but allowed, {violations} used after invalidation")?;
    match unjudged {
        0 => writeln!(f),
        unjudged => writeln!(f, ", {unjudged} not judged"),
    }
}

fn or_nothing(text: &str) -> &str {
    if text.is_empty() { "nothing" } else { text }
}

/// All files together.
pub(crate) struct TextTotal {
    pub(crate) files: usize,
    pub(crate) bad: usize,
    pub(crate) total: Tally,
    pub(crate) violations: u64,
}

impl fmt::Display for TextTotal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Tally { agree, explained, differ } = self.total;
        let files = self.files;
        write!(f, "{files} files: {agree} agree, {explained} explained, {differ} differ")?;
        if self.violations > 0 {
            write!(f, ", {} used after invalidation", self.violations)?;
        }
        match self.bad {
            0 => writeln!(f),
            1 => writeln!(f, "; 1 file is bad input"),
            bad => writeln!(f, "; {bad} files are bad input"),
        }
    }
}
