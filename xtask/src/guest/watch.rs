//! How long a boot may take, and how long it may say nothing.

use std::fmt;
use std::time::{Duration, Instant};

/// How long to wait for a guest.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Patience {
    /// From one line of the console to the next.
    pub(crate) silence: Duration,
    /// From the start of QEMU to its end.
    pub(crate) total: Duration,
    /// From the guest's last word to the end of QEMU.
    pub(crate) power_off: Duration,
}

/// Why a boot was cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Hang {
    Silent(Duration),
    TooLong(Duration),
    DoesNotPowerOff(Duration),
}

impl fmt::Display for Hang {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Silent(limit) => write!(f, "no line on the console for {} s", limit.as_secs()),
            Self::TooLong(limit) => write!(f, "not over after {} s", limit.as_secs()),
            Self::DoesNotPowerOff(limit) => {
                write!(
                    f,
                    "all checks were over, and the machine was still on {} s later",
                    limit.as_secs()
                )
            }
        }
    }
}

/// Notices a hang. Told the time, so that a test need not wait.
#[derive(Debug)]
pub(crate) struct Watch {
    patience: Patience,
    started: Instant,
    heard: Instant,
    done: Option<Instant>,
}

impl Watch {
    pub(crate) fn new(patience: Patience, now: Instant) -> Self {
        Self { patience, started: now, heard: now, done: None }
    }

    /// A line came.
    pub(crate) fn hear(&mut self, now: Instant) {
        self.heard = now;
    }

    /// The guest has said that all is over, or, with `false`, that something begins again.
    pub(crate) fn set_done(&mut self, done: bool, now: Instant) {
        self.done = if done { self.done.or(Some(now)) } else { None };
    }

    /// Whether it is time to cut the boot, and why.
    pub(crate) fn hang(&self, now: Instant) -> Option<Hang> {
        let Patience { silence, total, power_off } = self.patience;
        let past = |since: Instant, limit| now.saturating_duration_since(since) >= limit;
        if self.done.is_some_and(|done| past(done, power_off)) {
            Some(Hang::DoesNotPowerOff(power_off))
        } else if past(self.heard, silence) {
            Some(Hang::Silent(silence))
        } else if past(self.started, total) {
            Some(Hang::TooLong(total))
        } else {
            None
        }
    }

    pub(crate) fn elapsed(&self, now: Instant) -> Duration {
        now.saturating_duration_since(self.started)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PATIENCE: Patience = Patience {
        silence: Duration::from_secs(60),
        total: Duration::from_secs(600),
        power_off: Duration::from_secs(20),
    };

    fn at(start: Instant, seconds: u64) -> Instant {
        start + Duration::from_secs(seconds)
    }

    #[test]
    fn silence_is_a_hang_and_a_line_ends_it() {
        let start = Instant::now();
        let mut watch = Watch::new(PATIENCE, start);
        assert_eq!(watch.hang(at(start, 59)), None);
        assert_eq!(watch.hang(at(start, 60)), Some(Hang::Silent(PATIENCE.silence)));
        watch.hear(at(start, 59));
        assert_eq!(watch.hang(at(start, 118)), None);
        assert_eq!(watch.hang(at(start, 119)), Some(Hang::Silent(PATIENCE.silence)));
    }

    #[test]
    fn a_guest_that_talks_without_end_is_cut_too() {
        let start = Instant::now();
        let mut watch = Watch::new(PATIENCE, start);
        for second in 0..600 {
            watch.hear(at(start, second));
            assert_eq!(watch.hang(at(start, second)), None);
        }
        watch.hear(at(start, 600));
        assert_eq!(watch.hang(at(start, 600)), Some(Hang::TooLong(PATIENCE.total)));
    }

    #[test]
    fn a_guest_that_is_done_has_to_go() {
        let start = Instant::now();
        let mut watch = Watch::new(PATIENCE, start);
        watch.set_done(true, at(start, 5));
        watch.hear(at(start, 24));
        watch.set_done(true, at(start, 24));
        assert_eq!(watch.hang(at(start, 24)), None);
        assert_eq!(watch.hang(at(start, 25)), Some(Hang::DoesNotPowerOff(PATIENCE.power_off)));
        watch.set_done(false, at(start, 25));
        assert_eq!(watch.hang(at(start, 26)), None);
    }
}
