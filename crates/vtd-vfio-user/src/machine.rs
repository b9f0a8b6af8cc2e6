//! A remapping unit and the functions behind it, ready for a VMM to connect to.

use std::io::{self, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender, SyncSender, TrySendError};
use std::time::{Duration, Instant};

use vtd::spec::{Capabilities, CapabilitiesBuilder, CapabilityError, FirstStageLevels};
use vtd::{AttachError, Effect, RemappingUnit, Step, UnitConfig, UnitCounts, Wake};
use vtd_recording::format::FormatError;
use vtd_recording::recorder::{RecordedUnit, RecordingSummary};
use vtd_vm_memory::VmMemory;

use crate::block::{BlockDevice, BlockError, Disk};
use crate::endpoint::TestEndpoint;
use crate::event_log::EventLog;
use crate::function::{Function, serve};
use crate::guest_map::GuestMap;
use crate::machine_unit::MachineUnit;
use crate::pci_address::PciAddress;
use crate::relay::MessageSender;
use crate::unit_function::UnitFunction;

/// How often a unit that waits is looked at again when nobody wakes the machine.
const PATIENCE: Duration = Duration::from_millis(100);

/// What the unit of a machine has its guest use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TableMode {
    /// Legacy mode: no PASIDs.
    Legacy,
    /// Scalable mode with second-stage tables alone.
    SecondStage,
    /// Scalable mode with first-stage tables alone.
    FirstStage,
    /// Scalable mode with first-stage, second-stage and nested tables.
    Nested,
}

impl TableMode {
    /// What a unit shows for it.
    ///
    /// # Errors
    /// [`CapabilityError`]: never for these.
    pub fn capabilities(
        self,
        caching_mode: bool,
        page_requests: bool,
    ) -> Result<Capabilities, CapabilityError> {
        use vtd::spec::table::SecondStageLevels::{Four, Three};
        let scalable = CapabilitiesBuilder::scalable().page_requests(page_requests);
        let builder = match self {
            Self::Legacy => CapabilitiesBuilder::legacy().coherent(true).device_tlbs(true),
            Self::SecondStage => scalable.without_first_stage().second_stage(&[Three, Four]),
            Self::FirstStage => scalable.first_stage(FirstStageLevels::Four),
            Self::Nested => {
                let first = scalable.first_stage(FirstStageLevels::Four);
                first.second_stage(&[Three, Four]).nested(true)
            }
        };
        builder.caching_mode(caching_mode).zero_length_read(true).build()
    }
}

/// What a machine is made of.
pub struct MachineConfig {
    /// Where the sockets are made. It is there.
    pub folder: PathBuf,
    /// What the unit shows.
    pub capabilities: Capabilities,
    /// Where the unit's function stands.
    pub unit: PciAddress,
    /// Where test endpoints stand.
    pub endpoints: Vec<PciAddress>,
    /// Whether they show PRI.
    pub page_requests: bool,
    /// Where block devices stand, and their disks.
    pub blocks: Vec<(PciAddress, Disk)>,
    /// Where a recording goes, and what it says about the guest.
    pub recording: Option<(Box<dyn Write + Send>, Option<String>)>,
    /// Where the log goes.
    pub log: Option<Box<dyn Write + Send>>,
}

/// Why there is no machine.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum MachineError {
    /// A socket cannot be made.
    #[error("{}: no socket: {source}", path.display())]
    Socket {
        /// Where.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A device cannot be attached to the unit.
    #[error(transparent)]
    Attach(#[from] AttachError),
    /// A block device cannot be made.
    #[error(transparent)]
    Block(#[from] BlockError),
    /// The recording cannot be written.
    #[error("the recording: {0}")]
    Recording(#[from] FormatError),
    /// A thread cannot be made.
    #[error("no thread for {name}: {source}")]
    Thread {
        /// Whose.
        name: String,
        /// Why.
        source: io::Error,
    },
}

/// A function and where it is served.
struct Place {
    name: String,
    address: PciAddress,
    path: PathBuf,
    listener: UnixListener,
    function: Box<dyn Function>,
}

/// A machine whose sockets are there. Nothing is served before [`start`](Self::start).
pub struct Machine {
    unit: MachineUnit,
    places: Vec<Place>,
    messages: MessageSender,
    moved: Receiver<u32>,
    effects: Receiver<()>,
    log: Option<Arc<EventLog>>,
}

/// What happens to a machine that is served.
#[derive(Debug)]
#[non_exhaustive]
pub enum MachineEvent {
    /// The register page of the unit lies here now.
    RegisterPage(u32),
    /// The VMM has left this function: how the connection ended.
    Left {
        /// Whose function: `unit`, `endpoint-5.0`, `block-9.0`.
        name: String,
        /// What went wrong, if anything did.
        error: Option<String>,
    },
    /// Somebody asked for the end.
    Stop,
}

/// A machine that is served.
pub struct RunningMachine {
    unit: MachineUnit,
    messages: MessageSender,
    events: Receiver<MachineEvent>,
    stop: Sender<MachineEvent>,
    log: Option<Arc<EventLog>>,
    functions: usize,
    paths: Vec<PathBuf>,
}

/// What a machine has done.
#[derive(Debug)]
#[non_exhaustive]
pub struct MachineSummary {
    /// What the unit has done.
    pub counts: UnitCounts,
    /// Interrupts of the unit that were sent, that the VMM refused, and that found no VMM.
    pub interrupts: (u64, u64, u64),
    /// What was recorded.
    pub recording: Option<Result<RecordingSummary, FormatError>>,
}

struct EffectsWake(SyncSender<()>);

impl Wake for EffectsWake {
    fn wake(&self) {
        // A full channel holds a signal already, and one is enough.
        match self.0.try_send(()) {
            Ok(()) | Err(TrySendError::Full(()) | TrySendError::Disconnected(())) => {}
        }
    }
}

impl Machine {
    /// Makes the unit, its devices and their sockets.
    ///
    /// # Errors
    /// [`MachineError`] says what is in the way; sockets that were made are left.
    pub fn new(config: MachineConfig) -> Result<Self, MachineError> {
        let memory = GuestMap::default();
        let log = config.log.map(|output| Arc::new(EventLog::new(output)));
        let (wake, effects) = mpsc::sync_channel(1);
        let mut unit_config =
            UnitConfig::new(config.capabilities, Arc::new(VmMemory::new(memory.memory().clone())));
        unit_config.wake = Some(Arc::new(EffectsWake(wake)));
        if let Some(log) = &log {
            unit_config.observer = Some(Arc::<EventLog>::clone(log));
        }
        let unit = match config.recording {
            Some((output, guest)) => {
                MachineUnit::Recorded(RecordedUnit::new(unit_config, guest.as_deref(), output)?)
            }
            None => MachineUnit::Plain(RemappingUnit::new(unit_config)),
        };
        let (tell, moved) = mpsc::channel();
        let mut places = Vec::new();
        let function = Box::new(UnitFunction::new(unit.clone(), memory, tell));
        places.push(Place::new(&config.folder, "unit".into(), config.unit, function)?);
        for address in config.endpoints {
            let endpoint = TestEndpoint::attach(&unit, address.source_id(), config.page_requests)?;
            let name = format!("endpoint-{address}");
            places.push(Place::new(&config.folder, name, address, Box::new(endpoint))?);
        }
        for (address, disk) in config.blocks {
            let block = BlockDevice::attach(&unit, address, disk)?;
            let name = format!("block-{address}");
            places.push(Place::new(&config.folder, name, address, Box::new(block))?);
        }
        Ok(Self { unit, places, messages: MessageSender::default(), moved, effects, log })
    }

    /// The unit.
    #[must_use]
    pub fn unit(&self) -> &MachineUnit {
        &self.unit
    }

    /// What QEMU has to be told to have the functions of this machine, an argument each.
    #[must_use]
    pub fn qemu_arguments(&self) -> Vec<String> {
        let device = |place: &Place| {
            let path = place.path.display().to_string();
            let path = path.replace('\\', "\\\\").replace('"', "\\\"");
            let addr = place.address;
            let driver = "vfio-user-pci";
            let socket = format!(r#"{{"type":"unix","path":"{path}"}}"#);
            let device = format!(r#"{{"driver":"{driver}","addr":"{addr}","socket":{socket}}}"#);
            ["-device".to_owned(), device]
        };
        self.places.iter().flat_map(device).collect()
    }

    /// The source-ids of the devices behind the unit.
    #[must_use]
    pub fn devices(&self) -> Vec<PciAddress> {
        self.places.iter().skip(1).map(|place| place.address).collect()
    }

    /// Serves every function on a thread of its own.
    ///
    /// # Errors
    /// [`MachineError::Thread`].
    pub fn start(self) -> Result<RunningMachine, MachineError> {
        let (tell, events) = mpsc::channel();
        let functions = self.places.len();
        let paths = self.places.iter().map(|place| place.path.clone()).collect();
        let messages = self.messages.clone();
        let unit = self.unit.clone();
        let log = self.log.clone();
        thread("effects", move || take_effects(&unit, &self.effects, &messages, log.as_deref()))?;
        let moved = self.moved;
        let register_page = tell.clone();
        thread("register-page", move || {
            for base in moved {
                if register_page.send(MachineEvent::RegisterPage(base)).is_err() {
                    return;
                }
            }
        })?;
        for (number, place) in self.places.into_iter().enumerate() {
            let tell = tell.clone();
            let messages = (number == 0).then(|| self.messages.clone());
            let name = place.name.clone();
            thread(&name, move || {
                let name = place.name.clone();
                // The library that serves the protocol panics on some garbage, and so may end no more than this connection.
                let served = catch_unwind(AssertUnwindSafe(|| place.serve(messages)));
                let error = match served {
                    Ok(served) => served.err().map(|error| error.to_string()),
                    Err(_printed) => Some("the connection's server panicked".to_owned()),
                };
                // The machine has ended if nobody listens.
                let _ended = tell.send(MachineEvent::Left { name, error });
            })?;
        }
        let (unit, messages, log) = (self.unit, self.messages, self.log);
        Ok(RunningMachine { unit, messages, events, stop: tell, log, functions, paths })
    }
}

impl Place {
    fn new(
        folder: &Path,
        name: String,
        address: PciAddress,
        function: Box<dyn Function>,
    ) -> Result<Self, MachineError> {
        let path = folder.join(format!("{name}.sock"));
        let listener = listen(&path)?;
        Ok(Self { name, address, path, listener, function })
    }

    fn serve(mut self, messages: Option<MessageSender>) -> io::Result<()> {
        let function = self.function.as_mut();
        let Some(messages) = messages else {
            return serve(&self.listener, function).map_err(io::Error::other);
        };
        // The server behind the relay has a socket of its own, which is gone as soon as the relay is connected to it.
        let path = self.path.with_extension("relay");
        let inner = listen(&path).map_err(io::Error::other)?;
        let server = UnixStream::connect(&path)?;
        std::fs::remove_file(&path)?;
        std::thread::scope(|scope| {
            let served = scope.spawn(|| serve(&inner, function).map_err(io::Error::other));
            let relayed = messages.relay(&self.listener, &server);
            let served = served.join().unwrap_or(Ok(()));
            relayed.and(served)
        })
    }
}

fn listen(path: &Path) -> Result<UnixListener, MachineError> {
    UnixListener::bind(path)
        .map_err(|source| MachineError::Socket { path: path.to_owned(), source })
}

fn thread(name: &str, run: impl FnOnce() + Send + 'static) -> Result<(), MachineError> {
    let named = std::thread::Builder::new().name(name.to_owned());
    match named.spawn(run) {
        Ok(_runs_until_the_vmm_leaves) => Ok(()),
        Err(source) => Err(MachineError::Thread { name: name.to_owned(), source }),
    }
}

/// Steps the unit and does what it asks for, until nothing can wake it any more.
fn take_effects(
    unit: &MachineUnit,
    signals: &Receiver<()>,
    messages: &MessageSender,
    log: Option<&EventLog>,
) {
    let mut flushed = Instant::now();
    loop {
        let step = unit.run();
        while let Some(effect) = unit.take_effect() {
            match effect {
                Effect::Interrupt(message) => messages.send(message),
                other => {
                    if let Some(log) = log {
                        log.line(format_args!("{other:?}"));
                    }
                }
            }
        }
        // What a hang is explained with is there while it lasts, and a busy unit does not wait for a disk.
        if let Some(log) = log
            && flushed.elapsed() > PATIENCE
        {
            log.flush();
            flushed = Instant::now();
        }
        let signal = match step {
            Step::More => Ok(()),
            Step::Waiting => signals.recv_timeout(PATIENCE),
            // One more look when it has become quiet, for the log.
            Step::Idle if log.is_some() => signals.recv_timeout(PATIENCE),
            Step::Idle => signals.recv().map_err(|_| RecvTimeoutError::Disconnected),
        };
        if signal == Err(RecvTimeoutError::Disconnected) {
            return;
        }
    }
}

impl RunningMachine {
    /// What asks for the end: a [`MachineEvent::Stop`] sent here.
    #[must_use]
    pub fn stopper(&self) -> Sender<MachineEvent> {
        self.stop.clone()
    }

    /// Waits until the VMM has left every function, or somebody asks for the end. `event` is told what happens on the way.
    pub fn wait(self, mut event: impl FnMut(&MachineEvent)) -> MachineSummary {
        let mut left = self.functions;
        while left > 0 {
            // A stopper is kept here, so the channel stays open.
            let Ok(happened) = self.events.recv() else { break };
            event(&happened);
            match happened {
                MachineEvent::Left { .. } => left -= 1,
                MachineEvent::Stop => break,
                MachineEvent::RegisterPage(_) => {}
            }
        }
        for path in &self.paths {
            // One that is gone is what is wanted.
            let _gone = std::fs::remove_file(path);
        }
        if let Some(log) = &self.log {
            log.flush();
        }
        let recording = match &self.unit {
            MachineUnit::Plain(_) => None,
            MachineUnit::Recorded(recorded) => Some(recorded.finish()),
        };
        let counts = self.unit.unit().counts();
        MachineSummary { counts, interrupts: self.messages.counts(), recording }
    }
}
