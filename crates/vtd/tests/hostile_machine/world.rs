//! All that there is, and everything that may happen to it.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use vtd::host::{HostCapabilities, HostDevice, LocalPasidAllocator};
use vtd::memory::SparseMemory;
use vtd::spec::{Capabilities, FaultReason, Gpa, Iova, Slot};
use vtd::{
    Access, Attachment, Capacities, DEFAULT_BUDGET, DeviceId, HostFault, InvalidationId, Quotas,
    RemappingUnit, ResetKind, RestoreOnto, Step, TranslationRequest, UnitConfig, UnitState, Wake,
};

use crate::devices::{Card, Routes, request};
use crate::guest::calls::{Host, host_with};
use crate::guest::{self, CAP, ECAP, Guest, Numbers, QUEUE, STATUS, pasid, source_id};

/// PLMR, PHMR.
pub(crate) const CAP_ALL: u64 = CAP | 3 << 5;
/// IR, EIM, SC, MHMV 15, NEST, PRS, ERS, SRS, NWFS, EAFS, PDS, VCS, SSADS, ADMS.
pub(crate) const ECAP_ALL: u64 = ECAP
    | 1 << 3
    | 1 << 4
    | 1 << 7
    | 0xf << 20
    | 1 << 26
    | 1 << 29
    | 1 << 30
    | 1 << 31
    | 1 << 33
    | 1 << 34
    | 1 << 42
    | 1 << 44
    | 1 << 45
    | 1 << 52;
/// How many steps of a default budget anything may take.
pub(crate) const STEPS: u32 = 2_000;
/// Root and context table of legacy mode.
pub(crate) const LEGACY_ROOT: u64 = 0x4000;
pub(crate) const LEGACY_CONTEXTS: u64 = 0x5000;
pub(crate) const INTERRUPTS: u64 = 0xa000;
pub(crate) const PAGE_REQUESTS: u64 = 0x20_0000;
/// Second-stage tables of four levels, four pages each.
pub(crate) const TABLES: [u64; 2] = [0x30_0000, 0x31_0000];
pub(crate) const DEVICES: [u64; 5] = [3, 4, 5, 6, 7];

/// The unit has asked for a step, or for somebody to take its effects.
#[derive(Default)]
pub(crate) struct Woken(AtomicBool);

impl Wake for Woken {
    fn wake(&self) {
        self.0.store(true, Ordering::SeqCst);
    }
}

/// Who does harm.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Style {
    /// One thread, which steps as it likes, saves and restores.
    Alone,
    /// One thread, which steps when it is woken.
    Woken,
    /// One of several threads.
    Together,
}

/// All that is shared by those who do harm.
pub(crate) struct World {
    memory: Arc<SparseMemory>,
    host: Host,
    allocator: Arc<LocalPasidAllocator>,
    routes: Arc<Routes>,
    unit: Mutex<RemappingUnit>,
    devices: Mutex<Vec<DeviceId>>,
    cards: Mutex<BTreeMap<DeviceId, Arc<Card>>>,
    tail: Mutex<u64>,
    failing: Arc<AtomicBool>,
    woken: Arc<Woken>,
}

impl World {
    pub(crate) fn new(seed: u64) -> Self {
        let mut capabilities = HostCapabilities::everything();
        capabilities.unmap_cuts = !seed.is_multiple_of(3);
        let host = host_with(capabilities);
        let failing = Arc::new(AtomicBool::new(false));
        let calls = AtomicU64::new(seed);
        let fails = Arc::clone(&failing);
        host.fail_calls(move |_| {
            let call = calls.fetch_add(0x9e37_79b9, Ordering::Relaxed);
            fails.load(Ordering::Relaxed) && call >> 7 & 3 == 0
        });
        let memory = Arc::new(SparseMemory::new());
        let allocator = Arc::new(LocalPasidAllocator::new());
        let routes = Arc::new(Routes::default());
        let woken = Arc::new(Woken::default());
        let unit = RemappingUnit::new(config(&memory, &host, &allocator, &routes, &woken));
        *routes.0.lock().unwrap() = Some(unit.clone());
        let world = Self {
            memory,
            host,
            allocator,
            routes,
            unit: Mutex::new(unit),
            devices: Mutex::default(),
            cards: Mutex::default(),
            tail: Mutex::default(),
            failing,
            woken,
        };
        world.lay_out();
        world
    }

    pub(crate) fn unit(&self) -> RemappingUnit {
        self.unit.lock().unwrap().clone()
    }

    fn put(&self, gpa: u64, qwords: &[u64]) {
        for (place, qword) in (gpa..).step_by(8).zip(qwords) {
            self.memory.write_u64(Gpa(place), *qword).unwrap();
        }
    }

    /// Tables that make sense.
    fn lay_out(&self) {
        for page in (0x1000..0x6000).step_by(0x1000).chain([QUEUE, STATUS, INTERRUPTS]) {
            self.memory.fill_zero_page(Gpa(page));
        }
        for page in 0..8 {
            self.memory.fill_zero_page(Gpa(PAGE_REQUESTS + page * 0x1000));
        }
        self.put(0x1000, &[0x2001, 0x3001]);
        self.put(LEGACY_ROOT, &[LEGACY_CONTEXTS | 1, 0]);
        for table in TABLES {
            for level in 0..3 {
                let here = table + level * 0x1000;
                self.memory.fill_zero_page(Gpa(here));
                self.put(here, &[here + 0x1003]);
            }
            self.memory.fill_zero_page(Gpa(table + 0x3000));
        }
        for device in DEVICES {
            let directory = Guest::directory(device);
            self.memory.fill_zero_page(Gpa(directory));
            self.memory.fill_zero_page(Gpa(directory + 0x1000));
            self.put(directory, &[directory + 0x1001]);
            self.put(0x2000 + device * 8 * 32, &[directory | 0x1d, 0]);
            self.put(LEGACY_CONTEXTS + device * 8 * 16, &[TABLES[0] | 1, 0x502]);
        }
    }

    /// The guest changes its tables.
    fn scribble(&self, numbers: &mut Numbers) {
        let device = numbers.of(&DEVICES);
        let table = numbers.of(&TABLES);
        match numbers.below(8) {
            0..4 => {
                let entry = match numbers.below(6) {
                    0 => [0; 3],
                    1 => guest::first_stage(0x10_0000 * (1 + numbers.below(3)), numbers.below(7)),
                    2 => guest::pass_through(numbers.below(7)),
                    3 => [0xc9 | table, numbers.below(7), 0x10_0000],
                    _ => guest::second_stage(table, numbers.below(7)),
                };
                self.put(Guest::entry_place(device, numbers.below(8)), &entry);
            }
            4..6 => {
                let page = numbers.below(0x40) << 12;
                let leaf = numbers.of(&[0, page | 3, page | 1, page | 2, page | 0x803]);
                self.put(table + 0x3000 + numbers.below(16) * 8, &[leaf]);
            }
            6 => {
                let flags = numbers.of(&[0x1d, 0x1d, 9, 5, 0, 0x41d]);
                let rid_pasid = numbers.of(&[0, 0, 1, 3]);
                let context = [Guest::directory(device) | flags, rid_pasid];
                self.put(0x2000 + device * 8 * 32, &context);
                let kind = numbers.of(&[1, 5, 9, 0]);
                let width = numbers.of(&[0x502, 0x602, 0x501]);
                self.put(LEGACY_CONTEXTS + device * 8 * 16, &[table | kind, width]);
            }
            _ => {
                let entry = [numbers.of(&[0, 1, 1, 3, 0x8001]) | numbers.below(256) << 16, 0];
                self.put(INTERRUPTS + numbers.below(8) * 16, &entry);
            }
        }
    }

    /// The guest puts descriptors into its queue.
    fn ring(&self, numbers: &mut Numbers) {
        let mut tail = self.tail.lock().unwrap();
        for _ in 0..=numbers.below(6) {
            let (device, domain, number) =
                (numbers.of(&DEVICES) << 3, numbers.below(7), numbers.below(8));
            let page = numbers.of(&[0, 0x1000, 0x7fff_f000, !0xfff]);
            let mask = numbers.of(&[0, 1, 9, 12]);
            let descriptor = match numbers.below(24) {
                0 => [0x31 | device << 32, 0],
                1 => [0x11, 0],
                2 => [0x12, 0],
                3 => [0x22 | domain << 16, 0],
                4 => [0x32 | domain << 16, page | mask],
                5..8 => [3 | device << 32, page | numbers.below(2)],
                8 => [0x14 | numbers.below(16) << 27 | number << 32, 0],
                9 => [4, 0],
                10 => [0x26 | domain << 16 | number << 32, 0],
                11 => [0x36 | domain << 16 | number << 32, page | mask],
                12 => [7 | domain << 16, 0],
                13 => [0x17 | domain << 16 | number << 32, 0],
                14 => [0x37, 0],
                15..17 => [8 | device << 16 | number << 32, page | numbers.below(2)],
                17..19 => [9 | device << 16 | numbers.below(2) << 4 | 1 << 32, 4],
                19 if numbers.below(6) == 0 => [numbers.next(), numbers.next()],
                _ => [0x25 | numbers.next() << 32 | numbers.of(&[0, 0x10, 0x80]), STATUS],
            };
            self.put(QUEUE + *tail, &[descriptor[0], descriptor[1], 0, 0]);
            *tail = (*tail + 32) % 0x1000;
        }
        self.unit().write(0x88, 8, *tail);
    }

    /// The guest writes registers that make sense.
    fn command(&self, numbers: &mut Numbers) {
        let unit = self.unit();
        let mut state = unit.read(0x1c, 4) & 0x8680_0000;
        match numbers.below(12) {
            0 => unit.write(0x20, 8, numbers.of(&[0x1400, 0x1400, LEGACY_ROOT, 0x1c00, 0x1800])),
            1 => state |= 0x4000_0000,
            2 => state ^= 0x8000_0000,
            3 => state ^= 0x0400_0000,
            4 => {
                let mut tail = self.tail.lock().unwrap();
                *tail = 0;
                unit.write(0x88, 8, 0);
                unit.write(0x90, 8, QUEUE | 0x800);
                state |= 0x0400_0000;
            }
            5 => {
                unit.write(0xb8, 8, INTERRUPTS | numbers.of(&[0, 2, 7, 0x802]));
                state |= 0x0100_0000;
            }
            6 => state ^= 0x0200_0000,
            7 => state ^= 0x0080_0000,
            8 => {
                unit.write(0xd0, 8, PAGE_REQUESTS | numbers.below(4));
                unit.write(0xc0, 8, unit.read(0xc8, 8));
                unit.write(0xdc, 4, 3);
            }
            9 => {
                unit.write(0x68, 4, numbers.below(4) << 21);
                unit.write(0x6c, 4, numbers.below(4) << 21);
                unit.write(0x64, 4, numbers.below(2) << 31);
            }
            10 => {
                let command = numbers.of(&[1, 1, 2 | 1 << 16, 2 | 2 << 16, 2 | 9 << 16, 7]);
                unit.write(0xe00, 8, command);
            }
            _ => {
                unit.write(0xf0, 8, numbers.next());
                unit.write(0xf8, 8, 1 << 63 | numbers.below(4) << 60 | numbers.below(7) << 32);
                unit.write(0x28, 8, 1 << 63 | numbers.below(4) << 61 | 0x18 << 16);
            }
        }
        unit.write(0x18, 4, state);
    }

    /// The guest starts as it should: queue, scalable mode, interrupt remapping, page requests.
    pub(crate) fn boot(&self) {
        let unit = self.unit();
        self.acknowledge();
        *self.tail.lock().unwrap() = 0;
        unit.write(0x88, 8, 0);
        unit.write(0x90, 8, QUEUE | 0x800);
        unit.write(0x20, 8, 0x1400);
        unit.write(0xb8, 8, INTERRUPTS | 7);
        unit.write(0xd0, 8, PAGE_REQUESTS);
        for command in [0x0400_0000, 0x4400_0000, 0x8400_0000, 0x8500_0000, 0x8600_0000] {
            unit.write(0x18, 4, command);
        }
    }

    /// The guest acknowledges what went wrong.
    fn acknowledge(&self) {
        let unit = self.unit();
        unit.write(0x34, 4, 0xff);
        unit.write(0x22c, 4, 1 << 31);
        unit.write(0x9c, 4, 1);
        for control in [0x38, 0xa0, 0xe0] {
            unit.write(control, 4, 0);
        }
    }

    fn device(&self, numbers: &mut Numbers) -> Option<DeviceId> {
        let devices = self.devices.lock().unwrap();
        (!devices.is_empty()).then(|| numbers.of(&devices))
    }

    pub(crate) fn attach(&self, numbers: &mut Numbers) {
        let unit = self.unit();
        let number = numbers.of(&DEVICES);
        let id = match numbers.below(5) {
            0 => unit.attach(source_id(number), Attachment::Emulated),
            1 | 2 => unit.attach(source_id(number), Attachment::Assigned(HostDevice(number))),
            _ => {
                let card = Arc::new(Card::default());
                card.seed.store(numbers.next(), Ordering::Relaxed);
                let id = unit.attach_endpoint(source_id(number), Arc::clone(&card) as _);
                if let Ok(id) = id {
                    *card.device.lock().unwrap() = Some(id);
                    *card.unit.lock().unwrap() = Some(unit.clone());
                    self.cards.lock().unwrap().insert(id, card);
                }
                id
            }
        };
        self.devices.lock().unwrap().extend(id);
    }

    fn manage(&self, numbers: &mut Numbers) {
        let unit = self.unit();
        let device = self.device(numbers);
        match (numbers.below(8), device) {
            (0..3, _) | (_, None) => self.attach(numbers),
            (3, Some(device)) => {
                self.devices.lock().unwrap().retain(|other| *other != device);
                let _gone = unit.release(device);
                if let Some(card) = self.cards.lock().unwrap().remove(&device) {
                    *card.unit.lock().unwrap() = None;
                }
            }
            (4, Some(device)) => {
                let _gone = unit.renumber(device, source_id(numbers.of(&DEVICES)));
            }
            (5, Some(device)) => {
                let _gone = unit.retry(device);
            }
            (6, Some(device)) => {
                let _gone = unit.expire_device_tlb(device);
            }
            (_, Some(device)) => {
                let id = InvalidationId(numbers.below(40));
                let _gone = unit.device_tlb_invalidated(device, id);
                let reason = FaultReason::NoWrite;
                let fault = HostFault::new(Slot::Rid, Iova(0x1000), Access::WRITE, reason);
                let _gone = unit.report_host_fault(device, fault);
            }
        }
    }

    /// A device does something. `inside` is run while its guard is open.
    fn request(&self, numbers: &mut Numbers, inside: &mut dyn FnMut(&mut Numbers)) {
        let unit = self.unit();
        let Some(device) = self.device(numbers) else { return };
        let source_id = source_id(numbers.of(&DEVICES));
        match numbers.below(4) {
            0 => {
                let request = request(numbers);
                let _any = unit.page_request(device, request);
            }
            1 => {
                let address = 0xfee0_0010 | numbers.below(10) << 5 | numbers.below(2) << 3;
                let data = u32::try_from(numbers.of(&[0, 1, 0x21, 0x1_0000])).unwrap();
                let _any = unit.deliver_interrupt(source_id, address, data, |_| inside(numbers));
            }
            _ => {
                let number = numbers.of(&[None, None, Some(0), Some(1), Some(5), Some(0xf_ffff)]);
                let Ok(handle) = unit.dma(device, number.map(pasid)) else { return };
                let iova = Iova(numbers.next() >> numbers.of(&[0, 16, 48, 52]));
                let access = numbers.of(&[Access::READ, Access::WRITE, Access::ZERO_LENGTH_READ]);
                let asked = numbers
                    .of(&[TranslationRequest::READ, TranslationRequest::READ_WRITE.executing()]);
                handle.with_guard(|guard| {
                    let _any = guard.translate(iova, access);
                    let _any = guard.translation_request(iova, asked);
                    let _any = guard.translated(Gpa(iova.0), access);
                    inside(numbers);
                });
            }
        }
    }

    fn answer(&self, numbers: &mut Numbers) {
        let cards: Vec<_> = self.cards.lock().unwrap().values().cloned().collect();
        if !cards.is_empty() {
            let card = &cards[usize::try_from(numbers.below(cards.len() as u64)).unwrap()];
            card.answer_all();
        }
    }

    fn any_register(&self, numbers: &mut Numbers) {
        let unit = self.unit();
        let (offset, size) = (numbers.below(0x1010), numbers.of(&[1, 2, 4, 4, 8, 8]));
        // IQA, IRTA and RTADDR lead to nothing sensible, but they lead somewhere.
        unit.write(offset, size, numbers.next());
        let _any = unit.read(offset, size);
    }

    /// Steps until nothing more can be done; what the unit says then.
    fn run(&self) -> Step {
        let unit = self.unit();
        for _ in 0..STEPS {
            let step = unit.step(DEFAULT_BUDGET);
            if step != Step::More {
                return step;
            }
        }
        panic!("no end: {:?}", unit.counts());
    }

    /// What a step would move on.
    fn progress(&self) -> (Vec<u64>, u64, u64, u64) {
        let unit = self.unit();
        let registers = [0x1c, 0x80, 0xdc, 0x64].map(|offset| unit.read(offset, 4)).to_vec();
        let counts = unit.counts();
        (registers, counts.descriptors, counts.host_calls, counts.page_responses)
    }

    /// What is waited for is waited for: nothing has been left lying.
    fn settle(&self, name: &str) {
        let first = self.run();
        let before = self.progress();
        let second = self.run();
        assert_eq!((first, before), (second, self.progress()), "{name}");
    }

    fn save_and_restore(&self, numbers: &mut Numbers) {
        let state = self.unit().save().unwrap();
        let state = match numbers.below(4) {
            0 => serde_json::from_str(&serde_json::to_string(&state).unwrap()).unwrap(),
            _ => state,
        };
        self.restore(&state);
    }

    fn restore(&self, state: &UnitState) {
        let config = config(&self.memory, &self.host, &self.allocator, &self.routes, &self.woken);
        let unit = RemappingUnit::restore(config, state, RestoreOnto::SameHost).unwrap();
        *self.routes.0.lock().unwrap() = Some(unit.clone());
        for (device, card) in &*self.cards.lock().unwrap() {
            *card.unit.lock().unwrap() = Some(unit.clone());
            card.owed.lock().unwrap().clear();
            unit.set_endpoint(*device, Arc::clone(card) as _).unwrap();
        }
        *self.unit.lock().unwrap() = unit;
    }

    /// Everything that is waited for comes, and all is taken down.
    pub(crate) fn take_down(&self, name: &str) {
        let unit = self.unit();
        self.failing.store(false, Ordering::Relaxed);
        let mut step = Step::More;
        for _ in 0..100 {
            self.cards.lock().unwrap().values().for_each(|card| card.answer_all());
            for view in unit.devices() {
                let _emulated = unit.retry(view.id);
            }
            step = self.run();
            if step == Step::Idle {
                break;
            }
        }
        assert_eq!(step, Step::Idle, "{name}: {:?}", unit.save());
        let counts = unit.counts().ledger;
        let held = self.host.inner().bindings();
        assert_eq!((counts.held, counts.contradicting), (held.len(), 0), "{name}");
        unit.reset(ResetKind::PowerOn);
        assert_eq!(self.run(), Step::Idle, "{name}");
        assert!(self.allocator.reserved().is_empty(), "{name}");
        for view in unit.devices() {
            unit.release(view.id).unwrap();
        }
        assert_eq!(self.run(), Step::Idle, "{name}");
        assert!(unit.devices().is_empty() && self.host.inner().bindings().is_empty(), "{name}");
        let counts = unit.counts().ledger;
        assert_eq!((counts.held, counts.failed, counts.mapped), (0, 0, 0), "{name}");
        self.cards.lock().unwrap().values().for_each(|card| *card.unit.lock().unwrap() = None);
        *self.routes.0.lock().unwrap() = None;
    }

    /// What the unit has asked for; after that a step that nobody asked for does nothing.
    fn heed_wakes(&self, name: &str) {
        let mut rounds = 0;
        while self.woken.0.swap(false, Ordering::SeqCst) {
            let _step = self.run();
            rounds += 1;
            assert!(rounds < STEPS, "{name}");
        }
        self.settle(name);
        self.woken.0.store(false, Ordering::SeqCst);
    }

    /// One of all those things. Save and restore take the unit away from whoever uses it, so they are done alone.
    pub(crate) fn act(&self, numbers: &mut Numbers, style: Style, depth: u32, name: &str) {
        let alone = style != Style::Together;
        match numbers.below(40) {
            0..8 => self.ring(numbers),
            8..12 => self.scribble(numbers),
            12 => self.command(numbers),
            13..17 => self.acknowledge(),
            17..19 => self.manage(numbers),
            19..27 => {
                let rounds = if depth < 2 { numbers.below(8) } else { 0 };
                self.request(numbers, &mut |numbers| {
                    (0..rounds).for_each(|_| self.act(numbers, style, depth + 1, name));
                });
            }
            27..30 => self.answer(numbers),
            30..33 if style != Style::Woken => {
                let _step = self.unit().step(u32::try_from(numbers.below(40)).unwrap());
            }
            33 => while self.unit().take_effect().is_some() {},
            34 if alone && numbers.below(4) == 0 => self.save_and_restore(numbers),
            34 => self.boot(),
            35 if numbers.below(20) == 0 => {
                self.unit().reset(numbers.of(&[ResetKind::Warm, ResetKind::PowerOn]));
                self.boot();
            }
            36 => self.failing.store(numbers.below(3) == 0, Ordering::Relaxed),
            37 if numbers.below(4) == 0 => self.any_register(numbers),
            _ if style == Style::Alone => self.settle(name),
            _ if style == Style::Together => {
                let _step = self.unit().step(DEFAULT_BUDGET);
            }
            _ => {}
        }
        if style == Style::Woken {
            self.heed_wakes(name);
        }
    }
}

pub(crate) fn config(
    memory: &Arc<SparseMemory>,
    host: &Host,
    allocator: &Arc<LocalPasidAllocator>,
    routes: &Arc<Routes>,
    woken: &Arc<Woken>,
) -> UnitConfig {
    let caps = Capabilities::new(CAP_ALL, ECAP_ALL).unwrap();
    let mut config = UnitConfig::new(caps, Arc::clone(memory) as _);
    config.host = Some(Arc::clone(host) as _);
    config.pasid_allocator = Some(Arc::clone(allocator) as _);
    config.interrupt_listener = Some(Arc::clone(routes) as _);
    config.wake = Some(Arc::clone(woken) as _);
    config.pasid_quota = 20;
    config.device_tlb_patience = Duration::MAX;
    config.quotas =
        Quotas { per_device: 5, per_unit: 8, mappings_per_device: 12, mappings_per_unit: 20 };
    config.capacities =
        Capacities { contexts: 4, pasids: 8, translations: 16, interrupt_entries: 4 };
    config
}
