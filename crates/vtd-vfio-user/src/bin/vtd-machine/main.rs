//! `vtd-machine`: a VT-d remapping unit and devices behind it, served over vfio-user.

#![forbid(unsafe_code)]

mod arguments;
mod dmar_file;

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::Path;
use std::process::ExitCode;

use clap::Parser;
use vtd_vfio_user::block::{Disk, DiskError};
use vtd_vfio_user::machine::{Machine, MachineConfig, MachineEvent, MachineSummary};

use arguments::Arguments;
use dmar_file::DmarFile;

/// Everything went well.
const DONE: u8 = 0;
/// Something failed while the machine was served.
const FAILED: u8 = 1;
/// An argument or a file is bad.
const BAD_INPUT: u8 = 2;

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    match run(&arguments) {
        Ok(true) => DONE.into(),
        Ok(false) => FAILED.into(),
        Err(error) => {
            eprintln!("vtd-machine: {error}");
            BAD_INPUT.into()
        }
    }
}

/// Whether all went well.
fn run(arguments: &Arguments) -> Result<bool, Box<dyn std::error::Error>> {
    let page_requests = !arguments.no_page_requests;
    let capabilities =
        arguments.mode.tables().capabilities(arguments.caching_mode, page_requests)?;
    let address_bits = capabilities.host_address_width();
    let create = |path: &Path| -> Result<Box<dyn Write + Send>, String> {
        let file = File::create(path).map_err(|error| format!("{}: {error}", path.display()))?;
        Ok(Box::new(BufWriter::new(file)))
    };
    let recording = match &arguments.record {
        Some(path) => Some((create(path)?, arguments.guest.clone())),
        None => None,
    };
    let blocks = arguments.block.iter();
    let blocks: Vec<_> = blocks
        .map(|block| Ok((block.address, Disk::open(&block.file)?)))
        .collect::<Result<_, DiskError>>()?;
    let log = arguments.log.as_deref().map(create).transpose()?;
    let machine = Machine::new(MachineConfig {
        folder: arguments.folder.clone(),
        capabilities,
        unit: arguments.unit,
        endpoints: arguments.endpoint.clone(),
        page_requests,
        blocks,
        recording,
        log,
    })?;
    let dmar = arguments.dmar.as_ref();
    let mut dmar = dmar.map(|path| DmarFile::new(path, address_bits, machine.devices()));
    for [option, value] in machine.qemu_arguments().as_chunks().0 {
        println!("{option} {value}");
    }
    let machine = machine.start()?;
    let stopper = machine.stopper();
    let mut signals = signal_hook::iterator::Signals::new(signal_hook::consts::TERM_SIGNALS)?;
    std::thread::spawn(move || {
        for _signal in signals.forever() {
            let _ended = stopper.send(MachineEvent::Stop);
        }
    });
    println!("ready");
    let mut well = true;
    let summary = machine.wait(|event| match event {
        MachineEvent::RegisterPage(base) => {
            if let Some(Err(error)) = dmar.as_mut().map(|dmar| dmar.write(u64::from(*base))) {
                eprintln!("vtd-machine: {error}");
                well = false;
            }
        }
        MachineEvent::Left { name, error: Some(error) } => {
            eprintln!("vtd-machine: {name}: {error}");
            well = false;
        }
        _ => {}
    });
    Ok(tell(&summary) && well)
}

/// Prints what the machine has done. Whether its recording is whole.
fn tell(summary: &MachineSummary) -> bool {
    let counts = &summary.counts;
    let (sent, refused, lost) = summary.interrupts;
    eprintln!(
        "{} descriptors, {} of which stopped the queue; {} faults recorded, {} lost, {} suppressed",
        counts.descriptors,
        counts.queue_errors,
        counts.faults_recorded,
        counts.faults_lost,
        counts.faults_suppressed
    );
    eprintln!(
        "{} page requests, {} dropped, {} responses; {} device-TLB invalidations",
        counts.page_requests,
        counts.page_requests_dropped,
        counts.page_responses,
        counts.device_tlb_invalidations
    );
    eprintln!("{sent} interrupts sent, {refused} refused by the VMM, {lost} without a VMM");
    match &summary.recording {
        None => true,
        Some(Ok(recording)) => {
            eprintln!("recorded: {recording:?}");
            true
        }
        Some(Err(error)) => {
            eprintln!("vtd-machine: the recording is not whole: {error}");
            false
        }
    }
}
