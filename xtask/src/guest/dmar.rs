//! The DMAR table, which has to be there before the address stands in it that the firmware will give the unit.
//!
//! SeaBIOS gives the same functions the same addresses every time, so a short run without a kernel tells.

use std::fs::{self, File};
use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};

use super::cache::{Cache, write_whole};
use super::error::{self, GuestError};
use super::fingerprint::Fingerprint;
use super::machine::{self, Files, Machine, Record};
use super::mode::Mode;
use super::preparation::Prepared;
use super::qemu;
use super::run_folder;
use super::steps::tail_of_file;
use crate::interruption::Interruption;
use crate::process::Process;

/// How long the firmware may take.
const PATIENCE: Duration = Duration::from_secs(60);

/// The table for this mode, from the cache or from a short run.
pub(crate) fn table(
    cache: &Cache,
    prepared: &Prepared,
    program: &Path,
    mode: Mode,
    interruption: &Interruption,
) -> Result<Vec<u8>, GuestError> {
    let mut fingerprint = Fingerprint::default();
    fingerprint.take_file(program)?;
    fingerprint.take(machine::arguments(mode));
    fingerprint.take(&prepared.qemu_version);
    let folder = cache.folder().join("dmar");
    let place = folder.join(fingerprint.finish());
    if let Ok(table) = fs::read(&place) {
        return Ok(table);
    }
    let table = learn(prepared, program, mode, interruption)?;
    // A build or two ago is enough; each has one table for each configuration.
    if folder.read_dir().is_ok_and(|tables| tables.count() > 64) {
        super::cache::remove_folder(&folder)?;
    }
    fs::create_dir_all(&folder).map_err(error::file("cannot make", &folder))?;
    write_whole(&place, &table)?;
    Ok(table)
}

/// Runs the firmware until it has given the unit its address.
fn learn(
    prepared: &Prepared,
    program: &Path,
    mode: Mode,
    interruption: &Interruption,
) -> Result<Vec<u8>, GuestError> {
    let folder = run_folder::make(&prepared.chroot)?;
    let files = Files::new(folder.path().into());
    let mut machine = Machine::start(program, mode, &files, &Record::No, interruption)?;
    let said = File::create(files.qemu()).map_err(error::file("cannot make", &files.qemu()))?;
    let mut command =
        qemu::without_kernel(&prepared.chroot, &machine.qemu_arguments(&prepared.chroot)?);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(said);
    let mut qemu = Process::start(&mut command).map_err(error::start("QEMU"))?;
    let start = Instant::now();
    let why = loop {
        interruption.check()?;
        if let Ok(table) = fs::read(files.dmar()) {
            return Ok(table);
        }
        if let Some(status) = qemu.ended() {
            break format!("QEMU ended with {status}");
        }
        if let Some(status) = machine.ended() {
            break format!("vtd-machine ended with {status}");
        }
        if start.elapsed() > PATIENCE {
            break format!("the firmware gave the unit no address in {} s", PATIENCE.as_secs());
        }
        std::thread::sleep(Duration::from_millis(20));
    };
    Err(GuestError::Other(format!(
        "learning the unit's address ({mode}): {why}\nQEMU said:\n{}\nvtd-machine said:\n{}",
        tail_of_file(&files.qemu(), 10),
        tail_of_file(&files.machine(), 10)
    )))
}
