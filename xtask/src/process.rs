//! Programs that run beside us, and end when we do.

use std::io;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, ExitStatus};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process_group};

/// Whether a program of this name is found where programs are looked for.
pub(crate) fn is_on_path(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|folder| folder.join(program).is_file())
}

/// A command for a program that is killed when we die, however that comes about.
///
/// Dropping a [`Process`] ends it as well; this is for the ends in which nothing is dropped.
pub(crate) fn bound_to_us(program: &str) -> Command {
    // Of util-linux, which a Debian always has. Without it all other ends are still covered.
    if is_on_path("setpriv") {
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "KILL", "--", program]);
        return command;
    }
    Command::new(program)
}

/// A command for a program whose mounts and whose children, whatever they do, end with it.
pub(crate) fn contained(program: &str) -> Command {
    // A container may have chroot and no namespaces; then it cannot mount anything either.
    let works = Command::new("unshare")
        .args(["--mount", "--pid", "--fork", "--kill-child", "true"])
        .output()
        .is_ok_and(|output| output.status.success());
    if !works {
        return bound_to_us(program);
    }
    let mut command = bound_to_us("unshare");
    command.args(["--mount", "--pid", "--fork", "--kill-child", "--"]);
    // A process that changes its user, as apt-get does, is no longer told that its parent has died. The shell is.
    command.args(["sh", "-c", "\"$@\"; exit \"$?\"", "sh", program]);
    command
}

/// A program that runs, in a process group of its own; dropping it ends the group.
#[derive(Debug)]
pub(crate) struct Process {
    child: Child,
    status: Option<ExitStatus>,
}

impl Process {
    /// Starts it.
    pub(crate) fn start(command: &mut Command) -> io::Result<Self> {
        // Ctrl-C at a terminal goes to us alone; we end what we have started in order.
        let child = command.process_group(0).spawn()?;
        Ok(Self { child, status: None })
    }

    pub(crate) fn child(&mut self) -> &mut Child {
        &mut self.child
    }

    /// How it ended, if it has.
    pub(crate) fn ended(&mut self) -> Option<ExitStatus> {
        if self.status.is_none() {
            // An error can only mean that there is nothing left to wait for.
            self.status = self.child.try_wait().unwrap_or(None);
        }
        self.status
    }

    /// Waits for its end.
    pub(crate) fn wait(&mut self, patience: Duration) -> Option<ExitStatus> {
        let start = Instant::now();
        loop {
            let ended = self.ended();
            if ended.is_some() || start.elapsed() >= patience {
                return ended;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// Asks it to end, waits, and ends it by force if it has not.
    pub(crate) fn stop(&mut self, patience: Duration) -> Option<ExitStatus> {
        if self.ended().is_none() {
            self.signal(Signal::TERM);
            if self.wait(patience).is_none() {
                self.kill();
            }
        }
        self.status
    }

    /// Ends it and what it has started by force.
    pub(crate) fn kill(&mut self) {
        if self.ended().is_none() {
            self.signal(Signal::KILL);
            self.status = self.child.wait().ok();
        }
    }

    fn signal(&self, signal: Signal) {
        if let Some(group) = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw) {
            // It may have ended since: nothing is lost.
            let _ = kill_process_group(group, signal);
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str) -> Process {
        Process::start(Command::new("sh").args(["-c", script])).unwrap()
    }

    #[test]
    fn a_process_that_ends_by_itself() {
        let mut process = shell("exit 7");
        assert_eq!(process.wait(Duration::from_secs(20)).unwrap().code(), Some(7));
        assert_eq!(process.stop(Duration::ZERO).unwrap().code(), Some(7));
    }

    #[test]
    fn a_process_that_does_not_listen_is_ended_by_force_with_what_it_started() {
        let folder = tempfile::tempdir().unwrap();
        let place = folder.path().join("child");
        let script = format!(
            "trap '' TERM; sleep 100 & echo $! > {0}.new; mv {0}.new {0}; wait",
            place.display()
        );
        let mut process = shell(&script);
        let child: i32 = loop {
            match std::fs::read_to_string(&place) {
                Ok(id) => break id.trim().parse().unwrap(),
                Err(_) => std::thread::sleep(Duration::from_millis(10)),
            }
        };
        assert!(process.stop(Duration::from_millis(100)).unwrap().code().is_none());
        let gone = (0..500).any(|_| {
            std::thread::sleep(Duration::from_millis(10));
            let state = std::fs::read_to_string(format!("/proc/{child}/stat"));
            // Gone, or not yet collected by whoever inherits it.
            state.map_or(true, |state| state.contains(") Z "))
        });
        assert!(gone, "process {child} is still there");
    }
}
