//! Whether an answer can have come from caches that were kept as they should be.

use std::error::Error;
use std::fmt;

use crate::answer::{Answer, Fault, TranslatedAnswer, TranslationAnswer};
use crate::choices::{Choices, Scratch};
use crate::history::{History, Moment};
use crate::interrupt::{InterruptAnswer, InterruptRequest};
use crate::memory::Memory;
use crate::page_request::PageRequest;
use crate::path::{Path, Read, Step, Update};
use crate::request::Request;
use crate::unit::Unit;
use crate::walker::Walker;

/// As many ways through the tables are tried for one request.
const MOST_WALKS: u32 = 20_000;

/// Why an answer is allowed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Allowed {
    /// It is what the tables in memory say.
    Present,
    /// It is what entries say that a cache may hold.
    Cached,
    /// Nobody knows: there are too many ways through what caches may hold.
    Unsettled,
}

/// An update of accessed and dirty bits that an answer goes with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Due {
    /// What is written.
    pub update: Update,
    /// Bits that the entry may have had already when it was cached: an answer from a cache need not set them again.
    pub optional: u64,
}

impl Due {
    /// Whether updates that were seen, by address and new value, are those that are due: in order, none besides, and none
    /// left out that has to be made.
    #[must_use]
    pub fn are(dues: &[Self], seen: &[(u64, u64)]) -> bool {
        let mut seen = seen.iter().peekable();
        for Self { update: Update { address, old, new }, optional } in dues {
            if seen.next_if(|&&next| next == (*address, *new)).is_none()
                && new & !old & !optional != 0
            {
                return false;
            }
        }
        seen.next().is_none()
    }
}

/// Why an answer is not allowed: what it could have been, and what is on its way in memory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refused {
    what: String,
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.what)
    }
}

impl Error for Refused {}

impl History {
    /// Whether the answer to an untranslated request is right: `seen` says whether an answer is what was observed, and the
    /// accessed and dirty bits that are due with it ([`Due::are`]). The request was made at the moment `since` or later, and memory is as it is when the request is over.
    ///
    /// # Errors
    /// [`Refused`] if no combination of values that the entries on its way may have in a cache leads to it.
    pub fn judge<M: Memory + ?Sized>(
        &self,
        unit: &Unit,
        memory: &M,
        request: &Request,
        since: Moment,
        mut seen: impl FnMut(&Answer, &[Due]) -> bool,
    ) -> Result<Allowed, Refused> {
        let first = |path: &mut Path| unit.translate(memory, request, path);
        self.search(
            unit,
            memory,
            since,
            first,
            |walker| walker.untranslated(request),
            |answer| matches!(answer, Answer::Fault(fault) if is_of_the_entry(fault.code)),
            &mut seen,
        )
    }

    /// Whether the answer to a translation request is right.
    ///
    /// # Errors
    /// As [`History::judge`].
    pub fn judge_translation<M: Memory + ?Sized>(
        &self,
        unit: &Unit,
        memory: &M,
        request: &Request,
        since: Moment,
        mut seen: impl FnMut(&TranslationAnswer, &[Due]) -> bool,
    ) -> Result<Allowed, Refused> {
        self.search(
            unit,
            memory,
            since,
            |path| unit.translation_request(memory, request, path),
            |walker| walker.translation(request),
            |answer| match answer {
                TranslationAnswer::Nothing(Some(fault)) | TranslationAnswer::Fault(fault) => {
                    is_of_the_entry(fault.code)
                }
                _ => false,
            },
            &mut seen,
        )
    }

    /// Whether the answer to a translated request is right.
    ///
    /// # Errors
    /// As [`History::judge`].
    pub fn judge_translated<M: Memory + ?Sized>(
        &self,
        unit: &Unit,
        memory: &M,
        request: &Request,
        since: Moment,
        mut seen: impl FnMut(&TranslatedAnswer) -> bool,
    ) -> Result<Allowed, Refused> {
        self.search(
            unit,
            memory,
            since,
            |path| unit.translated_request(memory, request, path),
            |walker| walker.translated(request),
            |answer| matches!(answer, TranslatedAnswer::Fault(fault) if is_of_the_entry(fault.code)),
            &mut |answer, _| seen(answer),
        )
    }

    /// Whether the answer to an interrupt request is right.
    ///
    /// # Errors
    /// As [`History::judge`].
    pub fn judge_interrupt<M: Memory + ?Sized>(
        &self,
        unit: &Unit,
        memory: &M,
        request: &InterruptRequest,
        since: Moment,
        mut seen: impl FnMut(&InterruptAnswer) -> bool,
    ) -> Result<Allowed, Refused> {
        self.search(
            unit,
            memory,
            since,
            |path| unit.interrupt(memory, request, path),
            |walker| walker.interrupt(request),
            |answer| matches!(answer, InterruptAnswer::Fault { code: 0x22 | 0x24, .. }),
            &mut |answer, _| seen(answer),
        )
    }

    /// Whether what became of a page request is right: that it was admitted, with which PASID its page is looked up, or why not.
    /// What the queue makes of it is said by [`Unit::enqueue`].
    ///
    /// # Errors
    /// As [`History::judge`].
    pub fn judge_page_request<M: Memory + ?Sized>(
        &self,
        unit: &Unit,
        memory: &M,
        request: &PageRequest,
        since: Moment,
        mut seen: impl FnMut(&Result<u32, Option<Fault>>) -> bool,
    ) -> Result<Allowed, Refused> {
        self.search(
            unit,
            memory,
            since,
            |_| unit.admits(memory, request),
            |walker| walker.admits(request),
            |answer| matches!(answer, Err(Some(fault)) if is_of_the_entry(fault.code)),
            &mut |answer, _| seen(answer),
        )
    }

    /// Tries the tables as they are, then every way through what caches may hold, depth first, the newest values first.
    #[allow(clippy::too_many_arguments, reason = "the kinds of requests differ in all of them")]
    fn search<M: Memory + ?Sized, A: fmt::Debug + PartialEq>(
        &self,
        unit: &Unit,
        memory: &M,
        since: Moment,
        present: impl FnOnce(&mut Path) -> A,
        mut walk: impl FnMut(&mut Walker<'_, Choices<'_, M>>) -> A,
        is_of_the_entry: impl Fn(&A) -> bool,
        seen: &mut impl FnMut(&A, &[Due]) -> bool,
    ) -> Result<Allowed, Refused> {
        let mut path = Path::new();
        let answer = present(&mut path);
        // Where nothing on the way has changed there is but one way.
        let mut dues: Vec<Due> =
            path.updates.iter().map(|&update| Due { update, optional: 0 }).collect();
        if seen(&answer, &dues) {
            return Ok(Allowed::Present);
        }
        let mut possible = vec![answer];
        let now = path.reads;
        let mut script = Vec::new();
        let mut scratch = Scratch::default();
        let mut set = Vec::new();
        let (mut reads, mut steps, mut updates): (Vec<Read>, Vec<Step>, Vec<Update>) =
            Default::default();
        for _ in 0..MOST_WALKS {
            reads.clear();
            steps.clear();
            updates.clear();
            set.clear();
            let tables =
                Choices::new(self, memory, since, &mut reads, &mut script, &mut set, &mut scratch);
            let mut walker =
                Walker { unit, tables, steps: &mut steps, updates: &mut updates, fpd: false };
            let answer = walk(&mut walker);
            // What is malformed is never cached.
            let fresh = walker.tables.last_is_fresh() || !is_of_the_entry(&answer);
            if walker.tables.is_possible() && fresh {
                dues.clear();
                dues.extend(updates.iter().map(|&update| {
                    let of_entry = set.iter().filter(|(address, _)| *address == update.address);
                    Due { update, optional: of_entry.fold(0, |all, (_, bits)| all | bits) }
                }));
                if seen(&answer, &dues) {
                    return Ok(Allowed::Cached);
                }
                if !possible.contains(&answer) {
                    possible.push(answer);
                }
            }
            if !advance(&mut script) {
                return Err(refused(&possible, &now));
            }
        }
        Ok(Allowed::Unsettled)
    }
}

/// The next way: the last choice that has another value takes it, and what came after it is chosen anew.
fn advance(script: &mut Vec<(usize, usize)>) -> bool {
    while let Some((chosen, count)) = script.pop() {
        if chosen + 1 < count {
            script.push((chosen + 1, count));
            return true;
        }
    }
    false
}

fn refused<A: fmt::Debug>(possible: &[A], path: &[Read]) -> Refused {
    let mut what = String::from("it could have been");
    for (index, answer) in possible.iter().take(4).enumerate() {
        what += &format!("{} {answer:x?}", if index == 0 { "" } else { " or" });
    }
    if possible.len() > 4 {
        what += &format!(" or {} others", possible.len() - 4);
    }
    what += "; in memory now";
    for Read { address, value, kind } in path {
        match value {
            Some(value) => what += &format!(", {kind} {address:x}: {value:x}"),
            None => what += &format!(", {kind} {address:x}: no memory"),
        }
    }
    Refused { what }
}

/// Whether a fault is one of the last entry itself: malformed entries are never cached.
const fn is_of_the_entry(code: u8) -> bool {
    matches!(
        code,
        0x01..=0x03
            | 0x0a..=0x0c
            | 0x39
            | 0x3a
            | 0x41..=0x43
            | 0x51
            | 0x52
            | 0x59..=0x5b
            | 0x71
            | 0x72
            | 0x79
            | 0x7a
    )
}
