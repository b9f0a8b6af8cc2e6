//! A small guest: its tables, its queue and its devices.

use std::cell::Cell;
use std::sync::{Arc, Mutex};

use vtd::host::{FailingHost, HostCall, HostDevice, ModelHost};
use vtd::spec::{Binding, Capabilities, Gpa, Iova, Pasid, Slot, SourceId};
use vtd::{
    Access, Attachment, Capacities, Completion, DeviceId, DiagnosticLimits, DmaError, DmaHandle,
    Effect, Quotas, RemappingUnit, TranslationRequest, UnitConfig,
};

use crate::ram::{Ram, Tape};
use crate::raw::*;

/// What a guest's unit is made of.
#[derive(Clone, Copy)]
pub(crate) struct Shape {
    pub(crate) cap: u64,
    pub(crate) ecap: u64,
    pub(crate) capacities: Capacities,
    pub(crate) quotas: Quotas,
    pub(crate) limits: DiagnosticLimits,
}

impl Default for Shape {
    fn default() -> Self {
        // Caches small enough to be made anew for each of many units.
        let capacities =
            Capacities { contexts: 16, pasids: 64, translations: 512, interrupt_entries: 16 };
        let (quotas, limits) = (Quotas::default(), DiagnosticLimits::default());
        Self { cap: CAP, ecap: ECAP, capacities, quotas, limits }
    }
}

impl Shape {
    /// Every request is walked for, so no invalidation is needed between changes.
    pub(crate) fn uncached() -> Self {
        Self { capacities: Capacities::NONE, ..Self::default() }
    }
}

pub(crate) struct Guest {
    pub(crate) ram: Arc<Ram>,
    pub(crate) host: Arc<FailingHost<ModelHost>>,
    pub(crate) unit: RemappingUnit,
    tape: Tape,
    tail: Cell<u64>,
    status: Cell<u32>,
    next_host_device: Cell<u64>,
}

/// A fault record as integers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Record {
    pub(crate) address: u64,
    pub(crate) source: u64,
    pub(crate) pasid: Option<u64>,
    pub(crate) code: u64,
    /// T1: the request read.
    pub(crate) read: bool,
    /// AT: untranslated, a translation request, translated.
    pub(crate) address_type: u64,
}

impl Guest {
    /// A unit after power-on, over memory that holds tables which nothing points to yet but the root table.
    pub(crate) fn off(shape: Shape) -> Self {
        let tape = Tape::default();
        let ram = Arc::new(Ram::new(Arc::clone(&tape)));
        let host = Arc::new(FailingHost::new(ModelHost::new()));
        let caps = Capabilities::new(shape.cap, shape.ecap).unwrap();
        let mut config = UnitConfig::new(caps, Arc::clone(&ram) as _);
        config.host = Some(Arc::clone(&host) as _);
        config.capacities = shape.capacities;
        config.quotas = shape.quotas;
        config.diagnostic_limits = shape.limits;
        let guest = Self {
            ram,
            host,
            unit: RemappingUnit::new(config),
            tape,
            tail: Cell::new(0),
            status: Cell::new(0),
            next_host_device: Cell::new(1),
        };
        guest.fail_host_calls(|_| false);
        guest.lay_out();
        guest
    }

    /// A unit in scalable mode, its queue enabled, with a context entry for `DEVICE` whose PASIDs are all absent.
    pub(crate) fn of(shape: Shape) -> Self {
        let guest = Self::off(shape);
        guest.enable_queue(QUEUE | 0x800);
        guest.set_root(ROOT | 0x400);
        guest.command(QIE | TE);
        guest
    }

    pub(crate) fn new() -> Self {
        Self::of(Shape::default())
    }

    fn lay_out(&self) {
        for page in [ROOT, LOWER_CONTEXTS, UPPER_CONTEXTS, QUEUE, STATUS, DIRECTORY, PASIDS] {
            self.ram.pages.fill_zero_page(vtd::spec::Gpa(page));
        }
        self.ram.put(ROOT, &[LOWER_CONTEXTS | 1, UPPER_CONTEXTS | 1]);
        self.set_context(DEVICE, [DIRECTORY | 9, 0, 0, 0]);
        self.ram.put(DIRECTORY, &[PASIDS | 1]);
        for (table, frame) in [(FIRST_A, FRAME_A), (FIRST_B, FRAME_B), (SECOND, FRAME_SECOND)] {
            // Present, writable and, for a first stage, of the user; for a second stage read, write and ignored.
            let bits = if table == SECOND { 3 } else { 7 };
            for level in 0..3 {
                let page = table + level * 0x1000;
                self.ram.put(page, &[page + 0x1000 | bits]);
            }
            self.ram.put(table + 0x3000 + (PAGE >> 12) * 8, &[frame | bits]);
        }
    }

    pub(crate) fn write32(&self, offset: u64, value: u64) {
        self.unit.write(offset, 4, value);
    }

    pub(crate) fn write64(&self, offset: u64, value: u64) {
        self.unit.write(offset, 8, value);
    }

    pub(crate) fn read32(&self, offset: u64) -> u64 {
        self.unit.read(offset, 4)
    }

    pub(crate) fn read64(&self, offset: u64) -> u64 {
        self.unit.read(offset, 8)
    }

    /// Writes GCMD and lets the unit carry it out.
    pub(crate) fn command(&self, value: u64) {
        self.write32(GCMD, value);
        self.run();
    }

    pub(crate) fn run(&self) {
        let _left = self.unit.run();
    }

    /// Enables the queue with this IQA; translation goes off.
    pub(crate) fn enable_queue(&self, queue_address: u64) {
        self.tail.set(0);
        self.write64(IQT, 0);
        self.write64(IQA, queue_address);
        self.command(QIE);
        assert_eq!(self.read32(GSTS) & QIE, QIE, "the queue is enabled");
    }

    /// Latches RTADDR with the queue enabled and translation off.
    pub(crate) fn set_root(&self, root: u64) {
        self.write64(RTADDR, root);
        self.command(QIE | SRTP);
        assert_eq!(self.read32(GSTS) & SRTP, SRTP, "the root table is latched");
    }

    pub(crate) fn set_context(&self, source: u16, entry: [u64; 4]) {
        self.ram.put(context_place(source), &entry);
    }

    /// Writes an entry of the first PASID table.
    pub(crate) fn set_pasid(&self, pasid: u64, entry: [u64; 8]) {
        self.ram.put(PASIDS + pasid * 64, &entry);
    }

    /// Puts 256-bit descriptors into a queue of one page and rings the doorbell, but steps no further.
    pub(crate) fn ring(&self, descriptors: &[[u64; 4]]) {
        for descriptor in descriptors {
            self.ram.put(QUEUE + self.tail.get(), descriptor);
            self.tail.set((self.tail.get() + 32) % 0x1000);
        }
        self.write64(IQT, self.tail.get());
    }

    /// Carries out descriptors and a wait behind them; whether the wait's status has been written.
    pub(crate) fn try_flush(&self, descriptors: &[[u64; 4]]) -> bool {
        self.status.set(self.status.get() + 1);
        let descriptors: Vec<_> =
            descriptors.iter().copied().chain([wait(self.status.get())]).collect();
        self.ring(&descriptors);
        self.run();
        self.ram.status(STATUS) == self.status.get()
    }

    /// Whether the last wait's status has been written.
    pub(crate) fn is_flushed(&self) -> bool {
        self.ram.status(STATUS) == self.status.get()
    }

    pub(crate) fn flush(&self, descriptors: &[[u64; 4]]) {
        assert!(self.try_flush(descriptors), "the wait behind {descriptors:x?} completes");
    }

    pub(crate) fn emulated(&self) -> Dma {
        let id = self.unit.attach(SourceId(DEVICE), Attachment::Emulated).unwrap();
        Dma { unit: self.unit.clone(), id }
    }

    pub(crate) fn assigned(&self) -> Assigned<'_> {
        self.assigned_at(DEVICE)
    }

    pub(crate) fn assigned_at(&self, source: u16) -> Assigned<'_> {
        let host = HostDevice(self.next_host_device.replace(self.next_host_device.get() + 1));
        self.host.inner().add_device(host);
        let id = self.unit.attach(SourceId(source), Attachment::Assigned(host)).unwrap();
        self.run();
        Assigned { guest: self, host, id }
    }

    /// Host calls and status writes since the last time.
    pub(crate) fn take_tape(&self) -> Vec<String> {
        std::mem::take(&mut self.tape.lock().unwrap())
    }

    /// Host calls fail for which `fails` holds.
    pub(crate) fn fail_host_calls(
        &self,
        fails: impl Fn(&HostCall<'_>) -> bool + Send + Sync + 'static,
    ) {
        let tape = Arc::clone(&self.tape);
        self.host.fail_calls(move |call| {
            tape.lock().unwrap().push(name(call));
            fails(call)
        });
    }

    /// Calls `look` from inside every host call.
    pub(crate) fn on_host_calls(&self, look: impl FnMut() + Send + 'static) {
        let looker = Mutex::new(look);
        self.fail_host_calls(move |_| {
            (looker.lock().unwrap())();
            false
        });
    }

    /// The pending fault records, which are cleared, in the order of the registers. PFO is cleared too.
    pub(crate) fn take_records(&self) -> Vec<Record> {
        let records: Vec<_> = (0..8)
            .filter_map(|index| {
                let place = RECORDS + index * 16;
                let [low, high] = [self.read64(place), self.read64(place + 8)];
                if high >> 63 == 0 {
                    return None;
                }
                self.write32(place + 12, 1 << 31);
                Some(Record {
                    address: low,
                    source: high & 0xffff,
                    pasid: (high >> 31 & 1 == 1).then_some(high >> 40 & 0xf_ffff),
                    code: high >> 32 & 0xff,
                    read: high >> 62 & 1 == 1,
                    address_type: high >> 60 & 3,
                })
            })
            .collect();
        self.write32(FSTS, 1);
        records
    }

    pub(crate) fn effects(&self) -> Vec<Effect> {
        std::iter::from_fn(|| self.unit.take_effect()).collect()
    }
}

/// Where the scalable-mode context entry of a device on bus 0 lies.
pub(crate) fn context_place(source: u16) -> u64 {
    let table = if source & 0x80 == 0 { LOWER_CONTEXTS } else { UPPER_CONTEXTS };
    table + u64::from(source & 0x7f) * 32
}

fn name(call: &HostCall<'_>) -> String {
    match call {
        HostCall::Bind { device, slot, binding } => format!("bind {} {slot} {binding}", device.0),
        HostCall::Replace { device, slot, binding } => {
            format!("replace {} {slot} {binding}", device.0)
        }
        HostCall::Unbind { device, slot } => format!("unbind {} {slot}", device.0),
        HostCall::Invalidate { device, slot, batch } => {
            let ranges: Vec<_> = batch.iter().map(|one| one.range.to_string()).collect();
            format!("invalidate {} {slot} {}", device.0, ranges.join(", "))
        }
        HostCall::Map { device, slot, mapping } => {
            format!("map {} {slot} {:x} {:x}", device.0, mapping.iova.0, mapping.pages)
        }
        HostCall::Unmap { device, slot, first, pages } => {
            format!("unmap {} {slot} {:x} {pages:x}", device.0, first.0)
        }
        other => format!("{other:?}"),
    }
}

/// The DMA of an emulated device.
pub(crate) struct Dma {
    unit: RemappingUnit,
    pub(crate) id: DeviceId,
}

impl Dma {
    pub(crate) fn handle(&self, pasid: Option<u64>) -> DmaHandle {
        self.unit.dma(self.id, pasid.map(pasid_of)).unwrap()
    }

    /// Where an access leads, or what it gets instead.
    pub(crate) fn access(
        &self,
        pasid: Option<u64>,
        address: u64,
        access: Access,
    ) -> Result<u64, DmaError> {
        self.handle(pasid).with_guard(|guard| {
            guard.translate(Iova(address), access).map(|found| found.address().0)
        })
    }

    /// Makes a translation request for reads and writes.
    pub(crate) fn ask(&self, pasid: Option<u64>, address: u64) -> Result<Completion, DmaError> {
        let asked = TranslationRequest::READ_WRITE;
        self.handle(pasid).with_guard(|guard| guard.translation_request(Iova(address), asked))
    }

    /// Makes a translated request, which has no PASID.
    pub(crate) fn translated(&self, address: u64) -> Result<u64, DmaError> {
        let read = Access::READ;
        self.handle(None).with_guard(|guard| guard.translated(Gpa(address), read)).map(|gpa| gpa.0)
    }

    pub(crate) fn read(&self, pasid: Option<u64>, address: u64) -> Result<u64, DmaError> {
        self.access(pasid, address, Access::READ)
    }

    pub(crate) fn write(&self, pasid: Option<u64>, address: u64) -> Result<u64, DmaError> {
        self.access(pasid, address, Access::WRITE)
    }

    /// As [`read`](Self::read), with the code of the fault in place of the whole error.
    pub(crate) fn read_or_code(&self, pasid: Option<u64>, address: u64) -> Result<u64, u8> {
        self.read(pasid, address).map_err(code)
    }

    pub(crate) fn write_or_code(&self, pasid: Option<u64>, address: u64) -> Result<u64, u8> {
        self.write(pasid, address).map_err(code)
    }
}

/// The architecture's code of a fault; 0 for a request that is blocked without one.
pub(crate) fn code(error: DmaError) -> u8 {
    match error {
        DmaError::Fault(fault) => fault.reason.code(),
        DmaError::Blocked => 0,
        other => panic!("neither a fault nor blocked: {other}"),
    }
}

pub(crate) fn pasid_of(number: u64) -> Pasid {
    Pasid::new(u32::try_from(number).unwrap()).unwrap()
}

/// An assigned device.
pub(crate) struct Assigned<'g> {
    guest: &'g Guest,
    pub(crate) host: HostDevice,
    pub(crate) id: DeviceId,
}

impl Assigned<'_> {
    /// What the host holds for a PASID, as text: `fs4 100000` or `pt 0`.
    pub(crate) fn bound(&self, pasid: u64) -> Option<String> {
        self.bound_at(Slot::Pasid(pasid_of(pasid)))
    }

    /// What the host holds for requests without PASID.
    pub(crate) fn rid_bound(&self) -> Option<String> {
        self.bound_at(Slot::Rid)
    }

    fn bound_at(&self, slot: Slot) -> Option<String> {
        self.guest.host.inner().binding(self.host, slot).map(|held: Binding| held.to_string())
    }

    /// How many PASIDs the host holds, besides requests without PASID.
    pub(crate) fn bound_pasids(&self) -> usize {
        let held = self.guest.host.inner().bindings();
        held.iter().filter(|(host, slot, _)| *host == self.host && *slot != Slot::Rid).count()
    }
}
