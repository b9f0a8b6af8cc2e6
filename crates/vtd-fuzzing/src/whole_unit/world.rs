//! All that there is in a program.

use std::cell::OnceCell;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use vtd::host::HostDevice;
use vtd::spec::{Capabilities, Gpa, Iova, PageRequest, Pasid, SourceId};
use vtd::{
    Access, Attachment, Capacities, DeviceId, DmaError, Quotas, RemappingUnit, ResetKind,
    RestoreOnto, Step, TranslationRequest, UnitConfig,
};

use vtd_recording::format::Event;
use vtd_recording::recorder::Requester;

use super::card::Card;
use super::eyes::Eyes;
use super::host::{Host, Legal};
use super::mirror::Mirror;
use super::oracles::{Figures, wrong};
use super::recording::{Output, Recording};
use super::setup::Setup;
use crate::program::pools::{
    INTERRUPTS, PAGE_REQUESTS, PAGES, PASIDS, QUEUE, ROOTS, SOURCES, STATUS, of,
};
use crate::program::{
    Bits, Edit, HostFailure, Lifecycle, Operation, Queued, RequestOperation, Table, set_back,
    write_entry,
};
use crate::small_memory::{SmallMemory, Trap};

/// How many steps of a default budget anything may take.
const MOST_STEPS: u32 = 2_000;
/// Address and S of a device-TLB invalidation of everything.
const EVERY_PAGE: u64 = 0x7fff_ffff_ffff_f800;
/// Of a step that is to do little, so that what is between two descriptors is seen.
const SMALL_BUDGET: u32 = 2;
const IQH: u64 = 0x80;
const IQT: u64 = 0x88;
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
    config: UnitConfig,
    /// Of every device that was ever attached with a device TLB.
    pub(super) cards: Vec<(DeviceId, Arc<Card>)>,
    /// Which answers to page requests are still to come is not known.
    pub(super) answers_unknown: bool,
    /// By source-id of the pool.
    pub(super) devices: [Option<Device>; 3],
    next_host_device: u64,
    tail: u64,
    waits: u32,
    /// GCMD as the guest last wrote it, without one-shot bits.
    command: u32,
    legacy: bool,
    /// Nothing is under way: nobody but the guest's memory has been touched since the unit came to rest.
    rested: bool,
    /// The guest is shown page requests.
    pub(super) page_requests: bool,
    pub(super) figures: Figures,
    pub(super) recording: Option<Arc<Recording>>,
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
        let recording = output.map(|output| Recording::start(&mut config, &memory, output));
        let unit = Arc::new(RemappingUnit::new(config.clone()));
        let mut world = Self {
            memory,
            mirror,
            eyes,
            host,
            unit,
            config,
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
                self.command(if on { self.command | te } else { self.command & !te });
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
        if offset == GCMD && size >= 4 {
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

    fn enqueue(&mut self, words: [u64; 2]) {
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

    fn write_tail(&mut self) {
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
    fn doorbell(&mut self) {
        self.waits += 1;
        self.enqueue([0x25 | u64::from(self.waits) << 32, 0]);
        self.write_tail();
    }

    /// All off; then queue, root table and translation on.
    fn enable(&mut self, bits: Bits) {
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
            match self.unit.step(vtd::DEFAULT_BUDGET) {
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

    fn heal(&self) {
        self.host.stop_failing();
        self.record(|recording| recording.note("the VMM had every device tried again"));
        for device in self.unit.devices() {
            // One without state has nothing to try again.
            let _stateless = self.unit.retry(device.id);
        }
        self.answer();
    }

    /// The devices answer what they have not; whether there was anything.
    fn answer(&self) -> bool {
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

    /// Has the unit work in small steps until the last wait has written its status, or nothing is left to do. False if that takes
    /// too many: a shadow may have to be compared with a table that has no end.
    fn settle_until_status(&mut self) -> bool {
        for _ in 0..MOST_STEPS {
            if self.memory.get(STATUS) & 0xffff_ffff == u64::from(self.waits) {
                return true;
            }
            match self.unit.step(SMALL_BUDGET) {
                Step::Idle => {
                    if !self.answer() {
                        return true;
                    }
                }
                Step::More => {}
                Step::Waiting => self.heal(),
            }
        }
        false
    }

    fn attach(&mut self, source: u8, kind: u8) {
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

    fn live(&mut self, lifecycle: Lifecycle) {
        match lifecycle {
            Lifecycle::Attach { source, kind } => {
                if self.device(source).is_none() {
                    // What was answered before it came is not its own.
                    self.answers_unknown = true;
                    self.attach(source, kind);
                }
            }
            Lifecycle::Release { source } => {
                if let Some(device) = self.device(source) {
                    self.answer();
                    self.answers_unknown = true;
                    if device.kind != Kind::Emulated {
                        let source_id = SourceId(of(&SOURCES, source));
                        self.record(|recording| recording.begin(Event::Release { source_id }));
                    }
                    if self.unit.release(device.id).is_err() {
                        wrong("devices: a device that is attached is not released", &device);
                    }
                    self.settle();
                    self.expect_nothing_held(device);
                    if let Some(slot) = self.devices.get_mut(usize::from(source)) {
                        *slot = None;
                    }
                }
            }
            Lifecycle::Renumber { source, new } => {
                let source_id = SourceId(of(&SOURCES, new));
                self.answers_unknown = true;
                let Some(device) = self.device(source) else { return };
                self.record(|recording| {
                    let before = SourceId(of(&SOURCES, source));
                    recording.begin(Event::Renumber { source_id: before, new: source_id });
                });
                if self.unit.renumber(device.id, source_id).is_ok() {
                    self.devices.swap(source.into(), new.into());
                    self.settle();
                } else {
                    self.record(|recording| recording.end(None));
                }
            }
            Lifecycle::Retry { source } => {
                if let Some(device) = self.device(source) {
                    self.record(|recording| recording.note("the VMM had a device tried again"));
                    // An emulated device has nothing to retry.
                    let _emulated = self.unit.retry(device.id);
                }
            }
            Lifecycle::Reset { power_on } => {
                // What is under way ends here, or is done before it: both are to be seen.
                if self.waits.is_multiple_of(2) {
                    self.settle();
                }
                self.memory.disarm();
                self.answers_unknown = true;
                let failures = self.host.failed_calls();
                self.record(|recording| {
                    if !power_on {
                        recording.note("the next reset is a warm one: FSTS and FRCD survive");
                    }
                    recording.begin(Event::Reset);
                });
                self.unit.reset(if power_on { ResetKind::PowerOn } else { ResetKind::Warm });
                self.eyes.forget();
                self.mirror().reset(power_on);
                self.settle();
                self.tail = 0;
                self.command = 0;
                self.expect_power_on(failures);
            }
            Lifecycle::SaveAndRestore { fresh_host } => self.save_and_restore(fresh_host),
            Lifecycle::Step { budget } => {
                self.record(Recording::step);
                let _left = self.unit.step(budget.into());
            }
            Lifecycle::Run => {
                self.settle();
                self.expect_tables_everywhere();
            }
        }
    }

    fn save_and_restore(&mut self, fresh_host: bool) {
        if fresh_host {
            // Else what is held is still to change.
            self.settle();
        }
        let state = self.unit.save().unwrap_or_else(|error| wrong("save", &error));
        let held = self.host.inner().model.bindings();
        let contradicting = self.unit.counts().ledger.contradicting;
        if contradicting != 0 && self.host.failed_calls() == 0 {
            wrong("bindings: held against the tables, and no call has failed", &held);
        }
        let onto = if fresh_host {
            let host = Arc::new(Host::new(Legal::default()));
            for number in 1..self.next_host_device {
                host.inner().model.add_device(HostDevice(number));
            }
            self.check_host_calls();
            self.host = host;
            self.config.host = Some(Arc::clone(&self.host) as _);
            RestoreOnto::FreshHost
        } else {
            RestoreOnto::SameHost
        };
        self.record(|recording| recording.note("the unit is saved and restored here"));
        let restored = RemappingUnit::restore(self.config.clone(), &state, onto);
        let restored = Arc::new(restored.unwrap_or_else(|error| wrong("restore", &error)));
        self.eyes.forget();
        self.answers_unknown = true;
        for device in self.devices.iter().flatten() {
            let card = self.cards.iter().find(|(id, _)| *id == device.id);
            if let Some((id, card)) = card {
                card.take_later();
                if restored.set_endpoint(*id, Arc::clone(card) as _).is_err() {
                    wrong("restore: a device is not there", device);
                }
            }
        }
        if !fresh_host {
            let again = restored.save().unwrap_or_else(|error| wrong("save", &error));
            if again != state {
                wrong("save: another state after a restore", &(state, again));
            }
        }
        self.unit = restored;
        // What was fetched and is not done is fetched again.
        let head = self.unit.read(IQH, 8);
        {
            let mut mirror = self.mirror();
            let queue = &mut mirror.registers.queue;
            let mut behind = *queue;
            behind.back();
            if queue.enabled && queue.head != head && behind.head == head {
                *queue = behind;
                mirror.wait = None;
            }
        }
        // Caches are no part of a state.
        self.mirror().history.invalidated(vtd_model::Invalidation::Everything);
        if fresh_host {
            self.settle();
            self.expect_held(&held, contradicting);
        }
        self.figures.restores += 1;
    }

    /// Global invalidations of every cache and a wait, done: what the wait wrote. `None` if the queue has stopped.
    pub(super) fn invalidate_everything(&mut self) -> Option<u32> {
        self.enqueue([0x11, 0]);
        self.enqueue([0x37, 0]);
        self.enqueue([0x12, 0]);
        self.doorbell();
        self.settle();
        let mirror = self.mirror();
        let queue = &mirror.registers.queue;
        (!queue.error && queue.head == queue.tail).then_some(self.waits)
    }

    /// Changes a PASID-table entry and invalidates it by its old or its new domain, as drivers do.
    fn rebind(&mut self, edit: &Edit, pasid: u8, old: bool) {
        let number = of(&PASIDS, pasid);
        let (table, index) = crate::program::table_of(number);
        let edit = Edit { table, index, ..*edit };
        let entry = edit.entry();
        let before = self.memory.get(entry.place + 8) & 0xffff;
        let present = self.memory.get(entry.place) & 1 == 1;
        write_entry(&self.memory, &edit);
        let after = self.memory.get(entry.place + 8) & 0xffff;
        let domain = if old && present { before } else { after };
        let held = self.held_domains(number);
        let pasid = u64::from(number) << 32;
        self.enqueue([0x17 | domain << 16 | pasid, 0]);
        // Of half of them nothing is between the entry and the wait.
        if edit.kind & 1 == 0 {
            self.enqueue([0x26 | domain << 16 | pasid, 0]);
            self.enqueue([0x22 | domain << 16, 0]);
            self.invalidate_device_tlbs(number, EVERY_PAGE);
        }
        let failures = self.host.failed_calls();
        let desired = self.desired_of(number);
        self.doorbell();
        if self.settle_until_status() {
            // By the time that the status is there, and no later.
            self.expect_tables_of(number, domain, &held, failures, &desired);
        }
        self.settle();
        self.expect_tables_of(number, domain, &held, failures, &desired);
    }

    fn invalidate_device_tlbs(&mut self, pasid: u32, address: u64) {
        for source in SOURCES.map(u64::from) {
            self.enqueue([0x08 | source << 16 | u64::from(pasid) << 32, address]);
        }
    }

    /// Changes a page-table entry and invalidates a page.
    fn remap(&mut self, edit: &Edit, page: u8, pasid: u8, domain: u8) {
        write_entry(&self.memory, edit);
        let address = of(&PAGES, page) << 12;
        let number = of(&PASIDS, pasid);
        let domain = u64::from(of(&crate::program::pools::DOMAINS, domain)) << 16;
        match edit.table {
            Table::FirstStage(_) => {
                self.enqueue([0x36 | domain | u64::from(number) << 32, address]);
            }
            _ => self.enqueue([0x32 | domain, address]),
        }
        self.invalidate_device_tlbs(number, address);
        self.doorbell();
        self.settle();
    }

    /// The same while a transfer through the page is under way, with invalidations of everything: until it is over no wait behind
    /// them is.
    fn remap_guarded(&mut self, edit: &Edit, page: u8, pasid: u8) {
        self.settle();
        let Some(device) = self.device(0).filter(|device| device.kind != Kind::Assigned) else {
            return;
        };
        let Some(number) = Pasid::new(of(&PASIDS, pasid)) else { return };
        let Ok(dma) = self.unit.dma(device.id, Some(number)) else { return };
        let guard = dma.guard();
        let requester = Requester { source_id: SourceId(of(&SOURCES, 0)), pasid: Some(number) };
        let address = Iova(of(&PAGES, page) << 12);
        self.request_begins(|open| requester.dma(address, Access::READ, &Err(open)));
        let found = guard.translate(address, Access::READ);
        self.record(|recording| recording.end(requester.dma(address, Access::READ, &found)));
        let translated = found.is_ok();
        drop(self.eyes.take_faults());
        write_entry(&self.memory, edit);
        if !self.is_queue_running() || !translated {
            return;
        }
        self.enqueue([0x11, 0]);
        self.enqueue([0x12, 0]);
        self.doorbell();
        self.mirror().held = true;
        for _ in 0..16 {
            let _step = self.unit.step(vtd::DEFAULT_BUDGET);
            self.answer();
        }
        self.mirror().held = false;
        drop(guard);
        self.settle();
    }

    /// A request is recorded as one that is blocked, should it end the program before there is an answer.
    fn request_begins(&self, line: impl FnOnce(DmaError) -> Option<Event>) {
        self.record(|recording| {
            line(DmaError::Blocked).into_iter().for_each(|line| recording.begin(line));
        });
    }

    fn request(&mut self, request: &RequestOperation) {
        let Some(device) = self.device(request.source) else { return };
        let bits = request.bits;
        let pasid = of(&PASIDS, request.pasid);
        let pasid = if bits.has(4) { Pasid::new(pasid) } else { None };
        let source_id = of(&SOURCES, request.source);
        let address = of(&PAGES, request.page) << 12;
        let access = match (bits.has(0), bits.has(3)) {
            (true, _) => Access::WRITE,
            (false, true) => Access::ZERO_LENGTH_READ,
            (false, false) => Access::READ,
        };
        let access = if bits.has(1) && !bits.has(0) { access.executing() } else { access };
        let access = if bits.has(2) { access.with_privilege() } else { access };
        if request.kind == 3 {
            let request = PageRequest {
                source_id: SourceId(source_id),
                pasid,
                address: Iova(address),
                read: !bits.has(3),
                write: bits.has(0),
                execute: bits.has(1),
                privileged: bits.has(2),
                last_in_group: bits.has(5),
                group_index: 3,
            };
            self.page_request(device, &request);
            return;
        }
        let Ok(dma) = self.unit.dma(device.id, pasid) else { return };
        let asked = vtd_model::Request {
            source_id,
            pasid: pasid.map(Pasid::get),
            address,
            access: vtd_model::Access {
                write: access.write,
                execute: access.execute,
                privileged: access.privileged,
                zero_length: access.zero_length,
            },
        };
        let since = {
            let mut mirror = self.mirror();
            mirror.catch_up();
            mirror.history.moment()
        };
        drop(self.eyes.take_faults());
        // What is left of the queue is carried out while the walk is under way, when the trap springs.
        let trapped = self.memory.is_armed();
        if trapped {
            let unit = Arc::clone(&self.unit);
            self.memory.set_meanwhile(move || {
                for _ in 0..64 {
                    if unit.step(vtd::DEFAULT_BUDGET) != Step::More {
                        break;
                    }
                }
            });
        }
        let guard = dma.guard();
        let requester = Requester { source_id: SourceId(source_id), pasid };
        match request.kind {
            0 => {
                self.request_begins(|open| requester.dma(Iova(address), access, &Err(open)));
                let answer = guard.translate(Iova(address), access);
                self.record(|recording| {
                    recording.end(requester.dma(Iova(address), access, &answer));
                });
                let answer = answer.map(|found| (found.address().0, found.granted()));
                self.memory.nothing_meanwhile();
                self.judge_untranslated(&asked, since, answer, trapped);
            }
            1 => {
                let plain = match access.write {
                    true => TranslationRequest::READ_WRITE,
                    false => TranslationRequest::READ,
                };
                let plain = if access.execute { plain.executing() } else { plain };
                let wanted = if access.privileged { plain.with_privilege() } else { plain };
                self.request_begins(|open| requester.translate(Iova(address), wanted, &Err(open)));
                let answer = guard.translation_request(Iova(address), wanted);
                self.record(|recording| {
                    recording.end(requester.translate(Iova(address), wanted, &answer));
                });
                self.memory.nothing_meanwhile();
                self.judge_translation(&asked, since, answer, trapped);
            }
            _ => {
                self.request_begins(|open| {
                    requester.translated(Gpa(address), access, &Err::<Gpa, _>(open))
                });
                let answer = guard.translated(Gpa(address), access);
                self.record(|recording| {
                    recording.end(requester.translated(Gpa(address), access, &answer));
                });
                self.memory.nothing_meanwhile();
                self.judge_translated(&asked, since, answer);
            }
        }
    }
}
