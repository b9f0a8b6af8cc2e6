//! The machine of a recording: memory, registers, devices, and what the lines say happened to them.

use std::collections::VecDeque;

use vtd_model::{
    Capabilities, Descriptor, DeviceTlb, DeviceTlbScope, History, Invalidation, QueueStep,
    Registers, Wait,
};
use vtd_recording::format::{Event, FaultedRequest, FormatVersion, Header, PageRange, PasidScope};

use super::Report;
use super::devices::{Device, Devices};
use super::host_state::{HostState, Scope};
use super::known_memory::KnownMemory;
use super::page_requests::Expected;

/// The model, driven by the lines of a recording.
pub(super) struct Machine {
    pub(super) registers: Registers,
    pub(super) memory: KnownMemory,
    pub(super) history: History,
    pub(super) devices: Devices,
    pub(super) report: Report,
    pub(super) strict: bool,
    pub(super) ignores_faults: bool,
    ignores_writes: bool,
    ignores_device_tlb: bool,
    ignores_answers: bool,
    /// A host call failed: what waits do from then on is not for the tables to say.
    pub(super) host_failed: bool,
    /// The wait statuses that the model expects.
    statuses: VecDeque<(u64, u32)>,
    told: VecDeque<DeviceTlb>,
    /// A wait that waits for devices. It stands at the head, or the queue was disabled behind it.
    waiting: Option<Wait>,
    /// Time-outs that are told when ITE is clear.
    timeouts: u32,
    /// What page requests lead to.
    pub(super) expected: Expected,
    pub(super) host: HostState,
    /// The host shadows second-stage tables.
    pub(super) shadows: bool,
    /// `fault` lines since the last request.
    pub(super) faults: Vec<Event>,
    /// Accessed and dirty bits since the last request: address and bytes.
    pub(super) updates: Vec<(u64, u64)>,
}

impl Machine {
    pub(super) fn new(header: &Header) -> Self {
        let mut capabilities = Capabilities::new(header.cap, header.ecap);
        if let Some(width) = header.host_address_width {
            capabilities.haw = width;
        }
        Self {
            registers: Registers::new(capabilities),
            memory: KnownMemory::default(),
            history: if header.strict {
                History::with_dependents(capabilities)
            } else {
                History::new(capabilities)
            },
            devices: Devices::default(),
            report: Report::default(),
            strict: header.strict,
            ignores_faults: header.ignore.fault,
            ignores_writes: header.ignore.iommu_write,
            ignores_device_tlb: header.ignore.device_tlb,
            ignores_answers: header.ignore.page_response,
            host_failed: false,
            statuses: VecDeque::new(),
            told: VecDeque::new(),
            waiting: None,
            timeouts: 0,
            expected: Expected::default(),
            host: HostState::default(),
            shadows: header.format_version == FormatVersion::Two,
            faults: Vec::new(),
            updates: Vec::new(),
        }
    }

    /// Takes one line.
    pub(super) fn take(&mut self, line: u64, event: &Event) {
        if !is_output(event) {
            self.compare_host(line);
        }
        match event {
            Event::Mem { gpa, bytes } => self.memory.write(gpa.0, bytes, &mut self.history),
            Event::Zero { gpa } => self.memory.clear(gpa.0, &mut self.history),
            Event::Write { offset, size, value } => self.write(*offset, *size, *value),
            Event::Read { offset, size, value }
                if self.strict && matches!(size, 4 | 8) && offset % u64::from(*size) == 0 =>
            {
                self.compare_register(line, *offset, *value);
            }
            Event::IommuWrite { gpa, bytes } => self.unit_wrote(line, gpa.0, bytes),
            Event::DeviceTlb { source_id, pasids, range } => {
                self.device_told(line, source_id.0, *pasids, *range);
            }
            Event::DeviceTlbDone { source_id } => {
                let _late = !self.devices.done(source_id.0);
                self.run_queue();
            }
            Event::DeviceTlbTimeout { source_id } => self.time_out(source_id.0),
            Event::Endpoint { source_id, later } => {
                let outstanding = self.devices.outstanding(source_id.0);
                self.devices.set(
                    source_id.0,
                    if *later { Device::Later(outstanding) } else { Device::Endpoint },
                );
                self.run_queue();
            }
            Event::Assign { source_id } => {
                self.devices.set(source_id.0, Device::Assigned);
                self.host.covered(Scope::Device(source_id.0));
            }
            Event::Release { source_id } => {
                self.devices.remove(source_id.0);
                self.host.released(source_id.0);
                self.run_queue();
            }
            Event::Renumber { source_id, new } => {
                self.devices.renumber(source_id.0, new.0);
                self.host.renumbered(source_id.0, new.0);
                self.host.covered(Scope::Device(new.0));
            }
            Event::Host(call) => self.host.called(call),
            Event::PageRequest { .. } => self.request_page(event),
            Event::PageResponse { .. } => self.answered(line, event),
            Event::HostFail => self.host_failed = true,
            Event::Reset => {
                self.registers.reset();
                self.history.invalidated(Invalidation::Everything);
                self.devices.reset();
                self.waiting = None;
                self.timeouts = 0;
                self.statuses.clear();
                self.told.clear();
                self.expected.clear();
                self.host.covered(Scope::Everything);
            }
            Event::Fault { request: FaultedRequest::PageRequest, .. } => {
                self.page_request_faulted(line, event);
            }
            Event::Fault { .. } => self.faults.push(event.clone()),
            Event::Dma { .. }
            | Event::Translate { .. }
            | Event::Translated { .. }
            | Event::Interrupt { .. } => self.judge(line, event),
            _ => {}
        }
    }

    /// The figures, and what was expected and never came.
    pub(super) fn finish(mut self) -> Report {
        self.compare_host(u64::MAX);
        self.expect_no_status(u64::MAX);
        if let Some(missing) = self.expected.missing() {
            self.report.difference(u64::MAX, missing);
        }
        self.report
    }

    fn write(&mut self, offset: u64, size: u8, value: u64) {
        let before = self.registers.unit.translation;
        for invalidation in self.registers.write(offset, size, value) {
            self.history.invalidated(invalidation);
            self.host.covered(Scope::Invalidation(invalidation));
        }
        if self.registers.unit.translation != before {
            self.host.covered(Scope::Everything);
        }
        if self.timeouts > 0 && !self.registers.queue.timeout && self.registers.queue.enabled {
            self.timeouts -= 1;
            self.registers.queue.timeout = true;
            self.abort_wait();
        }
        self.run_queue();
    }

    /// Registers that say how far the queues are, and why one stands still.
    fn compare_register(&mut self, line: u64, offset: u64, value: u64) {
        let Registers { unit, queue, faults, .. } = &self.registers;
        let requests = &unit.page_requests;
        let (name, seen, expected) = match offset {
            0x1c if self.host_failed || self.devices.is_waited_for() => return,
            0x1c => {
                let state = u64::from(unit.translation) << 31
                    | u64::from(queue.enabled) << 26
                    | u64::from(unit.interrupts.enabled) << 25
                    | u64::from(unit.interrupts.compatibility) << 23;
                ("read of GSTS", value & 0x8680_0000, state)
            }
            0x34 => {
                let causes = u64::from(queue.timeout) << 6
                    | u64::from(queue.error) << 4
                    | u64::from(faults.is_pending()) << 1
                    | u64::from(faults.overflow);
                ("read of FSTS", value & 0x53, causes)
            }
            // With a failed host call, or something outstanding when it is disabled, the queue stands still for a while.
            0x80 if self.host_failed || !queue.enabled && self.devices.is_waited_for() => return,
            0x80 => ("read of IQH", value, queue.head),
            0xb0 => ("read of IQEI", value & 0xf, u64::from(queue.code)),
            0xc8 => ("read of PQT", value, requests.tail),
            0xdc => {
                let status = u64::from(requests.overflow) << 1 | u64::from(requests.pending);
                ("read of PRS", value & 3, status)
            }
            _ => return,
        };
        if seen == expected {
            self.report.count(name);
        } else {
            self.report.difference(line, format!("{name} is {seen:x} in place of {expected:x}"));
        }
    }

    /// Carries out descriptors until the queue is empty or has to wait.
    fn run_queue(&mut self) {
        if let Some(wait) = self.waiting
            && !self.registers.queue.enabled
            && !self.devices.is_waited_for()
        {
            self.complete(wait);
        }
        loop {
            let capabilities = self.registers.unit.capabilities;
            match self.registers.queue.step(capabilities, &self.memory) {
                QueueStep::Idle | QueueStep::Stopped { .. } => return,
                QueueStep::Descriptor(descriptor) => {
                    if !self.carry_out(descriptor) {
                        return;
                    }
                }
            }
        }
    }

    fn carry_out(&mut self, descriptor: Descriptor) -> bool {
        match descriptor {
            Descriptor::Invalidation(invalidation) => {
                self.history.invalidated(invalidation);
                self.host.covered(Scope::Invalidation(invalidation));
            }
            Descriptor::Wait(wait) if self.devices.is_waited_for() => {
                self.registers.queue.back();
                self.waiting = Some(wait);
                return false;
            }
            Descriptor::Wait(wait) => self.complete(wait),
            Descriptor::DeviceTlb(told) => {
                if self.devices.is_endpoint(told.source_id) {
                    self.devices.told(told.source_id);
                    self.told.push_back(told);
                }
            }
            Descriptor::PageGroupResponse(answer) => {
                if self.devices.takes_answers(answer.source_id) && !self.ignores_answers {
                    self.expected.answer(answer);
                }
            }
        }
        true
    }

    fn complete(&mut self, wait: Wait) {
        self.waiting = None;
        if let Some((address, value)) = wait.status {
            self.statuses.push_back((address, value));
            self.memory.write(address, &value.to_le_bytes(), &mut self.history);
        }
    }

    /// ITE: the wait at the head is aborted.
    fn time_out(&mut self, source_id: u16) {
        if !self.devices.done(source_id) {
            return;
        }
        if std::mem::replace(&mut self.registers.queue.timeout, true) {
            self.timeouts += 1;
        } else {
            self.abort_wait();
        }
    }

    fn abort_wait(&mut self) {
        let queue = &mut self.registers.queue;
        if self.waiting.take().is_some() && queue.enabled {
            queue.head = (queue.head + queue.descriptor_size()) % queue.size();
        }
    }

    /// Something that the unit wrote: a wait status, accessed and dirty bits, or a page request.
    fn unit_wrote(&mut self, line: u64, gpa: u64, bytes: &[u8]) {
        if let Ok(status) = <[u8; 4]>::try_from(bytes) {
            if self.ignores_writes {
                return;
            }
            let seen = (gpa, u32::from_le_bytes(status));
            match self.statuses.pop_front() {
                Some(expected) if expected == seen => self.report.count("wait status"),
                expected => self
                    .report
                    .difference(line, format!("a wait status {seen:x?} in place of {expected:x?}")),
            }
        } else if let Ok(qword) = <[u8; 8]>::try_from(bytes) {
            self.updates.push((gpa, u64::from_le_bytes(qword)));
        } else if bytes.len() != 32 {
            self.report.difference(line, format!("{} bytes are written to {gpa:x}", bytes.len()));
        } else {
            self.page_request_written(line, gpa, bytes);
        }
    }

    fn expect_no_status(&mut self, line: u64) {
        if !self.host_failed && !self.ignores_writes {
            for status in std::mem::take(&mut self.statuses) {
                self.report.difference(line, format!("no wait status {status:x?}"));
            }
            for told in std::mem::take(&mut self.told) {
                if !self.ignores_device_tlb {
                    self.report.difference(line, format!("the device is not told {told:x?}"));
                }
            }
        }
    }

    fn device_told(&mut self, line: u64, source_id: u16, scope: PasidScope, range: PageRange) {
        if self.ignores_device_tlb {
            return;
        }
        let (first, last) = match range {
            PageRange::Everything => (0, u64::MAX),
            PageRange::Pages { address, pages } => {
                (address.0, address.0.wrapping_add(pages << 12).wrapping_sub(1))
            }
        };
        let scope = match scope {
            PasidScope::WithoutPasid => DeviceTlbScope::WithoutPasid,
            PasidScope::Pasid(pasid) => DeviceTlbScope::Pasid(pasid.get()),
            PasidScope::EveryPasid => DeviceTlbScope::AllPasids,
        };
        let pages = vtd_model::Pages { first, last, leaf_only: false };
        let seen = DeviceTlb { source_id, scope, pages };
        match self.told.pop_front() {
            Some(expected) if expected == seen => self.report.count("device-tlb"),
            expected => {
                let what = format!("told {seen:x?} in place of {expected:x?}");
                self.report.difference(line, what);
            }
        }
    }
}

/// Whether a line is what an input before it led to.
const fn is_output(event: &Event) -> bool {
    matches!(
        event,
        Event::Fault { .. }
            | Event::IommuWrite { .. }
            | Event::Msi { .. }
            | Event::Host(_)
            | Event::DeviceTlb { .. }
            | Event::PageResponse { .. }
            | Event::InterruptEntries(_)
    )
}
