//! A running `vtd-machine`: the unit, its endpoints and a disk, each behind a socket.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use serde_json::Value;

use super::chroot::Chroot;
use super::error::{self, GuestError};
use super::mode::Mode;
use super::steps::tail_of_file;
use crate::interruption::Interruption;
use crate::process::{Process, bound_to_us};

/// How long it may take until all sockets are there.
const READY: Duration = Duration::from_secs(20);

/// The functions of the machine besides the unit, as `vtd-machine` is told of them.
const FUNCTIONS: &[&str] =
    &["--unit", "4.0", "--endpoint", "5.0", "--endpoint", "6.0", "--endpoint", "7.0", "--block"];

/// The disk's place on the bus.
const DISK: &str = "9.0";

/// How large the disk is.
const DISK_SIZE: u64 = 64 << 20;

/// The files of a run.
#[derive(Clone, Debug)]
pub(crate) struct Files {
    folder: PathBuf,
}

impl Files {
    pub(crate) fn new(folder: PathBuf) -> Self {
        Self { folder }
    }

    pub(crate) fn folder(&self) -> &Path {
        &self.folder
    }

    /// The DMAR table, behind its header.
    pub(crate) fn dmar(&self) -> PathBuf {
        self.folder.join("dmar.bin")
    }

    /// What can be replayed.
    pub(crate) fn recording(&self) -> PathBuf {
        self.folder.join("recording.rec")
    }

    /// What the unit did, for people.
    pub(crate) fn log(&self) -> PathBuf {
        self.folder.join("unit.log")
    }

    /// What `vtd-machine` says itself.
    pub(crate) fn machine(&self) -> PathBuf {
        self.folder.join("machine.txt")
    }

    /// What QEMU says itself.
    pub(crate) fn qemu(&self) -> PathBuf {
        self.folder.join("qemu.txt")
    }

    pub(crate) fn console(&self) -> PathBuf {
        self.folder.join("console.txt")
    }

    fn disk(&self) -> PathBuf {
        self.folder.join("disk.img")
    }
}

/// What `vtd-machine` is told besides where its files are: all that the DMAR table depends on.
pub(crate) fn arguments(mode: Mode) -> Vec<String> {
    let mut arguments = mode.machine_arguments();
    arguments.extend(FUNCTIONS.iter().map(ToString::to_string));
    arguments.push(format!("{DISK}=disk.img"));
    arguments
}

/// Whether a run is recorded, and what the recording says of the guest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Record {
    Yes { guest: String },
    No,
}

/// A running `vtd-machine`.
#[derive(Debug)]
pub(crate) struct Machine {
    process: Process,
    files: Files,
    devices: Vec<String>,
}

impl Machine {
    /// Starts it and waits until all sockets are there.
    pub(crate) fn start(
        program: &Path,
        mode: Mode,
        files: &Files,
        record: &Record,
        interruption: &Interruption,
    ) -> Result<Self, GuestError> {
        let disk = File::create(files.disk()).and_then(|disk| disk.set_len(DISK_SIZE));
        disk.map_err(error::file("cannot make the disk", &files.disk()))?;
        let said =
            File::create(files.machine()).map_err(error::file("cannot make", &files.machine()))?;
        let mut command = bound_to_us(&program.to_string_lossy());
        // Names without a folder: the path of a socket may only have 107 bytes.
        command.current_dir(files.folder()).args(["--folder", "."]).args(arguments(mode));
        command.args(["--dmar", "dmar.bin", "--log", "unit.log"]);
        if let Record::Yes { guest } = record {
            command.args(["--record", "recording.rec", "--guest", guest]);
        }
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(said);
        let process = Process::start(&mut command).map_err(error::start("vtd-machine"))?;
        let mut machine = Self { process, files: files.clone(), devices: Vec::new() };
        machine.devices = machine.wait_until_ready(interruption)?;
        Ok(machine)
    }

    /// Reads QEMU's arguments up to the line that says that all sockets are there.
    fn wait_until_ready(&mut self, interruption: &Interruption) -> Result<Vec<String>, GuestError> {
        let stdout = self.process.child().stdout.take();
        let (sender, lines) = channel();
        // Ends when the machine does, and reads on so that it is never held up by a full pipe.
        std::thread::spawn(move || {
            for line in
                stdout.into_iter().flat_map(|stdout| BufReader::new(stdout).lines()).flatten()
            {
                let _ = sender.send(line);
            }
        });
        let start = Instant::now();
        let mut devices = Vec::new();
        loop {
            interruption.check()?;
            match lines.recv_timeout(Duration::from_millis(50)) {
                Ok(line) if line.trim() == "ready" => return Ok(devices),
                Ok(line) => devices.push(line),
                Err(RecvTimeoutError::Timeout) if start.elapsed() < READY => {}
                Err(RecvTimeoutError::Timeout) => {
                    return Err(self.not_ready(&format!("not ready after {} s", READY.as_secs())));
                }
                Err(RecvTimeoutError::Disconnected) => {
                    let status = self.process.wait(Duration::from_secs(5));
                    let how =
                        status.map_or("closed its output".into(), |status| status.to_string());
                    return Err(self.not_ready(&format!("ended before it was ready: {how}")));
                }
            }
        }
    }

    fn not_ready(&self, why: &str) -> GuestError {
        let words = self.last_words().replace('\n', "\n  | ");
        GuestError::Other(format!("starting vtd-machine: {why}\n  | {words}"))
    }

    /// QEMU's arguments for the machine's functions, with the sockets where they are inside.
    pub(crate) fn qemu_arguments(&self, chroot: &Chroot) -> Result<Vec<String>, GuestError> {
        let mut arguments = Vec::new();
        for line in &self.devices {
            arguments.extend(device_arguments(line, &chroot.inside(self.files.folder()))?);
        }
        Ok(arguments)
    }

    /// How it ended, if it has.
    pub(crate) fn ended(&mut self) -> Option<ExitStatus> {
        self.process.ended()
    }

    /// Waits for its end, which comes by itself once QEMU has gone: the recording has to be finished. Then what it said last.
    pub(crate) fn finish(&mut self, patience: Duration) -> Result<String, String> {
        let by_itself = self.process.wait(patience);
        let status = self.process.stop(Duration::from_secs(10));
        let words = self.last_words();
        match (by_itself, status) {
            (Some(status), _) if status.success() => Ok(words),
            (Some(status), _) => Err(format!("ended with {status}: {words}")),
            (None, _) => {
                Err(format!("still ran {} s after QEMU had gone: {words}", patience.as_secs()))
            }
        }
    }

    fn last_words(&self) -> String {
        tail_of_file(&self.files.machine(), 12)
    }
}

/// Reads one line of arguments, such as `-device {"driver":"vfio-user-pci",…}`, and names the socket as QEMU sees it.
fn device_arguments(line: &str, folder: &Path) -> Result<Vec<String>, GuestError> {
    let wrong =
        || GuestError::Other(format!("vtd-machine prints {line:?}, which is no -device for QEMU"));
    let (option, device) = line.trim().split_once(' ').ok_or_else(wrong)?;
    let device = device.trim().trim_matches('\'');
    let mut device: Value = serde_json::from_str(device).map_err(|_| wrong())?;
    if let Some(path) = device.pointer_mut("/socket/path") {
        let name = path.as_str().and_then(|path| Path::new(path).file_name()).ok_or_else(wrong)?;
        *path = folder.join(name).to_string_lossy().into();
    }
    Ok(vec![option.into(), device.to_string()])
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::guest::mode::Tables;

    #[test]
    fn sockets_are_named_as_qemu_sees_them() {
        let line = r#"-device '{"driver":"vfio-user-pci","addr":"4.0","socket":{"type":"unix","path":"./unit.sock"}}'"#;
        let arguments = device_arguments(line, Path::new("/run/vtd-1")).unwrap();
        assert_eq!(arguments[0], "-device");
        let device: Value = serde_json::from_str(&arguments[1]).unwrap();
        assert_eq!(device.pointer("/socket/path").unwrap(), "/run/vtd-1/unit.sock");
        assert_eq!(device.get("addr").unwrap(), "4.0");
        assert!(device_arguments("ready soon", Path::new("/run")).is_err());
    }

    #[test]
    fn a_machine_that_ends_at_once_tells_why() {
        let folder = tempfile::tempdir().unwrap();
        let files = Files::new(folder.path().into());
        let program = folder.path().join("machine");
        script(&program, "echo 'unit: no such mode' >&2; exit 4");
        let mode = Mode::plain(Tables::Legacy);
        let error = Machine::start(&program, mode, &files, &Record::No, &Interruption::default())
            .unwrap_err();
        let text = error.to_string();
        assert!(text.contains("ended before it was ready: exit status: 4"), "{text}");
        assert!(text.contains("| unit: no such mode"), "{text}");
    }

    #[test]
    fn a_machine_is_ready_when_it_says_so() {
        let folder = tempfile::tempdir().unwrap();
        let files = Files::new(folder.path().into());
        let program = folder.path().join("machine");
        script(
            &program,
            r#"echo '-device {"driver":"vfio-user-pci","socket":{"type":"unix","path":"./unit.sock"}}'
echo ready; echo "arguments: $*" >&2"#,
        );
        let mode = Mode::plain(Tables::Legacy);
        let mut machine = Machine::start(
            &program,
            mode,
            &files,
            &Record::Yes { guest: "Linux".into() },
            &Interruption::default(),
        )
        .unwrap();
        let chroot = Chroot::new(folder.path().into());
        let expected = r#"{"driver":"vfio-user-pci","socket":{"path":"/unit.sock","type":"unix"}}"#;
        assert_eq!(machine.qemu_arguments(&chroot).unwrap(), ["-device", expected]);
        let said = machine.finish(Duration::from_secs(20)).unwrap();
        assert!(said.contains("--mode legacy") && said.ends_with("--guest Linux"), "{said}");
        assert_eq!(files.folder().join("disk.img").metadata().unwrap().len(), DISK_SIZE);
    }

    fn script(path: &Path, lines: &str) {
        use std::os::unix::fs::PermissionsExt;
        fs::write(path, format!("#!/bin/sh\n{lines}\n")).unwrap();
        fs::set_permissions(path, PermissionsExt::from_mode(0o755)).unwrap();
    }
}
