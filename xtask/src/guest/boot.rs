//! The boots of a matrix: which kernel, in which mode, for which checks.

use std::fmt;

use super::kernel::Series;
use super::mode::{Mode, Unmap};
use super::qemu::OnReset;

/// What a boot is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Plan {
    /// Checks that leave the kernel running: those named here, or if none is, all that the guest has for the mode.
    Checks(Vec<String>),
    /// A second kernel, started by the first.
    Kexec,
    /// The machine is reset, and boots again.
    Reset,
}

impl Plan {
    /// What is checked, if it is a check that ends its kernel.
    fn ending(&self) -> Option<&'static str> {
        match self {
            Self::Checks(_) => None,
            Self::Kexec => Some("kexec"),
            Self::Reset => Some("reset"),
        }
    }

    pub(crate) fn on_reset(&self) -> OnReset {
        if *self == Self::Reset { OnReset::BootAgain } else { OnReset::End }
    }
}

/// One boot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Boot {
    pub(crate) kernel: Series,
    pub(crate) mode: Mode,
    pub(crate) plan: Plan,
}

/// What the checks of a boot begin with, and how much they do.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Volume {
    pub(crate) seed: u64,
    /// In hundredths of the usual.
    pub(crate) rounds: u64,
}

impl Volume {
    const USUAL_ROUNDS: u64 = 100;
}

impl Boot {
    /// The kernel's command line.
    pub(crate) fn kernel_arguments(&self, volume: Volume) -> String {
        let mode = self.mode.kernel_arguments();
        let Volume { seed, rounds } = volume;
        // The unit offers four levels; with five the kernel would not use its first stage for processes.
        let mut line = format!("console=ttyS0 no5lvl {mode} vtd.seed={seed}");
        if rounds != Volume::USUAL_ROUNDS {
            line.push_str(&format!(" vtd.rounds={rounds}"));
        }
        let checks = match &self.plan {
            Plan::Checks(names) => names.join(","),
            other => other.ending().unwrap_or_default().into(),
        };
        if !checks.is_empty() {
            line.push_str(" vtd.checks=");
            line.push_str(&checks);
        }
        line
    }
}

impl fmt::Display for Boot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "linux-{}-{}", self.kernel, self.mode)?;
        match self.plan.ending() {
            Some(name) => write!(f, "-{name}"),
            None => Ok(()),
        }
    }
}

/// What is asked for.
#[derive(Clone, Debug)]
pub(crate) struct Wanted {
    pub(crate) kernels: Vec<Series>,
    pub(crate) modes: Vec<Mode>,
    /// None: all.
    pub(crate) checks: Vec<String>,
    /// Whether checks that end their kernel run in every mode, and not in those alone that differ by tables only.
    pub(crate) thorough: bool,
}

/// The boots that show what is asked for, each once.
pub(crate) fn boots(wanted: &Wanted) -> Vec<Boot> {
    let mut boots = Vec::new();
    for &kernel in &wanted.kernels {
        for &mode in &wanted.modes {
            for plan in plans(wanted, mode) {
                let boot = Boot { kernel, mode, plan };
                if !boots.contains(&boot) {
                    boots.push(boot);
                }
            }
        }
    }
    boots
}

fn plans(wanted: &Wanted, mode: Mode) -> Vec<Plan> {
    let mut plans = Vec::new();
    if wanted.checks.is_empty() {
        plans.push(Plan::Checks(vec![]));
        if wanted.thorough || (!mode.caching && mode.unmap == Unmap::Strict) {
            plans.extend([Plan::Kexec, Plan::Reset]);
        }
        return plans;
    }
    let mut others = wanted.checks.clone();
    let mut ending = Vec::new();
    for plan in [Plan::Kexec, Plan::Reset] {
        let before = others.len();
        others.retain(|check| plan.ending() != Some(check));
        if others.len() < before {
            ending.push(plan);
        }
    }
    if !others.is_empty() {
        plans.push(Plan::Checks(others));
    }
    plans.extend(ending);
    plans
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::guest::mode::Tables;

    fn wanted(modes: Vec<Mode>, checks: &[&str]) -> Wanted {
        Wanted {
            kernels: Series::TRIED.to_vec(),
            modes,
            checks: checks.iter().map(ToString::to_string).collect(),
            thorough: false,
        }
    }

    fn names(boots: &[Boot]) -> Vec<String> {
        boots.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn checks_that_end_their_kernel_have_boots_of_their_own() {
        let first = Mode::plain(Tables::FirstStage);
        let caching = Mode { caching: true, ..first };
        let boots = boots(&Wanted {
            kernels: vec![Series::TRIED[1]],
            ..wanted(vec![first, caching, first], &[])
        });
        assert_eq!(
            names(&boots),
            [
                "linux-7.3-first-stage",
                "linux-7.3-first-stage-kexec",
                "linux-7.3-first-stage-reset",
                "linux-7.3-first-stage+caching"
            ]
        );
    }

    #[test]
    fn named_checks_need_no_other_boots() {
        let legacy = Mode::plain(Tables::Legacy);
        let some = boots(&wanted(vec![legacy], &["kexec", "block"]));
        assert_eq!(
            names(&some),
            [
                "linux-6.12-legacy",
                "linux-6.12-legacy-kexec",
                "linux-7.3-legacy",
                "linux-7.3-legacy-kexec"
            ]
        );
        assert_eq!(some[0].plan, Plan::Checks(vec!["block".into()]));
        assert_eq!(
            names(&boots(&wanted(vec![legacy], &["reset"]))),
            ["linux-6.12-legacy-reset", "linux-7.3-legacy-reset"]
        );
    }

    #[test]
    fn everything_is_every_plan_in_every_mode_on_each_kernel() {
        let all = boots(&Wanted { thorough: true, ..wanted(Mode::all(), &[]) });
        assert_eq!(all.len(), 2 * 24 * 3);
    }

    #[test]
    fn what_the_kernel_is_told() {
        let boot =
            |plan| Boot { kernel: Series::TRIED[0], mode: Mode::plain(Tables::Legacy), plan };
        let usual = Volume { seed: 7, rounds: 100 };
        let line = "console=ttyS0 no5lvl intel_iommu=on,sm_off iommu.strict=1 vtd.seed=7";
        let little = boot(Plan::Checks(vec![])).kernel_arguments(Volume { rounds: 5, ..usual });
        assert_eq!(little, format!("{line} vtd.rounds=5"));
        assert_eq!(boot(Plan::Checks(vec![])).kernel_arguments(usual), line);
        let some = boot(Plan::Checks(vec!["a".into(), "b".into()]));
        assert_eq!(some.kernel_arguments(usual), format!("{line} vtd.checks=a,b"));
        assert_eq!(boot(Plan::Reset).kernel_arguments(usual), format!("{line} vtd.checks=reset"));
        assert_eq!(boot(Plan::Reset).plan.on_reset(), OnReset::BootAgain);
        assert_eq!(boot(Plan::Kexec).plan.on_reset(), OnReset::End);
    }
}
