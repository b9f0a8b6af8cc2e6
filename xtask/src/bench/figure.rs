//! What stands on the page as a number.

use super::measured::Measured;

/// A number, and where it comes from.
#[derive(Clone, Copy, Debug)]
pub(super) enum Figure {
    /// Nanoseconds of one operation, by the name of its benchmark.
    Time(&'static str),
    /// Operations a second.
    PerSecond(&'static str),
    /// How many times as much two threads do as one, by the names of the benchmarks with one and with two.
    Scaling(&'static str, &'static str),
    /// Instructions of one operation.
    Count(&'static str),
    /// So many times the instructions of one operation.
    Counts(u64, &'static str),
    /// The most and the fewest instructions of these.
    MostInstructions(&'static [&'static str]),
    FewestInstructions(&'static [&'static str]),
    Fact(&'static str, Unit),
    /// The largest of these.
    LargestFact(&'static [&'static str], Unit),
    /// By reading the code: no program measures it.
    ByReading(f64, Unit),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unit {
    Nanoseconds,
    PerSecond,
    Times,
    Instructions,
    Percent,
    Bytes,
    Allocations,
    Loads,
}

impl Figure {
    /// The number; of several that it is chosen from, whose it is. None if it was not measured.
    pub(super) fn of(self, measured: &Measured) -> Option<(f64, Option<&'static str>)> {
        let time = |name| measured.times.get(name).copied();
        let count = |name: &&'static str| Some((*measured.counts.get(*name)?, Some(*name)));
        let all = |names: &[&'static str]| names.iter().map(count).collect::<Option<Vec<_>>>();
        let alone = match self {
            Self::Time(name) => time(name)?,
            Self::PerSecond(name) => 1e9 / time(name)?,
            Self::Scaling(one, two) => 2.0 * time(one)? / time(two)?,
            Self::Count(name) => *measured.counts.get(name)?,
            #[expect(clippy::cast_precision_loss, reason = "a bound need not be exact")]
            Self::Counts(times, name) => times as f64 * measured.counts.get(name)?,
            Self::Fact(name, _) => *measured.facts.get(name)?,
            Self::ByReading(number, _) => number,
            Self::MostInstructions(names) => {
                return all(names)?.into_iter().max_by(|one, other| one.0.total_cmp(&other.0));
            }
            Self::FewestInstructions(names) => {
                return all(names)?.into_iter().min_by(|one, other| one.0.total_cmp(&other.0));
            }
            Self::LargestFact(names, _) => {
                let fact = |name: &&'static str| Some((*measured.facts.get(*name)?, Some(*name)));
                let facts: Option<Vec<_>> = names.iter().map(fact).collect();
                return facts?.into_iter().max_by(|one, other| one.0.total_cmp(&other.0));
            }
        };
        Some((alone, None))
    }

    pub(super) const fn unit(self) -> Unit {
        match self {
            Self::Time(_) => Unit::Nanoseconds,
            Self::PerSecond(_) => Unit::PerSecond,
            Self::Scaling(..) => Unit::Times,
            Self::Count(_)
            | Self::Counts(..)
            | Self::MostInstructions(_)
            | Self::FewestInstructions(_) => Unit::Instructions,
            Self::Fact(_, unit) | Self::LargestFact(_, unit) | Self::ByReading(_, unit) => unit,
        }
    }

    /// As it stands on the page.
    pub(super) fn text(self, measured: &Measured) -> Option<String> {
        let (number, name) = self.of(measured)?;
        let text = self.unit().text(number);
        Some(match name {
            // Where all are nothing, none of them is the one to name.
            Some(name) if number > 0.0 => format!("{text} ({name})"),
            _ => text,
        })
    }
}

impl Unit {
    /// A number with its unit, as a person reads it.
    pub(super) fn text(self, number: f64) -> String {
        match self {
            Self::Nanoseconds if number >= 1e6 => format!("{} ms", digits(number / 1e6)),
            Self::Nanoseconds if number >= 1e3 => format!("{} µs", digits(number / 1e3)),
            Self::Nanoseconds => format!("{} ns", digits(number)),
            Self::PerSecond if number >= 1e6 => format!("{} million", digits(number / 1e6)),
            Self::PerSecond => format!("{} thousand", digits(number / 1e3)),
            Self::Times => format!("{number:.2} ×"),
            Self::Instructions => format!("{} instructions", digits(number)),
            Self::Percent => format!("{} %", digits(number)),
            Self::Bytes => format!("{} bytes", digits(number)),
            Self::Allocations => digits(number),
            Self::Loads => format!("{} loads", digits(number)),
        }
    }
}

/// Three significant digits, or more before the point, in groups of three.
pub(super) fn digits(number: f64) -> String {
    if number > 0.0 && number < 0.005 {
        return "< 0.01".into();
    }
    let decimals = match number.abs() {
        small if small >= 99.95 => 0,
        small if small >= 9.995 => 1,
        _ => 2,
    };
    let text = format!("{number:.decimals$}");
    let (whole, fraction) = text.split_once('.').unwrap_or((&text, ""));
    let fraction = fraction.trim_end_matches('0');
    let mut grouped = String::new();
    for (place, digit) in (0..whole.len()).rev().zip(whole.chars()) {
        grouped.push(digit);
        if place > 0 && place % 3 == 0 {
            grouped.push(',');
        }
    }
    if fraction.is_empty() { grouped } else { format!("{grouped}.{fraction}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_for_people() {
        let table = [
            (0.0, Unit::Allocations, "0"),
            (1.0, Unit::Allocations, "1"),
            (2.318, Unit::Nanoseconds, "2.32 ns"),
            (63.01, Unit::Nanoseconds, "63 ns"),
            (123.4, Unit::Nanoseconds, "123 ns"),
            (1_180_000.0, Unit::Nanoseconds, "1.18 ms"),
            (15_900.0, Unit::Nanoseconds, "15.9 µs"),
            (4_300_000.0, Unit::PerSecond, "4.3 million"),
            (430_000.0, Unit::PerSecond, "430 thousand"),
            (1.987, Unit::Times, "1.99 ×"),
            (3461.0, Unit::Instructions, "3,461 instructions"),
            (1_048_576.0, Unit::Instructions, "1,048,576 instructions"),
            (0.1068, Unit::Percent, "0.11 %"),
            (40.63, Unit::Bytes, "40.6 bytes"),
            (0.004, Unit::Percent, "< 0.01 %"),
            (99.96, Unit::Bytes, "100 bytes"),
        ];
        for (number, unit, text) in table {
            assert_eq!(unit.text(number), text);
        }
    }

    #[test]
    fn figures_of_what_was_measured() {
        let map = |pairs: &[(&str, f64)]| {
            pairs.iter().map(|(name, number)| ((*name).to_string(), *number)).collect()
        };
        let measured = Measured {
            times: map(&[("one", 4.0), ("two", 5.0)]),
            counts: map(&[("few", 10.0), ("many", 30.0)]),
            facts: map(&[("none", 0.0), ("nil", 0.0), ("half", 50.0)]),
            is_quick: false,
        };
        let table = [
            (Figure::Time("one"), Some("4 ns")),
            (Figure::PerSecond("two"), Some("200 million")),
            (Figure::Scaling("one", "two"), Some("1.60 ×")),
            (Figure::Counts(512, "few"), Some("5,120 instructions")),
            (Figure::MostInstructions(&["few", "many"]), Some("30 instructions (many)")),
            (Figure::FewestInstructions(&["few", "many"]), Some("10 instructions (few)")),
            (Figure::MostInstructions(&["few", "more"]), None),
            (Figure::Fact("half", Unit::Percent), Some("50 %")),
            (Figure::LargestFact(&["none", "nil"], Unit::Allocations), Some("0")),
            (Figure::LargestFact(&["none", "half"], Unit::Bytes), Some("50 bytes (half)")),
            (Figure::ByReading(3.0, Unit::Loads), Some("3 loads")),
            (Figure::Time("three"), None),
        ];
        for (figure, text) in table {
            assert_eq!(figure.text(&measured).as_deref(), text, "{figure:?}");
        }
    }
}
