//! The modes in which a guest boots: which tables it uses, what it is told, and when it unmaps.

use std::fmt;
use std::str::FromStr;

/// Which tables the unit offers, and so which ones Linux uses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Tables {
    /// Legacy mode.
    Legacy,
    /// Scalable mode, second-stage tables.
    SecondStage,
    /// Scalable mode, first-stage tables.
    FirstStage,
    /// Scalable mode, tables of both stages and nested translation: Linux chooses.
    Nested,
}

impl Tables {
    pub(crate) const ALL: [Self; 4] =
        [Self::Legacy, Self::SecondStage, Self::FirstStage, Self::Nested];

    /// The name, here and for `vtd-machine --mode`.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Legacy => "legacy",
            Self::SecondStage => "second-stage",
            Self::FirstStage => "first-stage",
            Self::Nested => "nested",
        }
    }
}

/// When Linux invalidates what it has unmapped, if it maps at all.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Unmap {
    /// At once.
    Strict,
    /// Later, many at a time.
    Lazy,
    /// Linux's own DMA addresses are physical ones; a driver's domains are mapped as ever.
    PassThrough,
}

impl Unmap {
    pub(crate) const ALL: [Self; 3] = [Self::Strict, Self::Lazy, Self::PassThrough];
}

/// A mode in which a guest boots.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Mode {
    pub(crate) tables: Tables,
    /// Whether the unit shows caching mode.
    pub(crate) caching: bool,
    pub(crate) unmap: Unmap,
}

impl Mode {
    /// Strict, without caching mode.
    pub(crate) const fn plain(tables: Tables) -> Self {
        Self { tables, caching: false, unmap: Unmap::Strict }
    }

    const fn caching(self) -> Self {
        Self { caching: true, ..self }
    }

    const fn unmapping(self, unmap: Unmap) -> Self {
        Self { unmap, ..self }
    }

    /// Every mode.
    pub(crate) fn all() -> Vec<Self> {
        let mut all = Vec::new();
        for tables in Tables::ALL {
            for caching in [false, true] {
                for unmap in Unmap::ALL {
                    all.push(Self { tables, caching, unmap });
                }
            }
        }
        all
    }

    /// The modes that differ most from one another.
    ///
    /// Lazy unmapping and pass-through are about the order of invalidations and about one kind of PASID-table entry, which the first
    /// stage has as well as the others; with caching mode Linux unmaps strictly whatever it is told.
    pub(crate) fn usual() -> Vec<Self> {
        let [legacy, second, first, nested] = Tables::ALL.map(Self::plain);
        vec![
            legacy,
            legacy.caching(),
            second,
            second.caching(),
            second.unmapping(Unmap::Lazy),
            first,
            first.caching(),
            first.unmapping(Unmap::Lazy),
            first.unmapping(Unmap::PassThrough),
            nested,
        ]
    }

    /// What the kernel is told of the mode on its command line.
    pub(crate) fn kernel_arguments(self) -> String {
        let scalable = if self.tables == Tables::Legacy { "sm_off" } else { "sm_on" };
        let unmap = match self.unmap {
            Unmap::Strict => "iommu.strict=1",
            Unmap::Lazy => "iommu.strict=0",
            Unmap::PassThrough => "iommu.passthrough=1",
        };
        format!("intel_iommu=on,{scalable} {unmap}")
    }

    /// What `vtd-machine` is told of the mode.
    pub(crate) fn machine_arguments(self) -> Vec<String> {
        let mut arguments = vec!["--mode".into(), self.tables.name().into()];
        if self.caching {
            arguments.push("--caching-mode".into());
        }
        arguments
    }

    /// The parts of the name, as they head a column of a table.
    pub(crate) fn parts(self) -> Vec<&'static str> {
        let mut parts = vec![self.tables.name()];
        if self.caching {
            parts.push("caching");
        }
        match self.unmap {
            Unmap::Strict => {}
            Unmap::Lazy => parts.push("lazy"),
            Unmap::PassThrough => parts.push("pass-through"),
        }
        parts
    }
}

impl fmt::Display for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.parts().join("+"))
    }
}

/// One or more modes, as they are named on the command line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Modes {
    All,
    Usual,
    One(Mode),
}

impl Modes {
    pub(crate) fn modes(self) -> Vec<Mode> {
        match self {
            Self::All => Mode::all(),
            Self::Usual => Mode::usual(),
            Self::One(mode) => vec![mode],
        }
    }
}

impl FromStr for Modes {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "all" => return Ok(Self::All),
            "usual" => return Ok(Self::Usual),
            _ => {}
        }
        let mut parts = text.split('+');
        let first = parts.next().unwrap_or_default();
        let tables = Tables::ALL.into_iter().find(|tables| tables.name() == first);
        let tables = tables.ok_or_else(|| {
            format!("{first:?} is neither legacy, second-stage, first-stage nor nested, nor all or usual")
        })?;
        let mut mode = Mode::plain(tables);
        let mut named = Vec::new();
        for part in parts {
            if named.contains(&part) {
                return Err(format!("{part:?} stands there twice"));
            }
            named.push(part);
            match (part, mode.unmap) {
                ("caching", _) => mode = mode.caching(),
                ("lazy", Unmap::Strict) => mode = mode.unmapping(Unmap::Lazy),
                ("pass-through", Unmap::Strict) => mode = mode.unmapping(Unmap::PassThrough),
                ("lazy" | "pass-through", _) => {
                    return Err("lazy and pass-through exclude each other".into());
                }
                _ => {
                    return Err(format!("{part:?} is neither caching, lazy nor pass-through"));
                }
            }
        }
        Ok(Self::One(mode))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn everything_is_everything_once() {
        let all = Mode::all();
        assert_eq!(all.len(), 24);
        assert_eq!(all.iter().collect::<BTreeSet<_>>().len(), 24);
        for usual in Mode::usual() {
            assert!(all.contains(&usual), "{usual}");
        }
    }

    #[test]
    fn names_are_read_as_they_are_written() {
        for mode in Mode::all() {
            assert_eq!(mode.to_string().parse(), Ok(Modes::One(mode)));
        }
        assert_eq!(
            "first-stage+lazy+caching".parse::<Modes>().unwrap().modes()[0].to_string(),
            "first-stage+caching+lazy"
        );
        for wrong in [
            "",
            "first",
            "first-stage+",
            "legacy+strict",
            "legacy+lazy+lazy",
            "legacy+lazy+pass-through",
        ] {
            assert!(wrong.parse::<Modes>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn what_the_kernel_and_the_machine_are_told() {
        let legacy = Mode::plain(Tables::Legacy);
        assert_eq!(legacy.kernel_arguments(), "intel_iommu=on,sm_off iommu.strict=1");
        assert_eq!(legacy.machine_arguments(), ["--mode", "legacy"]);
        let other = Mode { tables: Tables::FirstStage, caching: true, unmap: Unmap::PassThrough };
        assert_eq!(other.kernel_arguments(), "intel_iommu=on,sm_on iommu.passthrough=1");
        assert_eq!(other.machine_arguments(), ["--mode", "first-stage", "--caching-mode"]);
    }
}
