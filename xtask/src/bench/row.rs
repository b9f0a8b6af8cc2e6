//! One line of the page: what is measured, against what, and what it is to come to.

use super::figure::{Figure, digits};
use super::measured::Measured;
use super::platform::Platform;

/// Something with a target.
#[derive(Clone, Copy, Debug)]
pub(super) struct Row {
    pub(super) what: &'static str,
    pub(super) ours: Figure,
    /// What it is compared with, as it is called.
    pub(super) against: Option<(&'static str, Figure)>,
    pub(super) target: Target,
    pub(super) needs: Need,
}

#[derive(Clone, Copy, Debug)]
pub(super) enum Target {
    /// Ours is at most so many times the other.
    RatioAtMost(f64),
    RatioAtLeast(f64),
    /// Ours itself is at most so much.
    AtMost(f64),
    AtLeast(f64),
    /// It only stands there.
    Reported,
}

/// Without what a row means nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Need {
    Nothing,
    Membarrier,
    NoMembarrier,
    Cores(usize),
}

/// What came of a row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    Met,
    Missed,
    Reported,
    /// It was not measured, and why.
    Unmeasured(String),
    /// A whole run has not measured it: a benchmark that has another name now.
    Absent,
}

/// A row with its numbers.
#[derive(Clone, Debug)]
pub(super) struct Outcome {
    pub(super) row: Row,
    pub(super) ours: String,
    pub(super) against: String,
    pub(super) ratio: String,
    pub(super) verdict: Verdict,
}

impl Row {
    pub(super) fn judge(self, measured: &Measured, platform: &Platform) -> Outcome {
        let lack = self.needs.lack(platform);
        let ours = self.ours.of(measured).filter(|_| lack.is_none());
        let other = self.against.and_then(|(_, figure)| figure.of(measured));
        let other = other.filter(|_| lack.is_none());
        let ratio = match (ours, other) {
            (Some((ours, _)), Some((other, _))) => Some(ours / other),
            _ => None,
        };
        let verdict = match lack {
            Some(lack) => Verdict::Unmeasured(lack),
            None => match self.target.verdict(ours.map(|(number, _)| number), ratio) {
                Some(verdict) => verdict,
                None if measured.is_quick => Verdict::Unmeasured("left out by --quick".into()),
                None => Verdict::Absent,
            },
        };
        let against = self.against.filter(|_| other.is_some()).map(|(name, figure)| {
            let text = figure.text(measured).unwrap_or_default();
            format!("{name}: {text}")
        });
        let none = || "–".to_string();
        Outcome {
            row: self,
            ours: ours.and_then(|_| self.ours.text(measured)).unwrap_or_else(none),
            against: against.unwrap_or_else(none),
            // Where ours itself has a target, the other is there to be looked at.
            ratio: ratio.filter(|_| self.target.is_of_ratio()).map_or_else(none, digits),
            verdict,
        }
    }

    /// The target in words.
    pub(super) fn target(&self) -> String {
        let name = self.against.map_or("", |(name, _)| name);
        match self.target {
            Target::RatioAtMost(limit) => format!("≤ {limit} × {name}"),
            Target::RatioAtLeast(limit) => format!("≥ {limit} × {name}"),
            Target::AtMost(limit) => format!("≤ {}", self.ours.unit().text(limit)),
            Target::AtLeast(limit) => format!("≥ {}", self.ours.unit().text(limit)),
            Target::Reported => "reported".into(),
        }
    }
}

impl Target {
    const fn is_of_ratio(self) -> bool {
        matches!(self, Self::RatioAtMost(_) | Self::RatioAtLeast(_) | Self::Reported)
    }

    /// None if what it speaks of was not measured.
    fn verdict(self, ours: Option<f64>, ratio: Option<f64>) -> Option<Verdict> {
        let is_met = match self {
            Self::RatioAtMost(limit) => ratio? <= limit,
            Self::RatioAtLeast(limit) => ratio? >= limit,
            Self::AtMost(limit) => ours? <= limit,
            Self::AtLeast(limit) => ours? >= limit,
            Self::Reported => return ours.map(|_| Verdict::Reported),
        };
        Some(if is_met { Verdict::Met } else { Verdict::Missed })
    }
}

impl Need {
    /// Why that is not measured here.
    fn lack(self, platform: &Platform) -> Option<String> {
        match self {
            Self::Membarrier if !platform.has_membarrier => {
                Some("not measurable here: there is no membarrier".into())
            }
            Self::NoMembarrier if platform.has_membarrier => {
                Some("not measurable here: there is membarrier".into())
            }
            Self::Cores(needed) if platform.cores < needed => Some(format!(
                "not measurable here: it takes {needed} cores, and there are {}",
                platform.cores
            )),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::figure::Unit;
    use super::*;

    fn platform(cores: usize, has_membarrier: bool) -> Platform {
        Platform { processor: "a".into(), cores, rustc: "1.88.0".into(), has_membarrier }
    }

    fn verdict(target: Target, needs: Need) -> Verdict {
        let row = Row {
            what: "hit",
            ours: Figure::Time("ours"),
            against: Some(("table", Figure::Time("table"))),
            target,
            needs,
        };
        let times = [("ours".to_string(), 3.0), ("table".to_string(), 2.0)].into();
        let measured = Measured { times, ..Measured::default() };
        row.judge(&measured, &platform(2, true)).verdict
    }

    #[test]
    fn a_target_is_met_or_missed() {
        let table = [
            (Target::RatioAtMost(1.5), Verdict::Met),
            (Target::RatioAtMost(1.49), Verdict::Missed),
            (Target::RatioAtLeast(1.5), Verdict::Met),
            (Target::RatioAtLeast(1.51), Verdict::Missed),
            (Target::AtMost(3.0), Verdict::Met),
            (Target::AtMost(2.9), Verdict::Missed),
            (Target::AtLeast(3.0), Verdict::Met),
            (Target::AtLeast(3.1), Verdict::Missed),
            (Target::Reported, Verdict::Reported),
        ];
        for (target, expected) in table {
            assert_eq!(verdict(target, Need::Nothing), expected, "{target:?}");
        }
    }

    #[test]
    fn what_cannot_be_measured_says_why() {
        let missed = Target::RatioAtMost(1.0);
        assert_eq!(verdict(missed, Need::Cores(2)), Verdict::Missed);
        assert_eq!(verdict(missed, Need::Membarrier), Verdict::Missed);
        let why = |text: &str| Verdict::Unmeasured(text.into());
        let cores = why("not measurable here: it takes 3 cores, and there are 2");
        assert_eq!(verdict(missed, Need::Cores(3)), cores);
        let membarrier = why("not measurable here: there is membarrier");
        assert_eq!(verdict(missed, Need::NoMembarrier), membarrier);
    }

    #[test]
    fn what_was_left_out_is_not_missed() {
        let row = Row {
            what: "flat",
            ours: Figure::MostInstructions(&["few", "many"]),
            against: Some(("fewest", Figure::FewestInstructions(&["few", "many"]))),
            target: Target::RatioAtMost(1.2),
            needs: Need::Nothing,
        };
        let left_out = Verdict::Unmeasured("left out by --quick".into());
        for (is_quick, verdict) in [(true, left_out), (false, Verdict::Absent)] {
            let counts = [("few".to_string(), 3.0)].into();
            let measured = Measured { counts, is_quick, ..Measured::default() };
            let outcome = row.judge(&measured, &platform(2, true));
            assert_eq!(outcome.verdict, verdict);
            assert_eq!([outcome.ours, outcome.against, outcome.ratio], ["–", "–", "–"]);
        }
    }

    #[test]
    fn targets_in_words() {
        let row = |target, against| Row {
            what: "a",
            ours: Figure::Fact("a", Unit::Percent),
            against,
            target,
            needs: Need::Nothing,
        };
        let table = Some(("table", Figure::Time("table")));
        assert_eq!(row(Target::RatioAtMost(0.4), table).target(), "≤ 0.4 × table");
        assert_eq!(row(Target::RatioAtLeast(0.95), table).target(), "≥ 0.95 × table");
        assert_eq!(row(Target::AtMost(2.0), None).target(), "≤ 2 %");
        assert_eq!(row(Target::AtLeast(40.0), None).target(), "≥ 40 %");
        assert_eq!(row(Target::Reported, None).target(), "reported");
    }
}
