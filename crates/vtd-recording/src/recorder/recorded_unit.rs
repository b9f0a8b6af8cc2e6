//! A remapping unit that is recorded.

use std::fmt;
use std::io::Write;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use vtd::memory::GuestMemory;
use vtd::spec::{Capabilities, Pasid, SourceId};
use vtd::{
    AttachError, Attachment, DeviceId, DeviceView, Effect, HostFault, RemappingUnit, ResetKind,
    Step, UnitConfig, UnknownDevice,
};

use super::RecordingSummary;
use super::device_tlbs::DeviceTlbs;
use super::note::Note;
use super::recorded_dma::RecordedDma;
use super::recording_observer::RecordingObserver;
use super::tape::Tape;
use crate::format::{Event, FormatError, FormatVersion, Header};
use crate::watched_memory::WatchedMemory;

/// A [`RemappingUnit`] whose inputs and outputs are written down. Clones are the same unit.
///
/// Its methods are those of the unit, may be called from any thread, and are carried out one after the other; each runs the unit until
/// it is idle or waits for the host. So a VMM has nothing to step. It must not step the unit in other ways (a
/// [`Worker`](vtd::Worker), say) while it is recorded, and must not call a method that gives the unit an input from where the unit calls the
/// VMM: its [`Wake`](vtd::Wake), its host, its memory, or the transfer inside a guard. Effects may be taken anywhere.
///
/// When the output fails, the recording ends there and the unit goes on; [`finish`](Self::finish) tells.
#[derive(Clone, Debug)]
pub struct RecordedUnit {
    pub(super) recorded: Arc<Recorded>,
}

/// What the clones of a unit and its DMA handles share.
pub(super) struct Recorded {
    pub(super) unit: RemappingUnit,
    /// The VMM's, which the unit has through the tape.
    pub(super) memory: Arc<dyn GuestMemory>,
    pub(super) tape: Arc<Tape>,
    pub(super) version: FormatVersion,
    pub(super) device_tlbs: Arc<DeviceTlbs>,
    /// How long a device TLB may take to answer.
    patience: Duration,
    /// Held while an input is carried out.
    turn: Mutex<()>,
}

impl fmt::Debug for Recorded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Recorded")
            .field("unit", &self.unit)
            .field("tape", &self.tape)
            .field("version", &self.version)
            .finish_non_exhaustive()
    }
}

impl Recorded {
    /// Waits until no other input is carried out.
    pub(super) fn turn(&self) -> MutexGuard<'_, ()> {
        let turn = self.turn.lock().unwrap_or_else(PoisonError::into_inner);
        self.tape.begin_input();
        turn
    }

    pub(super) fn note(&self, note: Note) {
        self.tape.with(|open| open.draft.note(note));
    }

    pub(super) fn view(&self, device: DeviceId) -> Option<DeviceView> {
        self.unit.devices().into_iter().find(|view| view.id == device)
    }

    pub(super) fn source_id(&self, device: DeviceId) -> Option<SourceId> {
        self.view(device).map(|view| view.source_id)
    }

    /// Has the unit do what is left, and writes down the input that was carried out.
    fn end_input(&self, line: Option<Event>) -> Step {
        // What still waits then, waits for the host or a device; an effect has told the VMM.
        let step = self.unit.run();
        self.tape.end_input(line);
        step
    }

    /// Inputs that nobody gives: device TLBs whose time is up.
    fn expire_device_tlbs(&self) {
        for device in self.device_tlbs.take_overdue(self.patience) {
            let expired = self.unit.expire_device_tlb(device);
            let source_id = self.source_id(device).filter(|_| expired.is_ok());
            let _left =
                self.end_input(source_id.map(|source_id| Event::DeviceTlbTimeout { source_id }));
        }
    }
}

impl RecordedUnit {
    /// A unit as it is after power-on, and the start of its recording, in version 2 of the format. The header says what the guest is shown, so that is
    /// [settled](RemappingUnit::freeze) now: a device whose host has less than what is configured is refused.
    ///
    /// `guest` is what the recording says about the guest, in words. Each line goes out in one call, so a file is best [buffered](std::io::BufWriter).
    ///
    /// # Errors
    /// [`FormatError`] where the header cannot be written: `guest` is more than one line or has spaces around it, or `output`
    /// fails.
    pub fn new(
        config: UnitConfig,
        guest: Option<&str>,
        output: impl Write + Send + 'static,
    ) -> Result<Self, FormatError> {
        Self::in_version(FormatVersion::Two, config, guest, output)
    }

    /// The same in a version of the format, for readers of that one. What it has no line for is a note.
    ///
    /// # Errors
    /// As [`new`](Self::new).
    pub fn in_version(
        version: FormatVersion,
        config: UnitConfig,
        guest: Option<&str>,
        output: impl Write + Send + 'static,
    ) -> Result<Self, FormatError> {
        let tape = Arc::new(Tape::new(&header(version, &config, guest), Box::new(output))?);

        let device_tlbs = Arc::new(DeviceTlbs::default());
        let mut config = config;
        let memory = Arc::clone(&config.memory);
        config.memory = Arc::new(WatchedMemory { memory: config.memory, watch: Arc::clone(&tape) });
        config.observer = Some(Arc::new(RecordingObserver::new(
            Arc::clone(&tape),
            version,
            Arc::clone(&device_tlbs),
            config.observer,
        )));
        // A time-out is an input, so the recorder looks at the clock.
        let patience = std::mem::replace(&mut config.device_tlb_patience, Duration::MAX);
        let unit = RemappingUnit::new(config);
        unit.freeze();
        let turn = Mutex::new(());
        let recorded = Recorded { unit, memory, tape, version, device_tlbs, patience, turn };
        Ok(Self { recorded: Arc::new(recorded) })
    }

    /// The unit itself, to look at. What it is given past the recorder is missing in the recording.
    #[must_use]
    pub fn unit(&self) -> &RemappingUnit {
        &self.recorded.unit
    }

    /// [`RemappingUnit::read`].
    #[must_use]
    pub fn read(&self, offset: u64, size: u8) -> u64 {
        self.input(|recorded| {
            let value = recorded.unit.read(offset, size);
            (value, within(size, value).map(|value| Event::Read { offset, size, value }))
        })
    }

    /// [`RemappingUnit::write`], with all the work that it leaves: unlike it, this waits for the host.
    pub fn write(&self, offset: u64, size: u8, value: u64) {
        self.input(|recorded| {
            recorded.unit.write(offset, size, value);
            ((), within(size, value).map(|value| Event::Write { offset, size, value }))
        });
    }

    /// Does what was left because the host did not give up a binding, and tells the guest of device TLBs that are overdue:
    /// [`RemappingUnit::run`].
    pub fn run(&self) -> Step {
        self.carry_out(|_| ((), None)).1
    }

    /// [`RemappingUnit::take_effect`].
    #[must_use]
    pub fn take_effect(&self) -> Option<Effect> {
        self.recorded.unit.take_effect()
    }

    /// [`RemappingUnit::reset`], with all the work that it leaves.
    pub fn reset(&self, kind: ResetKind) {
        self.input(|recorded| {
            if kind != ResetKind::PowerOn {
                recorded.note(Note::WarmReset);
            }
            recorded.unit.reset(kind);
            recorded.device_tlbs.give_up_all();
            ((), Some(Event::Reset))
        });
    }

    /// [`RemappingUnit::attach`]. Only assigned devices have a line of their own.
    ///
    /// # Errors
    /// As there; the recording does not have the attempt then.
    pub fn attach(
        &self,
        source_id: SourceId,
        attachment: Attachment,
    ) -> Result<DeviceId, AttachError> {
        self.input(|recorded| {
            let attached = recorded.unit.attach(source_id, attachment);
            let assigned = attached.is_ok() && attachment != Attachment::Emulated;
            (attached, assigned.then_some(Event::Assign { source_id }))
        })
    }

    /// [`RemappingUnit::release`]. Only assigned devices and those with an endpoint have a line of their own.
    ///
    /// # Errors
    /// As there.
    pub fn release(&self, device: DeviceId) -> Result<(), UnknownDevice> {
        self.input(|recorded| {
            let view = recorded.view(device);
            let released = recorded.unit.release(device);
            let has_tlb = released.is_ok() && recorded.device_tlbs.remove(device);
            let told = view.filter(|view| has_tlb || view.attachment != Attachment::Emulated);
            let line = told.map(|view| Event::Release { source_id: view.source_id });
            (released, line.filter(|_| released.is_ok()))
        })
    }

    /// [`RemappingUnit::retry`]. The format has no line for it, so a note stands in its place.
    ///
    /// # Errors
    /// As there.
    pub fn retry(&self, device: DeviceId) -> Result<(), UnknownDevice> {
        self.input(|recorded| {
            let retried = recorded.unit.retry(device);
            if let (Ok(()), Some(view)) = (retried, recorded.view(device)) {
                recorded.note(Note::Retry(view.source_id));
            }
            (retried, None)
        })
    }

    /// [`RemappingUnit::report_host_fault`]. The format has no line for it, so a note stands in its place.
    ///
    /// # Errors
    /// As there.
    pub fn report_host_fault(
        &self,
        device: DeviceId,
        fault: HostFault,
    ) -> Result<(), UnknownDevice> {
        self.input(|recorded| {
            let reported = recorded.unit.report_host_fault(device, fault);
            if let (Ok(()), Some(view)) = (reported, recorded.view(device)) {
                recorded.note(Note::HostFault(view.source_id));
            }
            (reported, None)
        })
    }

    /// [`RemappingUnit::dma`].
    ///
    /// # Errors
    /// As there.
    pub fn dma(
        &self,
        device: DeviceId,
        pasid: Option<Pasid>,
    ) -> Result<RecordedDma, UnknownDevice> {
        let handle = self.recorded.unit.dma(device, pasid)?;
        Ok(RecordedDma::new(Arc::clone(&self.recorded), handle.into()))
    }

    /// Ends the recording, flushes and drops its output; the unit goes on without it.
    ///
    /// # Errors
    /// [`FormatError`] that ended the recording before, or that ended it now. It is told once; calls after that give what
    /// was written.
    pub fn finish(&self) -> Result<RecordingSummary, FormatError> {
        let _turn = self.recorded.turn();
        self.recorded.tape.finish()
    }

    /// Carries out an input, and whatever it leaves to do.
    pub(super) fn input<T>(&self, act: impl FnOnce(&Recorded) -> (T, Option<Event>)) -> T {
        self.carry_out(act).0
    }

    /// The same; also what the unit waits for then.
    fn carry_out<T>(&self, act: impl FnOnce(&Recorded) -> (T, Option<Event>)) -> (T, Step) {
        let recorded = &self.recorded;
        let _turn = recorded.turn();
        recorded.expire_device_tlbs();
        let (answer, line) = act(recorded);
        let mut step = recorded.end_input(line);
        while let Some((device, id)) = recorded.device_tlbs.take_done() {
            let line = recorded.answer_device_tlb(device, id).ok().flatten();
            step = recorded.end_input(line);
        }
        (answer, step)
    }
}

/// What a recording of a unit of this configuration begins with.
pub(super) fn header(version: FormatVersion, config: &UnitConfig, guest: Option<&str>) -> Header {
    let caps = &config.capabilities;
    let cap = caps.cap() & Capabilities::IMPLEMENTED_CAP;
    let ecap = caps.ecap() & Capabilities::IMPLEMENTED_ECAP;
    let mut header = Header::new(cap, ecap, config.version);
    header.format_version = version;
    header.guest = guest.map(str::to_owned);
    let width = caps.host_address_width();
    // What it is when the header does not say.
    let usual = caps.maximum_guest_address_width().min(52);
    header.host_address_width = (width != usual).then_some(width);
    header
}

/// The part of a value that an access of `size` bytes moves; `None` for a size that no access has, which the unit ignores.
pub(super) fn within(size: u8, value: u64) -> Option<u64> {
    (1..=8).contains(&size).then(|| value & u64::MAX >> (64 - 8 * u32::from(size)))
}
