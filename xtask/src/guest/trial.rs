//! One boot from its start to its line of the table.

use std::fs;
use std::path::Path;
use std::time::Duration;

use super::boot::{Boot, Plan, Volume};
use super::cache::Cache;
use super::checks::Verdict;
use super::display::{Display, under_way};
use super::dmar;
use super::error::{self, GuestError};
use super::guest_side::GuestSide;
use super::kept;
use super::machine::{Files, Machine, Record};
use super::outcome::{FromOutside, Outcome};
use super::preparation::Prepared;
use super::programs::Programs;
use super::qemu::{self, Software};
use super::recording::{Replayer, Seen};
use super::run::{self, Ending, Places, Told};
use super::run_folder;
use super::steps::tail_of_file;
use super::watch::Patience;
use crate::interruption::Interruption;

/// How long the machine may take to finish its recording once QEMU has gone.
const FINISH: Duration = Duration::from_secs(30);

/// How many last lines of the console and of the unit's log explain a boot that ended badly.
const EXPLANATION: usize = 15;

/// All that a boot needs besides what it is for.
pub(crate) struct Trial<'t> {
    pub(crate) cache: &'t Cache,
    pub(crate) prepared: &'t Prepared,
    pub(crate) programs: &'t Programs,
    pub(crate) replayer: Replayer<'t>,
    pub(crate) volume: Volume,
    pub(crate) patience: Patience,
    pub(crate) keep: Option<&'t Path>,
    pub(crate) interruption: &'t Interruption,
}

impl Trial<'_> {
    pub(crate) fn run(
        &self,
        boot: &Boot,
        side: &GuestSide,
        display: &Display,
    ) -> Result<Outcome, GuestError> {
        let Self { cache, prepared, programs, interruption, .. } = *self;
        display.show(boot, "learning the unit's address");
        let table = dmar::table(cache, prepared, &programs.machine, boot.mode, interruption)?;
        let folder = run_folder::make(&prepared.chroot)?;
        let files = Files::new(folder.path().into());
        fs::write(files.dmar(), &table).map_err(error::file("cannot write", &files.dmar()))?;

        let guest = format!("Linux {}, {boot}", prepared.release(boot.kernel));
        let record = Record::Yes { guest };
        let mut machine =
            Machine::start(&programs.machine, boot.mode, &files, &record, interruption)?;
        let devices = machine.qemu_arguments(&prepared.chroot)?;
        let software = Software {
            kernel: &side.kernel,
            initramfs: match boot.plan {
                Plan::Kexec => &side.initramfs_for_kexec,
                Plan::Checks(_) | Plan::Reset => &side.initramfs,
            },
            arguments: &boot.kernel_arguments(self.volume),
            dmar: &files.dmar(),
            on_reset: boot.plan.on_reset(),
        };
        let mut qemu = qemu::with_kernel(&prepared.chroot, &devices, &software);
        let places = Places { console: &files.console(), qemu: &files.qemu() };
        let told = run::run(
            &mut qemu,
            &places,
            self.patience,
            interruption,
            || machine.ended(),
            |checks, elapsed| display.show_checks(boot, checks, elapsed),
        )?;

        display.show(boot, "replaying the recording");
        let outside = self.look_from_outside(&mut machine, &files, &table)?;
        // Only now: the machine may write its last events when it ends.
        let explanation = (told.ending != Ending::Done).then(|| explain(&told, &files));
        let mut outcome = Outcome::new(boot.clone(), told, outside);
        display.say(&format!("{boot}: {}", outcome.summary()));
        for (name, what) in outcome.failures() {
            display.say(&format!("  {name}: {what}"));
        }
        if let Some(explanation) = explanation {
            display.say(&explanation);
        }
        outcome.kept = self.keep(boot, &files, outcome.has_failed())?;
        Ok(outcome)
    }

    fn look_from_outside(
        &self,
        machine: &mut Machine,
        files: &Files,
        table: &[u8],
    ) -> Result<FromOutside, GuestError> {
        let mut verdict = match machine.finish(FINISH) {
            Ok(words) => Verdict::Pass(words),
            Err(why) => Verdict::Fail(why),
        };
        // It rewrites the table if the unit is not where the table says; the guest has then looked for it elsewhere.
        let after = fs::read(files.dmar()).map_err(error::file("cannot read", &files.dmar()))?;
        if after != table && !verdict.is_fail() {
            verdict = Verdict::Fail(
                "the firmware gave the unit another address than in the run before".into(),
            );
        }
        let seen = if files.recording().is_file() {
            self.replayer.look_at(&files.recording())?
        } else {
            Seen::nothing("there is no recording")
        };
        Ok(FromOutside { machine: verdict, replay: seen.replay, audit: seen.audit })
    }

    fn keep(
        &self,
        boot: &Boot,
        files: &Files,
        failed: bool,
    ) -> Result<Option<std::path::PathBuf>, GuestError> {
        let failures = self.cache.folder().join("failed");
        let parent = match self.keep {
            Some(folder) => folder,
            None if failed => &failures,
            None => return Ok(None),
        };
        kept::keep(files, parent, &boot.to_string()).map(Some)
    }
}

/// What was going on when a boot ended badly: the last lines of the console, and what the unit did last.
fn explain(told: &Told, files: &Files) -> String {
    let mut text = format!("  It was {}. ", under_way(&told.checks));
    for (whose, file) in [
        ("The console's last lines", files.console()),
        ("The unit's last events", files.log()),
        ("vtd-machine's last words", files.machine()),
        ("QEMU's last words", files.qemu()),
    ] {
        let content = tail_of_file(&file, EXPLANATION);
        // QEMU warns of each function that it cannot recover it from bus errors, which nobody expects.
        let lines: Vec<_> =
            content.lines().filter(|line| !line.contains("error recovery")).collect();
        if lines.is_empty() {
            continue;
        }
        text.push_str(&format!("{whose}:\n"));
        for line in lines {
            text.push_str(&format!("  | {line}\n"));
        }
        text.push_str("  ");
    }
    text.trim_end().to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::guest::checks::Checks;
    use crate::guest::console::Message;
    use crate::guest::watch::Hang;

    #[test]
    fn a_hang_is_explained_with_the_last_lines() {
        let folder = tempfile::tempdir().unwrap();
        let files = Files::new(folder.path().into());
        let numbered =
            |count: u32| (1..=count).map(|line| format!("line {line}\n")).collect::<String>();
        fs::write(files.console(), numbered(40)).unwrap();
        fs::write(files.log(), "unit: wait 7 pending\n").unwrap();
        fs::write(files.qemu(), "").unwrap();
        let mut checks = Checks::default();
        checks.take(Message::parse("VTD: plan sva").unwrap());
        checks.take(Message::parse("VTD: begin sva").unwrap());
        let ending = Ending::Hang(Hang::Silent(Duration::from_secs(90)));
        let told = Told { checks, ending, complaints: vec![], took: Duration::from_secs(100) };
        let text = explain(&told, &files);
        assert!(
            text.starts_with(
                "  It was 0 of 1 checks, sva. The console's last lines:\n  | line 26\n"
            ),
            "{text}"
        );
        assert!(
            text.contains("  | line 40\n  The unit's last events:\n  | unit: wait 7 pending"),
            "{text}"
        );
        assert!(!text.contains("QEMU"), "{text}");
    }
}
