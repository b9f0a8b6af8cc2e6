//! The replay itself: line by line.

use std::io::BufRead;

use super::comparison::{
    RecordRead, Verdict, answer_of, compare_output, dma_agrees, in_slot_order, kind_of,
    show_outcome, translation_agrees,
};
use super::machine::{FaultState, Machine};
use super::report::{Difference, Kind, Report};
use super::{Assign, Departure, Options, ReplayError, UnknownPages};
use crate::audit::Audit;
use crate::format::{DmaAnswer, Event, Header, HostCall, Reader, RequestAccess};
use crate::requests;
use vtd::spec::{Iova, Pasid, SourceId};

/// One line and what the unit did with it, for people.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct StepView {
    /// The line, counted from 1.
    pub line: u64,
    /// The line's text.
    pub event: String,
    /// What the unit did: descriptors, host calls, faults, writes, interrupts.
    pub did: Vec<String>,
    /// What ours answered, where the line asks for an answer.
    pub answer: Option<String>,
}

/// Someone who follows a replay line by line.
type Follower<'f> = &'f mut dyn FnMut(&StepView);

/// Replays a recording and compares every answer. `follow`, if given, is called with each line.
///
/// # Errors
/// [`ReplayError`]: the input cannot be read or asks for what cannot be done. A recording whose answers differ is no error.
pub fn replay(
    input: impl BufRead,
    options: &Options,
    follow: Option<Follower<'_>>,
) -> Result<Report, ReplayError> {
    let reader = Reader::new(input)?;
    let header = reader.header().clone();
    let mut replay = Replay {
        machine: Machine::new(&header, options, follow.is_some())
            .map_err(|why| ReplayError::Capabilities { line: reader.capabilities_line(), why })?,
        report: Report { guest: header.guest.clone(), strict: header.strict, ..Report::default() },
        audit: match options.audit {
            true => Some(Audit::new(&header, options.differences).map_err(|why| {
                ReplayError::Capabilities { line: reader.capabilities_line(), why }
            })?),
            false => None,
        },
        header,
        options,
        follow,
        recorded: Vec::new(),
        restored_at: 0,
    };
    if options.assign != Assign::AsRecorded && !replay.machine.capabilities().caching_mode() {
        return Err(ReplayError::NoCachingMode { line: reader.capabilities_line() });
    }
    let mut last = 0;
    for line in reader {
        let (line, event) = line?;
        last = line;
        replay.report.events += 1;
        if let Some(audit) = &mut replay.audit {
            audit.take(line, &event);
        }
        replay.take(line, event)?;
    }
    replay.end(last)
}

struct Replay<'o, 'f> {
    machine: Machine,
    report: Report,
    audit: Option<Audit>,
    header: Header,
    options: &'o Options,
    follow: Option<Follower<'f>>,
    /// Outputs recorded since the last comparison, with their lines.
    recorded: Vec<(u64, Event)>,
    /// After how many inputs the unit was last restored.
    restored_at: u64,
}

/// A `dma` line.
struct Dma {
    source_id: SourceId,
    pasid: Option<Pasid>,
    access: RequestAccess,
    iova: Iova,
    answer: DmaAnswer,
}

impl Dma {
    /// The recorded unit refused the access by permission.
    fn is_refused_by_permission(&self) -> bool {
        matches!(&self.answer, DmaAnswer::Translated { permissions, .. }
            if !permissions.serve(self.access))
    }
}

impl Replay<'_, '_> {
    fn take(&mut self, line: u64, event: Event) -> Result<(), ReplayError> {
        let memory =
            |why: vtd::memory::AccessError| ReplayError::Input { line, why: why.to_string() };
        match event {
            Event::Mem { gpa, bytes } => {
                self.machine.memory.write_bytes(gpa, &bytes).map_err(memory)?;
                self.check_size(line)
            }
            Event::Zero { gpa } => {
                self.machine.memory.fill_zero_page(gpa);
                self.check_size(line)
            }
            event if kind_of(&event).is_some() => {
                self.recorded.push((line, event));
                Ok(())
            }
            Event::Dma { source_id, pasid, access, iova, answer } => {
                self.begin_input(line)?;
                self.appear(line, source_id)?;
                let text = self.shown(|| event.to_string());
                let dma = Dma { source_id, pasid, access, iova, answer };
                let answer = self.dma(line, &dma)?;
                self.show(line, text, Some(answer));
                self.after_input(line)
            }
            request @ (Event::Translate { .. }
            | Event::Translated { .. }
            | Event::Interrupt { .. }) => {
                self.begin_input(line)?;
                let text = self.shown(|| request.to_string());
                let answer = self.request(line, request)?;
                self.show(line, text, Some(answer));
                self.after_input(line)
            }
            input => {
                self.begin_input(line)?;
                self.settle(line, None);
                let text = self.shown(|| input.to_string());
                let answer = self.input(line, input)?;
                self.show(line, text, answer);
                self.after_input(line)
            }
        }
    }

    /// A short line can name a page, so a file of any size could otherwise take any amount of memory.
    fn check_size(&self, line: u64) -> Result<(), ReplayError> {
        if self.machine.memory.page_count() <= MOST_PAGES {
            return Ok(());
        }
        let why = format!(
            "field GPA names one page more than {MOST_PAGES}, which is the most a replay holds"
        );
        Err(ReplayError::Input { line, why })
    }

    /// An input without an answer, or a read.
    fn input(&mut self, line: u64, event: Event) -> Result<Option<String>, ReplayError> {
        let refused = |source_id, why| ReplayError::Attach { line, source_id, why };
        let kind = event.kind();
        let unable = |why: String| ReplayError::Input { line, why: format!("{kind}: {why}") };
        match event {
            Event::Write { offset, size, value } => self.machine.write(offset, size, value),
            Event::Read { offset, size, value } => {
                return Ok(Some(self.read(line, offset, size, value)));
            }
            Event::Assign { source_id } => {
                self.machine.assign(source_id).map_err(|why| refused(source_id, why))?;
            }
            Event::Release { source_id } => {
                self.machine.release(source_id).map_err(|why| refused(source_id, why))?;
            }
            Event::Endpoint { source_id, later } => {
                let given = self.machine.give_device_tlb(source_id, later);
                given.map_err(|why| refused(source_id, why))?;
            }
            Event::DeviceTlbDone { source_id } => {
                self.machine.device_tlb_done(source_id).map_err(unable)?;
            }
            Event::DeviceTlbTimeout { source_id } => {
                self.machine.device_tlb_time_is_up(source_id).map_err(unable)?;
            }
            Event::PageRequest { source_id, pasid, access, address, group, last } => {
                self.appear(line, source_id)?;
                let request =
                    requests::page_request((source_id, pasid), access, address, group, last);
                self.machine.page_request(request).map_err(|why| refused(source_id, why))?;
            }
            Event::Renumber { source_id, new } => {
                self.appear(line, source_id)?;
                self.machine.renumber(source_id, new).map_err(unable)?;
            }
            Event::HostFail => self.machine.fail_next_host_call(),
            Event::Reset => self.machine.reset(),
            other => {
                let why = format!("lines of kind {} are not known to this replay", other.kind());
                return Err(ReplayError::Input { line, why });
            }
        }
        Ok(None)
    }

    /// Saves and restores before an input, where that is asked for: the state between two inputs is what is saved.
    fn begin_input(&mut self, line: u64) -> Result<(), ReplayError> {
        let due = self.options.save_restore_every.is_some_and(|every| {
            self.report.inputs > 0 && self.report.inputs - self.restored_at >= every
        });
        if due {
            let failed = |why| ReplayError::SaveRestore { line, why };
            self.machine.save_and_restore().map_err(failed)?;
            self.report.restores += 1;
            self.restored_at = self.report.inputs;
        }
        self.report.inputs += 1;
        Ok(())
    }

    fn after_input(&mut self, line: u64) -> Result<(), ReplayError> {
        if self.options.unknown_pages == UnknownPages::Error
            && let Some(page) = self.machine.memory.first_unknown_page()
        {
            return Err(ReplayError::UnknownPage { line, page: page.0 });
        }
        let states = std::mem::take(&mut self.machine.tap.log().states);
        for state in states {
            match state {
                Ok(()) => self.report.agree(Kind::HostState),
                Err((recorded, ours)) => self.differ(line, Kind::HostState, recorded, ours),
            }
        }
        Ok(())
    }

    /// A device that is to be host-backed becomes so when it first appears.
    fn appear(&mut self, line: u64, source_id: SourceId) -> Result<(), ReplayError> {
        if self.options.assign.names(source_id) && !self.machine.is_attached(source_id) {
            let refused = |why| ReplayError::Attach { line, source_id, why };
            self.machine.assign_by_wish(source_id).map_err(refused)?;
        }
        Ok(())
    }

    fn read(&mut self, line: u64, offset: u64, size: u8, recorded: u64) -> String {
        let ours = self.machine.read(offset, size);
        let shown = format!("{ours:x}");
        if recorded == ours {
            self.report.agree(Kind::Read);
            return shown;
        }
        let explained =
            self.record_read(offset, size).and_then(|read| read.explain(recorded, ours));
        match explained {
            Some(by) if !self.header.strict => self.report.explain(Kind::Read, &by),
            _ => {
                let line_of = |value: u64| format!("read {offset:x} {size} {value:x}");
                self.differ(line, Kind::Read, line_of(recorded), line_of(ours));
            }
        }
        shown
    }

    /// The part of the fault recording registers that a read is of.
    fn record_read(&self, offset: u64, size: u8) -> Option<RecordRead> {
        let caps = self.machine.capabilities();
        let first = caps.fault_record_offset();
        let end = first + 16 * u64::from(caps.fault_record_count());
        let aligned = matches!(size, 4 | 8) && offset.is_multiple_of(u64::from(size));
        if !(first..end).contains(&offset) || !aligned {
            return None;
        }
        let last = self.machine.read((offset & !0xf) + 12, 4);
        Some(RecordRead {
            within: offset % 16,
            size,
            is_set: last >> 31 == 1,
            reason: u8::try_from(last & 0xff).ok()?,
        })
    }

    fn dma(&mut self, line: u64, dma: &Dma) -> Result<String, ReplayError> {
        let before = dma.is_refused_by_permission().then(|| self.machine.fault_state());
        let Dma { source_id, pasid, access, iova, .. } = *dma;
        let refused = |why| ReplayError::Attach { line, source_id, why };
        let asked = requests::access(access);
        let ours = self.machine.dma(source_id, pasid, asked, iova).map_err(refused)?;
        self.settle(line, before.as_ref());
        let strict = self.header.strict;
        if dma_agrees(&dma.answer, access, iova.0, &ours, strict) {
            self.report.agree(Kind::Dma);
        } else {
            let recorded = Event::Dma { source_id, pasid, access, iova, answer: dma.answer };
            let answer = answer_of(&ours);
            let own = Event::Dma { source_id, pasid, access, iova, answer };
            self.differ(line, Kind::Dma, recorded.to_string(), own.to_string());
        }
        Ok(show_outcome(&ours))
    }

    /// A request with an answer that is no `dma`; the answer of ours, as the end of the line.
    fn request(&mut self, line: u64, recorded: Event) -> Result<String, ReplayError> {
        let strict = self.header.strict;
        let refused = |source_id| move |why| ReplayError::Attach { line, source_id, why };
        let (kind, agrees, own, shown) = match recorded {
            Event::Translate { source_id, pasid, access, iova, answer } => {
                let asked = requests::translation_request(access);
                let found = self.machine.translation_request((source_id, pasid), iova, asked);
                let ours = requests::translation_answer(&found.map_err(refused(source_id))?);
                let own = Event::Translate { source_id, pasid, access, iova, answer: ours };
                let agrees = translation_agrees(&answer, iova, &ours, strict);
                (Kind::Translate, agrees, own, ours.to_string())
            }
            Event::Translated { source_id, pasid, access, address, answer } => {
                let asked = requests::access(access);
                let found = self.machine.translated_request((source_id, pasid), address, asked);
                let ours = requests::translated_answer(&found.map_err(refused(source_id))?);
                let own = Event::Translated { source_id, pasid, access, address, answer: ours };
                (Kind::Translated, answer == ours, own, ours.to_string())
            }
            Event::Interrupt { source_id, address, data, answer } => {
                let found = self.machine.interrupt_request(source_id, address, data);
                let ours = requests::interrupt_answer(&found);
                let own = Event::Interrupt { source_id, address, data, answer: ours };
                (Kind::Interrupt, answer == ours, own, ours.to_string())
            }
            other => {
                let why = format!("lines of kind {} have no answer", other.kind());
                return Err(ReplayError::Input { line, why });
            }
        };
        self.settle(line, None);
        if agrees {
            self.report.agree(kind);
        } else {
            self.differ(line, kind, recorded.to_string(), own.to_string());
        }
        Ok(shown)
    }

    /// Compares the outputs recorded since the last input with those of ours. `refusal` is the fault state before a `dma` that
    /// the recorded unit refused by permission.
    fn settle(&mut self, line: u64, refusal: Option<&FaultState>) {
        let mut ours = std::mem::take(&mut self.machine.tap.log().outputs);
        let mut recorded = std::mem::take(&mut self.recorded);
        let ignored = self.header.ignore;
        recorded.retain(|(_, event)| !ignored.contains(event.kind()));
        ours.retain(|event| !ignored.contains(event.kind()));
        // What the host is asked for a device that the recording does not assign has nothing to be compared with.
        let machine = &self.machine;
        ours.retain(|event| !matches!(event, Event::Host(call) if machine.is_assigned_by_wish(call.source_id)));
        if !self.header.strict {
            self.check_table_writes(&mut recorded);
            ours.retain(|event| !is_table_write(event));
            // A recording without host lines says nothing of the host.
            if !recorded.iter().any(|(_, event)| matches!(event, Event::Host(_))) {
                ours.retain(|event| !matches!(event, Event::Host(_)));
            }
        }
        let call = |event: &Event| -> Option<HostCall> {
            match event {
                Event::Host(call) => Some(*call),
                _ => None,
            }
        };
        in_slot_order(&mut recorded, |(_, event)| call(event));
        in_slot_order(&mut ours, call);
        let silent = refusal.filter(|_| {
            !self.header.strict
                && !recorded.iter().any(|(_, event)| matches!(event, Event::Fault { .. }))
        });
        let explained = self.align(line, &recorded, &ours, silent.is_some());
        if let Some(before) = silent.filter(|_| explained) {
            self.machine.withdraw_fault(before);
            self.machine.tap.log().outputs.clear();
        }
    }

    /// Walks along both sequences; whether a silent refusal explained something.
    fn align(
        &mut self,
        line: u64,
        recorded: &[(u64, Event)],
        ours: &[Event],
        silent: bool,
    ) -> bool {
        let mut explained = false;
        let (mut recorded, mut ours) = (recorded, ours);
        loop {
            match (recorded.split_first(), ours.split_first()) {
                (None, None) => return explained,
                (Some(((at, theirs), rest)), Some((own, own_rest)))
                    if theirs.kind() == own.kind() =>
                {
                    self.compare(*at, theirs, own);
                    (recorded, ours) = (rest, own_rest);
                }
                (Some(_), Some((own, own_rest)))
                    if !recorded.iter().any(|(_, theirs)| theirs.kind() == own.kind()) =>
                {
                    explained |= self.extra(line, own, silent);
                    ours = own_rest;
                }
                (None, Some((own, own_rest))) => {
                    explained |= self.extra(line, own, silent);
                    ours = own_rest;
                }
                (Some(((at, theirs), rest)), _) => {
                    if let Some(kind) = kind_of(theirs) {
                        self.differ(*at, kind, theirs.to_string(), String::new());
                    }
                    recorded = rest;
                }
            }
        }
    }

    fn compare(&mut self, line: u64, theirs: &Event, own: &Event) {
        let Some(kind) = kind_of(theirs) else { return };
        let machine = &self.machine;
        let by_wish = |source_id| machine.is_assigned_by_wish(source_id);
        match compare_output(theirs, own, self.header.strict, by_wish) {
            Verdict::Agree => self.report.agree(kind),
            Verdict::Explained(by) => self.report.explain(kind, &by),
            Verdict::Differ => self.differ(line, kind, theirs.to_string(), own.to_string()),
        }
    }

    /// An output that was not recorded; whether a silent refusal explains it.
    fn extra(&mut self, line: u64, own: &Event, silent: bool) -> bool {
        let Some(kind) = kind_of(own) else { return false };
        if silent && matches!(kind, Kind::Fault | Kind::Msi) {
            self.report.explain(kind, &[Departure::SilentRefusal]);
            return true;
        }
        self.differ(line, kind, String::new(), own.to_string());
        false
    }

    /// Takes recorded accessed and dirty bits out of the sequence: outside strict files they only have to be set by now.
    fn check_table_writes(&mut self, recorded: &mut Vec<(u64, Event)>) {
        let (tables, rest): (Vec<_>, Vec<_>) =
            std::mem::take(recorded).into_iter().partition(|(_, event)| is_table_write(event));
        *recorded = rest;
        for (line, event) in tables {
            let Event::IommuWrite { gpa, bytes } = &event else { continue };
            let mut now = [0; 8];
            let read = self.machine.memory.read_bytes(*gpa, &mut now);
            let now = u64::from_le_bytes(now);
            let wanted = bytes.as_slice().try_into().map_or(0, u64::from_le_bytes);
            if read.is_ok() && wanted & ACCESSED_DIRTY & !now == 0 {
                self.report.agree(Kind::IommuWrite);
            } else {
                let ours = Event::IommuWrite { gpa: *gpa, bytes: now.to_le_bytes().to_vec() };
                self.differ(line, Kind::IommuWrite, event.to_string(), ours.to_string());
            }
        }
    }

    fn differ(&mut self, line: u64, kind: Kind, recorded: String, ours: String) {
        let difference = Difference { line, kind, recorded, ours };
        self.report.differ(self.options.differences, difference);
    }

    fn shown(&self, text: impl FnOnce() -> String) -> String {
        if self.follow.is_some() { text() } else { String::new() }
    }

    fn show(&mut self, line: u64, event: String, answer: Option<String>) {
        if let Some(follow) = &mut self.follow {
            let did = std::mem::take(&mut self.machine.tap.log().notes);
            follow(&StepView { line, event, did, answer });
        }
    }

    fn end(mut self, last: u64) -> Result<Report, ReplayError> {
        self.settle(last, None);
        self.after_input(last)?;
        if self.options.assign != Assign::AsRecorded {
            for left in self.machine.release_all() {
                self.differ(last, Kind::HostState, "nothing held after release".into(), left);
            }
        }
        self.report.audit = self.audit.map(Audit::into_report);
        self.report.unknown_reads = self.machine.memory.unknown_reads();
        self.report.caches = self.machine.cache_figures();
        self.report.host_calls = self.machine.host_calls();
        Ok(self.report)
    }
}

/// The most pages of guest memory that a replay holds: 1 GiB, and the audit as many again.
const MOST_PAGES: usize = 1 << 18;

/// A and D of both stages, and EA.
const ACCESSED_DIRTY: u64 = 0x760;

/// A write of a page-table entry is 8 bytes; a wait status is 4.
fn is_table_write(event: &Event) -> bool {
    matches!(event, Event::IommuWrite { bytes, .. } if bytes.len() == 8)
}
