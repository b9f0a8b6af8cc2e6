//! A guest that runs: its console is read, and a hang is cut.

use std::fmt;
use std::fs::File;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use super::checks::Checks;
use super::console::{self, Message};
use super::error::{self, GuestError};
use super::watch::{Hang, Patience, Watch};
use crate::interruption::Interruption;
use crate::process::Process;

/// How often everything besides the console is looked at.
const LOOK: Duration = Duration::from_millis(100);

/// How long the console is read on after a kernel has given up, for the reasons that it prints behind.
const LAST_WORDS: Duration = Duration::from_secs(2);

/// How a boot ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Ending {
    /// The guest said that all was over, and switched the machine off.
    Done,
    Hang(Hang),
    /// The kernel gave up.
    Panic(String),
    /// QEMU ended before the guest had said so.
    TooEarly(String),
    /// The machine ended while the guest ran.
    MachineGone(String),
}

impl fmt::Display for Ending {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Done => f.write_str("done"),
            Self::Hang(hang) => write!(f, "{hang}"),
            Self::Panic(line) => write!(f, "the guest's kernel gave up: {line}"),
            Self::TooEarly(how) => write!(f, "QEMU ended before the guest was done: {how}"),
            Self::MachineGone(how) => write!(f, "vtd-machine ended under the guest: {how}"),
        }
    }
}

/// What a boot came to, as far as the guest told.
#[derive(Clone, Debug)]
pub(crate) struct Told {
    pub(crate) checks: Checks,
    pub(crate) ending: Ending,
    /// What the kernel said that no kernel says when all is well.
    pub(crate) complaints: Vec<String>,
    pub(crate) took: Duration,
}

/// Where the words of a boot go.
pub(crate) struct Places<'p> {
    /// The whole console.
    pub(crate) console: &'p Path,
    /// What QEMU says itself.
    pub(crate) qemu: &'p Path,
}

/// Starts QEMU and follows the guest to its end. `machine_ended` is asked now and then; `show` is called at each change.
pub(crate) fn run(
    qemu: &mut Command,
    places: &Places<'_>,
    patience: Patience,
    interruption: &Interruption,
    mut machine_ended: impl FnMut() -> Option<ExitStatus>,
    mut show: impl FnMut(&Checks, Duration),
) -> Result<Told, GuestError> {
    let said = File::create(places.qemu).map_err(error::file("cannot make", places.qemu))?;
    let mut console =
        File::create(places.console).map_err(error::file("cannot make", places.console))?;
    qemu.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(said);
    let mut process = Process::start(qemu).map_err(error::start("QEMU"))?;
    let lines = read_lines(&mut process);
    let mut watch = Watch::new(patience, Instant::now());
    let mut checks = Checks::default();
    let mut complaints = Vec::new();
    let mut gave_up: Option<(String, Instant)> = None;
    let ending = loop {
        interruption.check()?;
        let line = lines.recv_timeout(LOOK);
        let now = Instant::now();
        match line {
            Ok(line) => {
                let time = watch.elapsed(now).as_secs_f32();
                writeln!(console, "{time:8.2} {line}")
                    .map_err(error::file("cannot write", places.console))?;
                watch.hear(now);
                if console::is_panic(&line) && gave_up.is_none() {
                    gave_up = Some((line.clone(), now));
                }
                if console::is_complaint(&line) {
                    complaints.push(line.clone());
                }
                if let Some(message) = Message::parse(&line) {
                    checks.take(message);
                    watch.set_done(checks.is_done(), now);
                }
            }
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => {
                let status = process.wait(Duration::from_secs(10));
                break if let Some((line, _)) = gave_up {
                    Ending::Panic(line)
                } else if let Some(status) = status.filter(|status| !status.success()) {
                    Ending::TooEarly(status.to_string())
                } else if checks.is_done() {
                    Ending::Done
                } else if let Some(status) = machine_ended() {
                    Ending::MachineGone(status.to_string())
                } else {
                    Ending::TooEarly("the guest switched the machine off".into())
                };
            }
        }
        show(&checks, watch.elapsed(now));
        if let Some((line, _)) = gave_up.as_ref().filter(|(_, since)| since.elapsed() > LAST_WORDS)
        {
            break Ending::Panic(line.clone());
        }
        // Once the guest is done, the machine ends with QEMU, and either may be seen first.
        if !checks.is_done()
            && let Some(status) = machine_ended()
        {
            // QEMU ends the guest's side in the same moment; its last lines are still on their way.
            if process.ended().is_none() || !status.success() {
                break Ending::MachineGone(status.to_string());
            }
        }
        if let Some(hang) = watch.hang(now) {
            break Ending::Hang(hang);
        }
    };
    let took = watch.elapsed(Instant::now());
    process.kill();
    Ok(Told { checks, ending, complaints, took })
}

/// Reads QEMU's console on a thread of its own, which ends with QEMU.
fn read_lines(process: &mut Process) -> Receiver<String> {
    let (sender, lines) = channel();
    if let Some(stdout) = process.child().stdout.take() {
        std::thread::spawn(move || {
            for line in BufReader::new(stdout).split(b'\n') {
                let Ok(line) = line else { return };
                // Nobody listens any more once the boot has been cut.
                if sender.send(console::plain(&line)).is_err() {
                    return;
                }
            }
        });
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::guest::checks::Verdict;

    const PATIENCE: Patience = Patience {
        silence: Duration::from_secs(30),
        total: Duration::from_secs(60),
        power_off: Duration::from_secs(30),
    };

    /// Follows a shell script that speaks as a guest would.
    fn follow(script: &str, patience: Patience, machine: Option<&str>) -> (Told, String) {
        let folder = tempfile::tempdir().unwrap();
        let (console, qemu) = (folder.path().join("console"), folder.path().join("qemu"));
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        let mut machine =
            machine.map(|script| Process::start(Command::new("sh").args(["-c", script])).unwrap());
        let told = run(
            &mut command,
            &Places { console: &console, qemu: &qemu },
            patience,
            &Interruption::default(),
            || machine.as_mut().and_then(Process::ended),
            |_, _| {},
        );
        (told.unwrap(), std::fs::read_to_string(console).unwrap())
    }

    #[test]
    fn a_guest_that_passes() {
        let script = r"printf 'SeaBIOS\r\n[    0.1] Linux\r\nVTD: plan a b\r\nVTD: begin a\r\nVTD: pass a 7 pages\r\n'
            echo VTD: skip b no; echo VTD: done";
        let (told, console) = follow(script, PATIENCE, None);
        assert_eq!(told.ending, Ending::Done);
        assert!(told.complaints.is_empty());
        assert!(
            console.contains(" [    0.1] Linux\n") && console.contains(" VTD: done\n"),
            "{console}"
        );
        let verdicts: Vec<_> =
            told.checks.iter().map(|check| check.verdict.clone().unwrap()).collect();
        assert_eq!(verdicts, [Verdict::Pass("7 pages".into()), Verdict::Skip("no".into())]);
    }

    #[test]
    fn a_guest_that_falls_silent_is_cut() {
        let patience = Patience { silence: Duration::from_millis(300), ..PATIENCE };
        let start = Instant::now();
        let (told, _) = follow("echo VTD: plan a; echo VTD: begin a; sleep 100", patience, None);
        assert_eq!(told.ending, Ending::Hang(Hang::Silent(patience.silence)));
        assert_eq!(told.checks.running(), Some(("a", None)));
        assert!(start.elapsed() < Duration::from_secs(50));
    }

    #[test]
    fn a_guest_that_talks_for_ever_is_cut() {
        let patience = Patience { total: Duration::from_millis(500), ..PATIENCE };
        let (told, _) = follow("while sleep 0.02; do echo tick; done", patience, None);
        assert_eq!(told.ending, Ending::Hang(Hang::TooLong(patience.total)));
    }

    #[test]
    fn a_guest_that_does_not_switch_off_is_cut() {
        let patience = Patience { power_off: Duration::from_millis(200), ..PATIENCE };
        let (told, _) = follow("echo VTD: done; sleep 100", patience, None);
        assert_eq!(told.ending, Ending::Hang(Hang::DoesNotPowerOff(patience.power_off)));
    }

    #[test]
    fn a_kernel_that_gives_up_is_cut_with_its_reason() {
        let script = "echo 'BUG: unable to handle'; echo 'Kernel panic - not syncing: x'; echo after; sleep 100";
        let (told, console) = follow(script, PATIENCE, None);
        assert_eq!(told.ending, Ending::Panic("Kernel panic - not syncing: x".into()));
        assert_eq!(told.complaints.len(), 2);
        assert!(console.contains("after"));
    }

    #[test]
    fn qemu_that_ends_too_early() {
        let (told, _) = follow("echo VTD: plan a; exit 3", PATIENCE, None);
        assert_eq!(told.ending, Ending::TooEarly("exit status: 3".into()));
        let (told, _) = follow("echo VTD: plan a", PATIENCE, None);
        assert!(matches!(told.ending, Ending::TooEarly(_)), "{}", told.ending);
    }

    #[test]
    fn a_machine_that_ends_under_the_guest() {
        let (told, _) =
            follow("echo VTD: plan a; sleep 100", PATIENCE, Some("sleep 0.1; exit 101"));
        assert_eq!(told.ending, Ending::MachineGone("exit status: 101".into()));
    }

    #[test]
    fn an_interrupted_run_ends_at_once() {
        let folder = tempfile::tempdir().unwrap();
        let (console, qemu) = (folder.path().join("console"), folder.path().join("qemu"));
        let interruption = Interruption::default();
        interruption.come();
        let result = run(
            Command::new("sleep").arg("100"),
            &Places { console: &console, qemu: &qemu },
            PATIENCE,
            &interruption,
            || None,
            |_, _| {},
        );
        assert!(matches!(result, Err(GuestError::Interrupted)));
    }
}
