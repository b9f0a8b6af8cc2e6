//! Comparing what was recorded with what ours did.

use vtd::spec::{Gpa, Iova, Slot, SourceId};

use super::departure::{self, Departure};
use super::machine::DmaOutcome;
use super::report::Kind;
use crate::format::{DmaAnswer, Event, FaultedRequest, HostCall, RequestAccess, TranslationAnswer};
use crate::requests;

/// What came of comparing one thing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    Agree,
    Explained(Vec<Departure>),
    Differ,
}

/// What kind of output a line is, if it is one.
pub(super) fn kind_of(event: &Event) -> Option<Kind> {
    match event {
        Event::Fault { .. } => Some(Kind::Fault),
        Event::Msi { .. } => Some(Kind::Msi),
        Event::IommuWrite { .. } => Some(Kind::IommuWrite),
        Event::Host(_) => Some(Kind::Host),
        Event::DeviceTlb { .. } => Some(Kind::DeviceTlb),
        Event::PageResponse { .. } => Some(Kind::PageResponse),
        Event::InterruptEntries(_) => Some(Kind::InterruptEntries),
        _ => None,
    }
}

/// Compares an output with the one recorded in its place. `assigned` says whether a device is host-backed by the replay's wish.
pub(super) fn compare_output(
    recorded: &Event,
    ours: &Event,
    strict: bool,
    assigned: impl Fn(SourceId) -> bool,
) -> Verdict {
    if let (
        Event::Fault { source_id, pasid, access, address, reason, request },
        Event::Fault {
            source_id: our_source,
            pasid: our_pasid,
            access: our_access,
            address: our_address,
            reason: our_reason,
            request: our_request,
        },
    ) = (recorded, ours)
    {
        let same = source_id == our_source
            && access == our_access
            && request == our_request
            && match request {
                FaultedRequest::Interrupt => address == our_address,
                _ => address.page() == our_address.page(),
            };
        if !same {
            return Verdict::Differ;
        }
        let host_backed = assigned(*source_id);
        let mut by = Vec::new();
        if reason != our_reason {
            let Some(departure) = departure::of_codes(*reason, *our_reason) else {
                return Verdict::Differ;
            };
            by.push(departure);
        }
        if pasid != our_pasid {
            let departure = match pasid {
                None => departure::of_missing_pasid(*our_reason),
                Some(_) => None,
            };
            let Some(departure) = departure else { return Verdict::Differ };
            by.push(departure);
        }
        if host_backed && !strict {
            by.push(Departure::HostFault);
        }
        return match by {
            by if by.is_empty() => Verdict::Agree,
            _ if strict => Verdict::Differ,
            by => Verdict::Explained(by),
        };
    }
    if recorded == ours { Verdict::Agree } else { Verdict::Differ }
}

/// Compares the answer to a DMA.
pub(super) fn dma_agrees(
    recorded: &DmaAnswer,
    access: RequestAccess,
    iova: u64,
    ours: &DmaOutcome,
    strict: bool,
) -> bool {
    match (recorded, ours) {
        (DmaAnswer::Fault, DmaOutcome::Refused) => true,
        (DmaAnswer::Translated { permissions, .. }, DmaOutcome::Refused) => {
            !permissions.serve(access)
        }
        (
            DmaAnswer::Translated { gpa, mask, permissions },
            DmaOutcome::Translated(address, granted),
        ) => {
            permissions.serve(access)
                && Gpa(gpa.0 | iova & mask) == *address
                && (!strict || requests::served(*granted) == *permissions)
        }
        (DmaAnswer::Fault, DmaOutcome::Translated(..)) => false,
    }
}

/// Compares the answer to a translation request. Outside strict files the size of the page is not compared, nor what the answer
/// says beside what may be done there.
pub(super) fn translation_agrees(
    recorded: &TranslationAnswer,
    iova: Iova,
    ours: &TranslationAnswer,
    strict: bool,
) -> bool {
    let place = |answer: &TranslationAnswer| match answer {
        TranslationAnswer::Granted { gpa, mask, grant, untranslated_only, .. } => {
            let what = (grant.permissions, grant.execute, *untranslated_only);
            Some((gpa.0 | iova.0 & mask, what))
        }
        TranslationAnswer::Nothing | TranslationAnswer::Fault => None,
    };
    match (place(recorded), place(ours)) {
        (Some(recorded), Some(ours)) if !strict => recorded == ours,
        _ => recorded == ours,
    }
}

/// What a DMA came to, as a recording would have it: of one page.
pub(super) fn answer_of(outcome: &DmaOutcome) -> DmaAnswer {
    match outcome {
        DmaOutcome::Translated(address, granted) => {
            let permissions = requests::served(*granted);
            DmaAnswer::Translated { gpa: address.page(), mask: 0xfff, permissions }
        }
        DmaOutcome::Refused => DmaAnswer::Fault,
    }
}

/// What a DMA came to, as the end of its line.
pub(super) fn show_outcome(outcome: &DmaOutcome) -> String {
    match outcome {
        DmaOutcome::Refused => "fault".into(),
        DmaOutcome::Translated(address, granted) => {
            format!("{:x} {}", address.0, requests::served(*granted))
        }
    }
}

/// A read of the fault recording registers, by 32-bit words.
pub(super) struct RecordRead {
    /// Offset of the first byte within its record, 0 to 15.
    pub(super) within: u64,
    pub(super) size: u8,
    /// F of the record, in ours.
    pub(super) is_set: bool,
    /// The fault reason of the record, in ours.
    pub(super) reason: u8,
}

impl RecordRead {
    /// Compares the values field by field; the departures that explain what differs.
    pub(super) fn explain(&self, recorded: u64, ours: u64) -> Option<Vec<Departure>> {
        let mut by = Vec::new();
        for half in 0..u64::from(self.size / 4) {
            let word = |value: u64| value >> (32 * half) & 0xffff_ffff;
            let place = self.within + 4 * half;
            by.extend(self.explain_word(place, word(recorded), word(ours))?);
        }
        by.dedup();
        Some(by)
    }

    fn explain_word(&self, place: u64, recorded: u64, ours: u64) -> Option<Vec<Departure>> {
        if recorded == ours {
            return Some(Vec::new());
        }
        if !self.is_set {
            // F itself is the top bit of the last word: it must agree.
            let f_agrees = place != 12 || recorded >> 31 == 0;
            return (ours == 0 && f_agrees).then(|| vec![Departure::StaleRecord]);
        }
        match place {
            8 => {
                let pp = 1 << 31;
                let only_pp = recorded | pp == ours && recorded & pp == 0;
                let departure = departure::of_missing_pasid(self.reason).filter(|_| only_pp);
                departure.map(|departure| vec![departure])
            }
            12 => {
                let (code, pasid) = (|value: u64| value & 0xff, |value: u64| value >> 8 & 0xf_ffff);
                if recorded & 0xf000_0000 != ours & 0xf000_0000 {
                    return None;
                }
                let mut by = Vec::new();
                if code(recorded) != code(ours) {
                    let (recorded, ours) = (code(recorded).to_le_bytes()[0], self.reason);
                    by.push(departure::of_codes(recorded, ours)?);
                }
                if pasid(recorded) != pasid(ours) {
                    by.push(match pasid(recorded) {
                        0 if self.reason >= 0x50 && self.reason <= 0x5b => Departure::PasidMissing,
                        cut if cut == pasid(ours) & 0xffff => Departure::PasidCut,
                        _ => return None,
                    });
                }
                Some(by)
            }
            _ => None,
        }
    }
}

/// Puts host lines that stand next to each other into the order of their slots: those may change places, others may not.
pub(super) fn in_slot_order<T>(outputs: &mut [T], call: impl Fn(&T) -> Option<HostCall>) {
    let mut start = 0;
    while start < outputs.len() {
        let run = outputs.get(start..).unwrap_or_default();
        let length = run.iter().take_while(|output| call(output).is_some()).count();
        if let Some(run) = outputs.get_mut(start..start + length) {
            let key = |output: &T| -> Option<(SourceId, Slot)> {
                call(output).map(|call| (call.source_id, call.slot))
            };
            run.sort_by_key(key);
        }
        start += length.max(1);
    }
}
