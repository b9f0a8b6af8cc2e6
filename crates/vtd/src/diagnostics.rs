//! Diagnostics: what a VMM may want in its log, limited so that no guest can flood it.

use std::collections::BTreeMap;
use std::fmt;
use std::time::{Duration, Instant};

use vtd_spec::planted::is_planted;
use vtd_spec::register::QueueErrorInfo;
use vtd_spec::{FaultReason, Pasid, SourceId};

use crate::DeviceId;

/// Something that a guest or its devices did and that a person who looks for a fault may want to know. For a log: there is
/// nothing to do about it.
///
/// A guest can bring these about as often as it likes, so each kind is limited for each device, and all of them for the unit, by
/// [`UnitConfig::diagnostic_limits`](crate::UnitConfig::diagnostic_limits). What goes beyond is counted: the next one of its kind
/// and device that is let through says how many there were, and [`UnitCounts`](crate::UnitCounts) has the totals. A VMM can hand
/// them to its log as they come, one line each; the text holds numbers and words of this crate, and nothing that a guest wrote.
///
/// ```
/// use vtd::{Effect, RemappingUnit};
///
/// fn take_effects(unit: &RemappingUnit) {
///     while let Some(effect) = unit.take_effect() {
///         match effect {
///             Effect::Diagnostic(diagnostic) => eprintln!("vtd: {diagnostic}"),
///             // Interrupts to send, devices to retry, …
///             _ => {}
///         }
///     }
/// }
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Diagnostic {
    /// What happened.
    pub event: DiagnosticEvent,
    /// How many of the same kind and device were not told since the last one that was.
    pub suppressed: u64,
}

/// What a [`Diagnostic`] tells.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum DiagnosticEvent {
    /// The invalidation queue stopped: FSTS.IQE is set.
    #[non_exhaustive]
    QueueStopped {
        /// The byte offset in the queue.
        offset: u64,
        /// IQERCD.IQEI.
        info: QueueErrorInfo,
        /// The quadwords of the descriptor; `None` where none was fetched.
        descriptor: Option<[u64; 4]>,
        /// Why, in words.
        why: String,
    },
    /// A request of a device faulted, and the fault was recorded for the guest.
    #[non_exhaustive]
    Fault {
        /// Whose request.
        source_id: SourceId,
        /// With what PASID.
        pasid: Option<Pasid>,
        /// Why it was blocked.
        reason: FaultReason,
    },
    /// A request of a device faulted, and the fault recording registers had no space for it: FSTS.PFO is set.
    #[non_exhaustive]
    FaultLost {
        /// Whose request.
        source_id: SourceId,
        /// With what PASID.
        pasid: Option<Pasid>,
        /// Why it was blocked.
        reason: FaultReason,
    },
    /// A page request was dropped: the queue was full, or PRS.PRO was set.
    #[non_exhaustive]
    PageRequestDropped {
        /// Whose request.
        source_id: SourceId,
        /// With what PASID.
        pasid: Option<Pasid>,
    },
}

/// How much a unit tells its VMM of what a guest can bring about at will.
///
/// It holds for [`Diagnostic`], and for [`Effect::OverQuota`](crate::Effect::OverQuota),
/// [`Effect::DeviceTlbTimedOut`](crate::Effect::DeviceTlbTimedOut) and
/// [`Effect::HostCallFailed`](crate::Effect::HostCallFailed), which a guest provokes with invalidations. Each call of
/// [`RemappingUnit::retry`](crate::RemappingUnit::retry) lets one more `HostCallFailed` of its device through, so that a VMM that
/// retries a device when it is told of a failure is told of the next one too.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct DiagnosticLimits {
    /// For each kind and device; what concerns no device counts as one more. By default 10 at once, and one a second.
    pub device: RateLimit,
    /// For everything together. By default 100 at once, and ten a second.
    pub unit: RateLimit,
}

impl Default for DiagnosticLimits {
    fn default() -> Self {
        Self {
            device: RateLimit { burst: 10, refill: Duration::from_secs(1) },
            unit: RateLimit { burst: 100, refill: Duration::from_millis(100) },
        }
    }
}

/// So many at once, then one each so often.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RateLimit {
    /// How many at once. With 0 there are none at all.
    pub burst: u32,
    /// After how long there may be one more, up to `burst`. [`Duration::MAX`] is never, [`Duration::ZERO`] at once.
    pub refill: Duration,
}

/// What is limited by itself. The order is of no meaning.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Subject {
    Queue,
    Fault(SourceId),
    FaultLost(SourceId),
    PageRequestDropped(SourceId),
    DeviceTlbTimedOut(DeviceId),
    HostCallFailed(DeviceId),
    OverQuota(DeviceId),
    /// All for which there is no space.
    Others,
}

impl DiagnosticEvent {
    fn subject(&self) -> Subject {
        match self {
            Self::QueueStopped { .. } => Subject::Queue,
            Self::Fault { source_id, .. } => Subject::Fault(*source_id),
            Self::FaultLost { source_id, .. } => Subject::FaultLost(*source_id),
            Self::PageRequestDropped { source_id, .. } => Subject::PageRequestDropped(*source_id),
        }
    }
}

/// The most subjects that are limited each by itself; more share one limit.
const SUBJECTS: usize = 1024;

/// A token bucket.
#[derive(Clone, Copy, Debug)]
struct Bucket {
    tokens: u32,
    /// When the last token came in, or the bucket was full.
    since: Instant,
    /// What was refused since the last that was not.
    suppressed: u64,
}

impl Bucket {
    fn full(limit: RateLimit, now: Instant) -> Self {
        Self { tokens: limit.burst, since: now, suppressed: 0 }
    }

    /// Takes in what has come since the last look.
    fn refill(&mut self, limit: RateLimit, now: Instant) {
        let passed = now.saturating_duration_since(self.since);
        let refill = limit.refill.as_nanos();
        let came = passed.as_nanos().checked_div(refill).unwrap_or(u128::MAX);
        let space = limit.burst.saturating_sub(self.tokens);
        match u32::try_from(came).ok().filter(|came| *came < space) {
            Some(came) => {
                self.tokens += came;
                // What has passed of the next token's time stays.
                self.since += limit.refill.saturating_mul(came);
            }
            None => {
                self.tokens = self.tokens.max(limit.burst);
                self.since = now;
            }
        }
    }

    fn is_spent(&self) -> bool {
        self.tokens == 0
    }
}

/// Decides what is told, and counts what is not.
#[derive(Debug)]
pub(crate) struct Limiter {
    limits: DiagnosticLimits,
    unit: Bucket,
    subjects: BTreeMap<Subject, Bucket>,
    /// When subjects were last looked through for some to forget.
    looked_through: Instant,
    suppressed: u64,
}

impl Limiter {
    pub(crate) fn new(limits: DiagnosticLimits, now: Instant) -> Self {
        let unit = Bucket::full(limits.unit, now);
        Self { limits, unit, subjects: BTreeMap::new(), looked_through: now, suppressed: 0 }
    }

    /// The diagnostic to tell, or `None` where it is only counted.
    pub(crate) fn admit(&mut self, event: DiagnosticEvent, now: Instant) -> Option<Diagnostic> {
        let suppressed = self.admit_subject(event.subject(), now)?;
        Some(Diagnostic { event, suppressed })
    }

    /// Whether this one is told: how many before it were not. `None` counts it.
    pub(crate) fn admit_subject(&mut self, subject: Subject, now: Instant) -> Option<u64> {
        // Planted (row 20): everything is told, however much it is.
        if is_planted(120) {
            return Some(0);
        }
        self.unit.refill(self.limits.unit, now);
        let unit_spent = self.unit.is_spent();
        let bucket = self.bucket(subject, now);
        if unit_spent || bucket.is_spent() {
            bucket.suppressed += 1;
            self.suppressed += 1;
            return None;
        }
        bucket.tokens -= 1;
        let suppressed = std::mem::take(&mut bucket.suppressed);
        self.unit.tokens -= 1;
        Some(suppressed)
    }

    /// Lets one more through, whatever there was before.
    pub(crate) fn grant(&mut self, subject: Subject, now: Instant) {
        let bucket = self.bucket(subject, now);
        bucket.tokens = bucket.tokens.max(1);
        self.unit.tokens = self.unit.tokens.max(1);
    }

    /// The bucket of a subject, as it is now.
    fn bucket(&mut self, subject: Subject, now: Instant) -> &mut Bucket {
        let limit = self.limits.device;
        let known = self.subjects.contains_key(&subject);
        if !known && self.subjects.len() >= SUBJECTS {
            self.forget_full(now);
        }
        let space = known || self.subjects.len() < SUBJECTS;
        let subject = if space { subject } else { Subject::Others };
        let bucket = self.subjects.entry(subject).or_insert_with(|| Bucket::full(limit, now));
        bucket.refill(limit, now);
        bucket
    }

    /// Forgets subjects of whom there is nothing to know, now and then: none becomes one faster than a token comes.
    fn forget_full(&mut self, now: Instant) {
        let limit = self.limits.device;
        if now.saturating_duration_since(self.looked_through) < limit.refill {
            return;
        }
        self.looked_through = now;
        self.subjects.retain(|_, bucket| {
            bucket.refill(limit, now);
            bucket.tokens < limit.burst || bucket.suppressed > 0
        });
    }

    /// How many were not told.
    pub(crate) fn suppressed(&self) -> u64 {
        self.suppressed
    }
}

impl fmt::Display for Diagnostic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.event)?;
        match self.suppressed {
            0 => Ok(()),
            suppressed => write!(f, " ({suppressed} like it were not told)"),
        }
    }
}

impl fmt::Display for DiagnosticEvent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::QueueStopped { offset, descriptor, why, .. } => {
                write!(f, "the invalidation queue stopped at {offset:#x}: {why}")?;
                match descriptor {
                    Some([qw0, qw1, qw2, qw3]) => {
                        write!(f, ", descriptor {qw0:x} {qw1:x} {qw2:x} {qw3:x}")
                    }
                    None => Ok(()),
                }
            }
            Self::Fault { source_id, pasid, reason } => {
                write!(f, "{}faulted: {reason}", Requester(*source_id, *pasid))
            }
            Self::FaultLost { source_id, pasid, reason } => {
                write!(f, "{}faulted, without a record: {reason}", Requester(*source_id, *pasid))
            }
            Self::PageRequestDropped { source_id, pasid } => {
                write!(f, "a page request of {}was dropped", Requester(*source_id, *pasid))
            }
        }
    }
}

/// Who asked, with a space behind it.
struct Requester(SourceId, Option<Pasid>);

impl fmt::Display for Requester {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(source_id, pasid) = self;
        match pasid {
            Some(pasid) => write!(f, "{source_id} PASID {:#x} ", pasid.get()),
            None => write!(f, "{source_id} "),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    fn limits(device: (u32, Duration), unit: (u32, Duration)) -> DiagnosticLimits {
        let rate = |(burst, refill)| RateLimit { burst, refill };
        DiagnosticLimits { device: rate(device), unit: rate(unit) }
    }

    /// What becomes of an event at each of these moments, in milliseconds.
    fn told(limits: DiagnosticLimits, moments: &[u32]) -> Vec<Option<u64>> {
        let start = Instant::now();
        let mut limiter = Limiter::new(limits, start);
        let at = |moment: &u32| limiter.admit_subject(Subject::Queue, start + MS * *moment);
        moments.iter().map(at).collect()
    }

    #[test]
    fn a_burst_then_one_each_so_often() {
        let free = (1000, Duration::ZERO);
        let limits = limits((2, MS * 100), free);
        for (moments, expected) in [
            (&[0, 0, 0, 0][..], &[Some(0), Some(0), None, None][..]),
            // One more after 100 ms, which says what was not told.
            (&[0, 0, 50, 99, 100, 101], &[Some(0), Some(0), None, None, Some(2), None]),
            // What has passed of the time of the next one counts.
            (&[0, 0, 150, 199, 200], &[Some(0), Some(0), Some(0), None, Some(1)]),
            // Never more than the burst at once.
            (&[0, 0, 9000, 9000, 9000], &[Some(0), Some(0), Some(0), Some(0), None]),
        ] {
            assert_eq!(told(limits, moments), expected, "{moments:?}");
        }
    }

    #[test]
    fn the_ends_of_the_range() {
        let free = (1000, Duration::ZERO);
        assert_eq!(told(limits((0, Duration::ZERO), free), &[0, 5000]), [None, None]);
        assert_eq!(told(limits((1, Duration::MAX), free), &[0, u32::MAX]), [Some(0), None]);
        assert_eq!(told(limits((1, Duration::ZERO), free), &[0, 0, 0]), [Some(0); 3]);
        // The unit's limit holds for all devices together.
        assert_eq!(
            told(limits(free, (1, MS * 10)), &[0, 1, 2, 10]),
            [Some(0), None, None, Some(2)]
        );
    }

    #[test]
    fn each_subject_has_its_own_limit_and_the_unit_one_for_all() {
        let now = Instant::now();
        let mut limiter = Limiter::new(limits((1, Duration::MAX), (3, Duration::MAX)), now);
        let mut admit = |subject| limiter.admit_subject(subject, now);
        assert_eq!(admit(Subject::Fault(SourceId(1))), Some(0));
        assert_eq!(admit(Subject::Fault(SourceId(1))), None);
        assert_eq!(admit(Subject::FaultLost(SourceId(1))), Some(0));
        assert_eq!(admit(Subject::Fault(SourceId(2))), Some(0));
        assert_eq!(admit(Subject::Fault(SourceId(3))), None);
        assert_eq!(limiter.suppressed(), 2);
    }

    #[test]
    fn one_more_is_let_through_after_a_grant() {
        let now = Instant::now();
        let mut limiter = Limiter::new(limits((1, Duration::MAX), (1, Duration::MAX)), now);
        let subject = Subject::HostCallFailed(DeviceId(1));
        limiter.grant(subject, now);
        assert_eq!(limiter.admit_subject(subject, now), Some(0));
        assert_eq!(limiter.admit_subject(subject, now), None);
        limiter.grant(subject, now);
        limiter.grant(subject, now);
        assert_eq!(limiter.admit_subject(subject, now), Some(1));
        assert_eq!(limiter.admit_subject(subject, now), None);
    }

    #[test]
    fn subjects_are_bounded_and_those_without_news_make_space() {
        let now = Instant::now();
        let rates = limits((1, MS), (u32::MAX, Duration::ZERO));
        let mut limiter = Limiter::new(rates, now);
        for source in 0..=u16::MAX {
            let subject = Subject::Fault(SourceId(source));
            limiter.admit_subject(subject, now);
            limiter.admit_subject(subject, now);
        }
        assert_eq!(limiter.subjects.len(), SUBJECTS + 1, "and the one that all others share");
        let distinct = SUBJECTS as u64 + 1;
        assert_eq!(limiter.suppressed(), 2 * 65536 - distinct);
        // Those that have told what they suppressed are full a moment later, and make space.
        for source in 0..100 {
            limiter.admit_subject(Subject::Fault(SourceId(source)), now + MS);
        }
        limiter.admit_subject(Subject::Queue, now + MS * 3);
        assert_eq!(limiter.subjects.len(), SUBJECTS + 1 - 100 + 1);
    }

    #[test]
    fn lines_of_a_log() {
        let source_id = SourceId(0x18);
        let pasid = Pasid::new(5);
        let reason = FaultReason::RootAccess;
        let why = "no such type".to_owned();
        let info = QueueErrorInfo::InvalidType;
        let descriptor = Some([0xf, 1, 0, 0]);
        let line = |event, suppressed| Diagnostic { event, suppressed }.to_string();
        for (event, suppressed, expected) in [
            (
                DiagnosticEvent::QueueStopped { offset: 0x20, info, descriptor, why },
                0,
                "the invalidation queue stopped at 0x20: no such type, descriptor f 1 0 0",
            ),
            (
                DiagnosticEvent::PageRequestDropped { source_id, pasid: None },
                3,
                "a page request of 00:03.0 was dropped (3 like it were not told)",
            ),
        ] {
            assert_eq!(line(event, suppressed), expected);
        }
        let fault = line(DiagnosticEvent::Fault { source_id, pasid, reason }, 1);
        assert!(fault.starts_with("00:03.0 PASID 0x5 faulted: "), "{fault}");
        let lost = line(DiagnosticEvent::FaultLost { source_id, pasid, reason }, 0);
        assert!(lost.starts_with("00:03.0 PASID 0x5 faulted, without a record: "), "{lost}");
    }
}
