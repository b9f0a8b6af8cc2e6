//! All that there is in a program.

use std::cell::OnceCell;
use std::rc::Rc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use vtd::host::HostDevice;
use vtd::spec::{Capabilities, SourceId};
use vtd::{
    Attachment, Capacities, DeviceId, DmaHandle, Quotas, RemappingUnit, Step, UnitConfig, Wake,
};

use vtd_recording::format::Event;

use super::card::Card;
use super::eyes::Eyes;
use super::host::{Host, Legal};
use super::mirror::Mirror;
use super::oracles::{Figures, wrong};
use super::recording::{Output, Recording};
use super::setup::Setup;
use crate::program::pools::{INTERRUPTS, PAGE_REQUESTS, QUEUE, ROOTS, SOURCES, STATUS, of};
use crate::program::{
    Bits, HostFailure, Operation, Queued, RequestOperation, set_back, write_entry,
};
use crate::small_memory::{SmallMemory, Trap};

/// How many steps of a default budget anything may take.
const MOST_STEPS: u32 = 2_000;
/// Of a step that is to do little, so that what is between two descriptors is seen.
const SMALL_BUDGET: u32 = 2;
pub(super) const IQH: u64 = 0x80;
pub(super) const IQT: u64 = 0x88;
const GCMD: u64 = 0x18;
const FSTS: u64 = 0x34;

/// What a device is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Emulated,
    WithTlb,
    Assigned,
}

/// A device that is attached.
#[derive(Clone, Copy, Debug)]
pub(super) struct Device {
    pub(super) id: DeviceId,
    pub(super) kind: Kind,
    /// Which device of the host it is.
    pub(super) host: HostDevice,
}

/// A guest, its unit, its devices and their host.
pub(super) struct World {
    pub(super) memory: Arc<SmallMemory>,
    pub(super) mirror: Arc<Mutex<Mirror>>,
    pub(super) eyes: Arc<Eyes>,
    pub(super) host: Arc<Host>,
    pub(super) unit: Arc<RemappingUnit>,
    bell: Arc<Bell>,
    /// Nothing is left of what the unit was last stepped for.
    pub(super) idle: bool,
    pub(super) config: UnitConfig,
    /// Those of this unit: kept, since what they have found is kept in them.
    pub(super) handles: Vec<Rc<DmaHandle>>,
    /// Of every device that was ever attached with a device TLB.
    pub(super) cards: Vec<(DeviceId, Arc<Card>)>,
    /// Which answers to page requests are still to come is not known.
    pub(super) answers_unknown: bool,
    /// By source-id of the pool.
    pub(super) devices: [Option<Device>; 3],
    pub(super) next_host_device: u64,
    pub(super) tail: u64,
    pub(super) waits: u32,
    /// GCMD as the guest last wrote it, without one-shot bits.
    pub(super) command: u32,
    pub(super) legacy: bool,
    /// Nothing is under way: nobody but the guest's memory has been touched since the unit came to rest.
    pub(super) rested: bool,
    /// The guest is shown page requests.
    pub(super) page_requests: bool,
    /// A tail that is written when the trap springs.
    pub(super) tail_meanwhile: Option<u64>,
    pub(super) figures: Figures,
    pub(super) recording: Option<Arc<Recording>>,
}

/// What the unit rings when there is something to step for or to take.
#[derive(Debug, Default)]
struct Bell(AtomicBool);

impl Wake for Bell {
    fn wake(&self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

thread_local! {
    /// Setting a memory and a model back costs less than making them.
    static KEPT: OnceCell<(Arc<SmallMemory>, Arc<Mutex<Mirror>>)> = const { OnceCell::new() };
}

impl World {
    pub(super) fn new(setup: Setup) -> Self {
        Self::start(setup, None)
    }

    /// One whose unit is recorded.
    pub(super) fn recorded(setup: Setup, output: Output) -> Self {
        Self::start(setup, Some(output))
    }

    fn start(setup: Setup, output: Option<Output>) -> Self {
        let (cap, ecap) = setup.registers();
        let model = vtd_model::Capabilities::new(cap, ecap);
        let (memory, mirror) = KEPT.with(|kept| {
            let (memory, mirror) = kept.get_or_init(|| {
                let memory = Arc::<SmallMemory>::default();
                let mirror = Mutex::new(Mirror::new(Arc::clone(&memory), model));
                (memory, Arc::new(mirror))
            });
            (Arc::clone(memory), Arc::clone(mirror))
        });
        set_back(&memory);
        // What a program that failed has left of it is set back as well.
        mirror.lock().unwrap_or_else(PoisonError::into_inner).restart(model);
        let eyes = Arc::new(Eyes::new(Arc::clone(&mirror)));
        let host = Arc::new(Host::new(Legal::default()));
        let capabilities =
            Capabilities::new(cap, ecap).unwrap_or_else(|error| wrong("setup", &error));
        let mut config = UnitConfig::new(capabilities, Arc::clone(&memory) as _);
        config.host = Some(Arc::clone(&host) as _);
        config.observer = Some(Arc::clone(&eyes) as _);
        config.capacities = match setup.small_caches {
            true => Capacities { contexts: 2, pasids: 4, translations: 8, interrupt_entries: 2 },
            false => {
                Capacities { contexts: 8, pasids: 64, translations: 256, interrupt_entries: 8 }
            }
        };
        if setup.small_quotas {
            config.quotas =
                Quotas { per_device: 3, per_unit: 4, mappings_per_device: 4, mappings_per_unit: 6 };
        }
        let bell = Arc::new(Bell::default());
        config.wake = Some(Arc::clone(&bell) as _);
        let recording = output.map(|output| Recording::start(&mut config, &memory, output));
        let unit = Arc::new(RemappingUnit::new(config.clone()));
        let mut world = Self {
            memory,
            mirror,
            eyes,
            host,
            unit,
            bell,
            idle: false,
            config,
            handles: Vec::new(),
            cards: Vec::new(),
            answers_unknown: false,
            devices: [None; 3],
            next_host_device: 1,
            tail: 0,
            waits: 0,
            command: 0,
            legacy: false,
            rested: false,
            page_requests: false,
            tail_meanwhile: None,
            figures: Figures::default(),
            recording,
        };
        for (source, kind) in (0..).zip(setup.devices) {
            if kind > 0 {
                world.attach(source, kind - 1);
            }
        }
        // What is agreed with the hosts is what the guest is shown.
        world.unit.freeze();
        let shown = world.unit.capabilities();
        world.page_requests = shown.page_requests();
        let shown = vtd_model::Capabilities::new(shown.cap(), shown.ecap());
        world.mirror().restart(shown);
        if setup.enabled != 255 {
            world.set_up(Bits(setup.enabled));
        }
        world
    }

    pub(super) fn mirror(&self) -> MutexGuard<'_, Mirror> {
        self.mirror.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Tells the recording, if there is one.
    pub(super) fn record(&self, tell: impl FnOnce(&Recording)) {
        if let Some(recording) = &self.recording {
            tell(recording);
        }
    }

    pub(super) fn finish(mut self) -> Figures {
        self.settle();
        let descriptors = self.mirror().descriptors;
        Figures { descriptors, ..self.figures }
    }

    /// Does one operation, then looks whether all is as it should be.
    pub(super) fn perform(&mut self, operation: &Operation) {
        self.figures.operations += 1;
        self.rested &= matches!(
            operation,
            Operation::Store { .. }
                | Operation::Edit(_)
                | Operation::Queue(_)
                | Operation::QueueRaw { .. }
                | Operation::Trap { .. }
                | Operation::Write { .. }
                | Operation::Enable { .. }
                | Operation::Translation { .. }
        );
        match *operation {
            Operation::Write { offset, size, value } => self.write(offset.into(), size, value),
            Operation::Store { place, value } => self.memory.put(u64::from(place) * 8, value),
            Operation::Edit(edit) => write_entry(&self.memory, &edit),
            Operation::Queue(queued) => self.queue(&queued),
            Operation::QueueRaw { low } => self.enqueue([low, 0]),
            Operation::Doorbell => self.doorbell(),
            Operation::Tail => self.write_tail(),
            Operation::Enable { bits } => self.enable(bits),
            Operation::Translation { on } => {
                let te = 1 << 31;
                let changes = (self.command & te != 0) != on;
                let failures = self.host.failed_calls();
                self.command(if on { self.command | te } else { self.command & !te });
                if changes {
                    self.expect_bindings_follow("translation goes on or off", failures);
                }
            }
            Operation::Request(request) => {
                self.request(&request);
                // A write after a read, of which caches may hold a copy without D.
                if request.kind == 0 && request.bits.has(5) {
                    self.request(&RequestOperation { bits: Bits(request.bits.0 | 1), ..request });
                }
            }
            Operation::Interrupt { source, address, data } => {
                self.interrupt(of(&SOURCES, source), 0xfee0_0000 | address, data);
            }
            Operation::Trap { reads, place, value } => {
                let place = u64::from(place) * 8;
                // The model looks at a descriptor just after the unit has: it must be the same.
                if !(QUEUE..PAGE_REQUESTS).contains(&place) {
                    self.memory.set_trap(Trap { reads: reads.into(), place, value });
                }
            }
            Operation::HostFails(HostFailure { call }) => match call {
                0 => self.host.fail_calls(|_| true),
                call => self.host.fail_nth(call.into()),
            },
            Operation::Lifecycle(lifecycle) => self.live(lifecycle),
            Operation::Composite(composite) => self.perform_composite(&composite),
            Operation::Rebind { edit, pasid, old } => self.rebind(&edit, pasid, old),
            Operation::Remap { edit, page, pasid, domain: _, guarded: true } => {
                self.remap_guarded(&edit, page, pasid);
            }
            Operation::Remap { edit, page, pasid, domain, guarded: false } => {
                self.remap(&edit, page, pasid, domain);
            }
        }
        if self.figures.operations.is_multiple_of(3) {
            self.take_fault_records();
        }
        self.look();
    }

    /// The guest writes a register. All but the tail's are carried out at once.
    pub(super) fn write(&mut self, offset: u64, size: u8, value: u64) {
        let tail = offset == IQT || offset == IQT + 4;
        if !tail && !self.rested {
            self.settle();
        }
        self.rested = false;
        self.mirror().write(offset, size, value);
        self.record(|recording| recording.write(offset, size, value));
        self.unit.write(offset, size, value);
        if offset == GCMD && matches!(size, 4 | 8) {
            self.command = u32::try_from(value & 0x9780_0000).unwrap_or(0);
        }
        if !tail {
            self.settle();
        }
    }

    /// The guest writes a register that commands nothing: a unit at rest stays so.
    fn set_register(&mut self, offset: u64, size: u8, value: u64) {
        if !self.rested {
            self.settle();
        }
        self.mirror().write(offset, size, value);
        self.record(|recording| recording.write(offset, size, value));
        self.unit.write(offset, size, value);
    }

    /// The guest takes the faults that there are, where there is no room for more.
    fn take_fault_records(&mut self) {
        let (room, cap) = {
            let registers = &self.mirror().registers;
            (registers.faults.has_room(), registers.unit.capabilities.cap)
        };
        if room {
            return;
        }
        let (first, last) = ((cap >> 24 & 0x3ff) * 16, cap >> 40 & 0xff);
        for record in 0..=last {
            self.set_register(first + 16 * record + 12, 4, 1 << 31);
        }
        self.set_register(FSTS, 4, 1);
    }

    /// Something other than a write of a register is under way.
    pub(super) const fn disturb(&mut self) {
        self.rested = false;
    }

    fn command(&mut self, command: u32) {
        self.write(GCMD, 4, command.into());
    }

    pub(super) fn enqueue(&mut self, words: [u64; 2]) {
        let place = QUEUE + self.tail;
        let (wide, size) = {
            let mirror = self.mirror();
            let queue = &mirror.registers.queue;
            (queue.address >> 11 & 1 == 1, queue.size().min(0x2000))
        };
        let rest: &[u64] = if wide { &[0, 0] } else { &[] };
        for (place, word) in (place..).step_by(8).zip(words.iter().chain(rest)) {
            self.memory.put(place, *word);
        }
        self.tail = (self.tail + if wide { 32 } else { 16 }) % size;
    }

    fn queue(&mut self, queued: &Queued) {
        self.waits += 1;
        self.enqueue(queued.words(self.waits));
    }

    pub(super) fn write_tail(&mut self) {
        self.write(IQT, 8, self.tail);
    }

    /// The queue is off and on again, at its beginning, and an error of it is cleared.
    pub(super) fn restart_queue(&mut self) {
        let command = self.command;
        self.command(command & !(1 << 26));
        self.write(0x34, 4, 0x7f);
        self.write(IQT, 8, 0);
        self.command(command | 1 << 26);
    }

    /// The guest writes the tail, and the unit does what it can.
    pub(super) fn move_tail(&mut self, tail: u64) {
        self.write(IQT, 8, tail);
        self.settle();
        self.look();
    }

    /// A wait that writes its status, and the tail.
    pub(super) fn doorbell(&mut self) {
        self.waits += 1;
        self.enqueue([0x25 | u64::from(self.waits) << 32, 0]);
        self.write_tail();
    }

    /// All off; then queue, root table and translation on.
    pub(super) fn enable(&mut self, bits: Bits) {
        self.command(0);
        self.write(IQT, 8, 0);
        self.set_up(bits);
    }

    /// Queue, root table and translation on in a unit where all is off.
    fn set_up(&mut self, bits: Bits) {
        let bit = |bit| u64::from(bits.has(bit));
        if bits.has(6) {
            for control in [0x38, 0xa0, 0xe0] {
                self.set_register(control, 4, 0);
            }
        }
        let narrow = bits.has(1) || bits.has(0);
        self.set_register(0x90, 8, QUEUE | u64::from(!narrow) << 11 | bit(2));
        self.tail = 0;
        self.command(1 << 26);
        if bits.has(5) {
            self.set_register(0xd0, 8, PAGE_REQUESTS);
        }
        self.legacy = bits.has(0);
        let root = of(&ROOTS, u8::from(bits.has(3)));
        self.set_register(0x20, 8, root | if self.legacy { 0 } else { 0x400 });
        self.command(1 << 26 | 1 << 30);
        let mut on = 1 << 31 | 1 << 26;
        if bits.has(4) {
            self.set_register(0xb8, 8, INTERRUPTS | 2);
            self.command(1 << 26 | 1 << 24);
            on |= 1 << 25;
        }
        self.command(on);
        if bits.has(3) && bits.has(4) && !bits.has(2) {
            // The end of the queue is near: what comes next wraps. Waits that do nothing but wait take the least.
            let size = self.mirror().registers.queue.size();
            while self.tail + 128 < size {
                self.enqueue([0x45, 0]);
            }
            self.write_tail();
            self.settle();
        }
    }

    /// Has the unit do all that is left. A host that failed is well again, and devices answer what they have not: then nothing holds
    /// the unit up.
    pub(super) fn settle(&mut self) {
        self.record(Recording::step);
        for _ in 0..MOST_STEPS {
            match self.step_if_woken() {
                Step::Idle => {
                    if !self.answer() {
                        self.mirror().catch_up();
                        self.check_registers();
                        self.check_answers();
                        self.rested = true;
                        return;
                    }
                }
                Step::More => {}
                Step::Waiting => self.heal(),
            }
            while self.unit.take_effect().is_some() {}
        }
        wrong("bounds: the unit does not come to rest", &self.unit.counts());
    }

    /// Steps the unit, unless it has nothing left and has not asked for it: then a VMM would not. A host that has failed may hold up
    /// what is written later, of which the VMM is told but once.
    fn step_if_woken(&mut self) -> Step {
        let woken = self.bell.0.swap(false, Ordering::Relaxed);
        if self.idle && !woken && self.host.failed_calls() == 0 {
            return Step::Idle;
        }
        let step = self.unit.step(vtd::DEFAULT_BUDGET);
        self.idle = step == Step::Idle;
        step
    }

    pub(super) fn heal(&self) {
        self.host.stop_failing();
        self.record(|recording| recording.note("the VMM had every device tried again"));
        for device in self.unit.devices() {
            // One without state has nothing to try again.
            let _stateless = self.unit.retry(device.id);
        }
        self.answer();
    }

    /// The devices answer what they have not; whether there was anything.
    pub(super) fn answer(&self) -> bool {
        let mut any = false;
        for (device, card) in &self.cards {
            for id in card.take_later() {
                any = true;
                self.record(|recording| {
                    let mut devices = self.unit.devices().into_iter();
                    if let Some(view) = devices.find(|view| view.id == *device) {
                        recording.begin(Event::DeviceTlbDone { source_id: view.source_id });
                    }
                });
                // One that was released has nothing to answer.
                let _released = self.unit.device_tlb_invalidated(*device, id);
            }
        }
        any
    }

    /// Whether the last wait has written its status, and what the mirror looks out for was carried out before. Neither is sure: where a guest
    /// has moved the tail by itself, some of what it queues next lies where the head has been.
    pub(super) fn has_status(&self) -> bool {
        self.memory.get(STATUS) & 0xffff_ffff == u64::from(self.waits)
            && self.mirror().awaited.is_none()
    }

    /// Has the unit work in small steps until the last wait has written its status, or nothing is left to do; whether it has. That may
    /// take too many: a shadow may have to be compared with a table that has no end.
    pub(super) fn settle_until_status(&mut self) -> bool {
        self.idle = false;
        for _ in 0..MOST_STEPS {
            if self.has_status() {
                return true;
            }
            match self.unit.step(SMALL_BUDGET) {
                Step::Idle => {
                    if !self.answer() {
                        return false;
                    }
                }
                Step::More => {}
                Step::Waiting => self.heal(),
            }
        }
        false
    }

    pub(super) fn attach(&mut self, source: u8, kind: u8) {
        let source_id = SourceId(of(&SOURCES, source));
        let host = HostDevice(self.next_host_device);
        let (kind, attached) = match kind {
            0 => (Kind::Emulated, self.unit.attach(source_id, Attachment::Emulated)),
            1 => {
                let card = Arc::new(Card::new(self.recording.clone()));
                self.record(|recording| {
                    recording.begin(Event::Endpoint { source_id, later: true });
                });
                let attached = self.unit.attach_endpoint(source_id, Arc::clone(&card) as _);
                self.cards.extend(attached.iter().map(|id| (*id, Arc::clone(&card))));
                (Kind::WithTlb, attached)
            }
            _ => {
                self.next_host_device += 1;
                self.host.inner().model.add_device(host);
                self.record(|recording| recording.begin(Event::Assign { source_id }));
                (Kind::Assigned, self.unit.attach(source_id, Attachment::Assigned(host)))
            }
        };
        match (attached, self.devices.get_mut(usize::from(source))) {
            (Ok(id), Some(slot)) => *slot = Some(Device { id, kind, host }),
            _ => self.record(Recording::refused),
        }
    }

    pub(super) fn device(&self, source: u8) -> Option<Device> {
        self.devices.get(usize::from(source)).copied().flatten()
    }
}
