//! The register page: what each offset reads and what a write to it does.

use vtd_spec::planted::is_planted;
use vtd_spec::register::{
    ContextCommand, GlobalCommand, GlobalStatus, IotlbCommand, PageRequestStatus, QueueError,
    QueueErrorInfo, RootTableAddress, TableMode, VirtualCommandCapability, VirtualCommandResponse,
    offset,
};
use vtd_spec::{Capabilities, SourceId};

use crate::InterruptMessage;
use crate::event_registers::EventRegisters;
use crate::fault_recording::FaultRecording;
use crate::invalidation_queue::tail_advances;
use crate::page_request_queue::PageRequestQueue;
use crate::protected_memory::{ProtectedMemoryRegisters, SavedProtectedMemory};

/// How a unit is reset.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ResetKind {
    /// Power-on: everything is as at the beginning.
    PowerOn,
    /// A warm reset: FSTS and the fault records survive.
    Warm,
}

/// Commands that software has given and the unit has not begun to carry out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub(crate) struct Commands {
    /// SRTP: use this value of RTADDR.
    pub(crate) root: Option<u64>,
    /// TE is to be this.
    pub(crate) translation: Option<bool>,
    /// QIE is to be cleared.
    pub(crate) queue_off: bool,
    /// QIE is to be set, after it is clear.
    pub(crate) queue_on: bool,
    /// ICC was set.
    pub(crate) context: bool,
    /// IVT was set.
    pub(crate) iotlb: bool,
    /// SIRTP: use this value of IRTA.
    #[serde(default)]
    pub(crate) interrupt_table: Option<u64>,
    /// IRE is to be this.
    #[serde(default)]
    pub(crate) interrupt_remapping: Option<bool>,
    /// CFI is to be this.
    #[serde(default)]
    pub(crate) compatibility: Option<bool>,
    /// EPM is to be this.
    #[serde(default)]
    pub(crate) protected_memory: Option<bool>,
    /// VCMD was written: VCRSP.IP is set until it is answered.
    #[serde(default)]
    pub(crate) virtual_command: Option<u64>,
}

/// The registers of a unit. Reads and writes are cheap and call nobody: what a write asks for waits in `commands`.
#[derive(Clone, Debug)]
pub(crate) struct RegisterPage {
    caps: Capabilities,
    version: u32,
    pub(crate) status: GlobalStatus,
    root: u64,
    /// RTADDR as SRTP latched it last.
    pub(crate) latched_root: u64,
    context_command: u64,
    invalidate_address: u64,
    iotlb_command: u64,
    pub(crate) faults: FaultRecording,
    fault_event: EventRegisters,
    invalidation_event: EventRegisters,
    page_request_event: EventRegisters,
    pub(crate) queue_head: u64,
    queue_tail: u64,
    queue_address: u64,
    queue_error: u64,
    wait_complete: bool,
    interrupt_table: u64,
    page_queue: PageRequestQueue,
    pub(crate) commands: Commands,
    /// What GCMD last asked TE and QIE to be.
    asked: (bool, bool),
    /// Software has asked the queue to go on: it wrote the tail, or cleared the error that stopped it.
    pub(crate) doorbell: bool,
    /// Software has moved the tail back over descriptors, or past the head: what it moves it over later is new.
    pub(crate) tail_withdrawn: bool,
    /// IRTA as SIRTP latched it last.
    pub(crate) latched_interrupt_table: Option<u64>,
    /// What GCMD last asked IRE and CFI to be.
    asked_interrupts: (bool, bool),
    pub(crate) protected_memory: ProtectedMemoryRegisters,
    /// The upper half of VCMD, for software that writes it by halves.
    virtual_operand: u32,
    virtual_response: VirtualCommandResponse,
}

/// The registers as they are saved, in raw integers.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub(crate) struct SavedRegisters {
    status: u32,
    root: u64,
    latched_root: u64,
    context_command: u64,
    invalidate_address: u64,
    iotlb_command: u64,
    fault_status: u32,
    fault_records: Vec<[u64; 2]>,
    next_fault_record: usize,
    fault_event: [u32; 4],
    invalidation_event: [u32; 4],
    page_request_event: [u32; 4],
    queue_head: u64,
    queue_tail: u64,
    queue_address: u64,
    queue_error: u64,
    wait_complete: bool,
    interrupt_table: u64,
    page_queue: [u64; 3],
    asked: (bool, bool),
    pub(crate) commands: Commands,
    /// PRS.
    #[serde(default)]
    page_request_status: u32,
    #[serde(default)]
    latched_interrupt_table: Option<u64>,
    /// Absent in states of before interrupts were remapped: there GSTS says it.
    #[serde(default)]
    asked_interrupts: Option<(bool, bool)>,
    #[serde(default)]
    protected_memory: SavedProtectedMemory,
    #[serde(default)]
    virtual_operand: u32,
    #[serde(default)]
    virtual_response: u64,
}

const IQ_POINTER: u64 = 0x7_fff0;
const PAGE_POINTER: u64 = 0x7_ffe0;

impl RegisterPage {
    pub(crate) fn new(caps: Capabilities, version: u32) -> Self {
        Self {
            caps,
            version,
            status: GlobalStatus::from_bits(0),
            root: 0,
            latched_root: 0,
            context_command: 0,
            invalidate_address: 0,
            iotlb_command: 0,
            faults: FaultRecording::new(caps.fault_record_count()),
            fault_event: EventRegisters::RESET,
            invalidation_event: EventRegisters::RESET,
            page_request_event: EventRegisters::RESET,
            queue_head: 0,
            queue_tail: 0,
            queue_address: 0,
            queue_error: 0,
            wait_complete: false,
            interrupt_table: 0,
            page_queue: PageRequestQueue::default(),
            commands: Commands::default(),
            asked: (false, false),
            doorbell: false,
            tail_withdrawn: false,
            latched_interrupt_table: None,
            asked_interrupts: (false, false),
            protected_memory: ProtectedMemoryRegisters::default(),
            virtual_operand: 0,
            virtual_response: VirtualCommandResponse::default(),
        }
    }

    pub(crate) fn reset(&mut self, kind: ResetKind) {
        let fresh = Self::new(self.caps, self.version);
        let old = std::mem::replace(self, fresh);
        if kind == ResetKind::Warm {
            self.faults = old.faults;
        }
    }

    /// Whether software has asked for anything that the engine has not taken up.
    pub(crate) fn is_asked(&self) -> bool {
        self.doorbell || self.commands != Commands::default()
    }

    /// What CAP and ECAP show.
    pub(crate) fn capabilities(&self) -> &Capabilities {
        &self.caps
    }

    /// CAP and ECAP show less than before: for a guest that has not seen them. What sizes the register page stays.
    pub(crate) fn show(&mut self, caps: Capabilities) {
        self.caps = caps;
    }

    /// Reads `size` bytes. Accesses that are not 4 or 8 bytes and aligned read 0.
    pub(crate) fn read(&self, place: u64, size: u8) -> u64 {
        match size {
            4 if place.is_multiple_of(4) => u64::from(self.read_word(place)),
            8 if place.is_multiple_of(8) => {
                u64::from(self.read_word(place)) | u64::from(self.read_word(place | 4)) << 32
            }
            _ => 0,
        }
    }

    /// Writes `size` bytes and returns the interrupts that this sends. Accesses that are not 4 or 8 bytes and aligned do
    /// nothing.
    pub(crate) fn write(&mut self, place: u64, size: u8, value: u64) -> Vec<InterruptMessage> {
        // Planted (row 3): eight bytes for a register of four end the process.
        assert!(!(is_planted(3) && size == 8 && place == offset::FECTL), "size == 4");
        let mut sent = Vec::new();
        let [low, high] = words(value);
        match size {
            4 if place.is_multiple_of(4) => self.write_word(place, low, &mut sent),
            // The lower half starts the command, so the upper one comes first.
            8 if place == offset::VCMD => {
                self.write_word(place | 4, high, &mut sent);
                self.write_word(place, low, &mut sent);
            }
            8 if place.is_multiple_of(8) => {
                self.write_word(place, low, &mut sent);
                self.write_word(place | 4, high, &mut sent);
            }
            _ => {}
        }
        sent
    }

    fn read_word(&self, place: u64) -> u32 {
        if self.lacks(place) {
            return 0;
        }
        let invalidate = self.caps.invalidate_register_offset();
        let event = |event: &EventRegisters, first: u64| {
            let index = usize::try_from((place - first) / 4).unwrap_or(usize::MAX);
            event.words().get(index).copied().unwrap_or(0)
        };
        let quad = match place & !7 {
            offset::VER => u64::from(self.version),
            offset::CAP => self.caps.cap(),
            offset::ECAP => self.caps.ecap(),
            // GCMD reads 0; GSTS is the upper half.
            offset::GCMD => u64::from(self.status.bits()) << 32,
            offset::RTADDR => self.root,
            offset::CCMD if self.has_register_invalidation() => self.context_command,
            // FSTS is the upper half.
            0x30 => u64::from(self.faults.status().bits()) << 32,
            offset::FECTL | offset::FEADDR => return event(&self.fault_event, offset::FECTL),
            // Planted (row 24): IQH is ahead of what is done.
            offset::IQH if is_planted(24) => self.queue_tail,
            offset::IQH => self.queue_head,
            offset::IQT => self.queue_tail,
            offset::IQA => self.queue_address,
            // ICS is the upper half.
            0x98 => u64::from(self.wait_complete) << 32,
            offset::IECTL | offset::IEADDR => {
                return event(&self.invalidation_event, offset::IECTL);
            }
            // Planted (row 14): IQERCD does not exist.
            offset::IQERCD if is_planted(114) => 0,
            offset::IQERCD => self.queue_error,
            offset::IRTA => self.interrupt_table,
            0x60..=offset::PHMLIMIT => return self.protected_memory.read_word(&self.caps, place),
            offset::VCRSP if self.caps.virtual_commands() => self.virtual_response.bits(),
            offset::VCCAP if self.caps.virtual_commands() => {
                VirtualCommandCapability { pasid_allocation: true }.bits()
            }
            offset::PQH if self.caps.page_requests() => self.page_queue.head,
            offset::PQT if self.caps.page_requests() => self.page_queue.tail,
            offset::PQA if self.caps.page_requests() => self.page_queue.address,
            // PRS is the upper half.
            0xd8 if self.caps.page_requests() => u64::from(self.page_queue.status.bits()) << 32,
            offset::PECTL | offset::PEADDR if self.caps.page_requests() => {
                return event(&self.page_request_event, offset::PECTL);
            }
            quad if quad == invalidate + 8 && self.has_register_invalidation() => {
                self.iotlb_command
            }
            _ => {
                return match self.fault_record_offset(place) {
                    Some(within) => self.faults.read_word(within),
                    None => 0,
                };
            }
        };
        let [low, high] = words(quad);
        if place & 4 == 0 { low } else { high }
    }

    fn write_word(&mut self, place: u64, value: u32, sent: &mut Vec<InterruptMessage>) {
        if self.lacks(place) {
            return;
        }
        let invalidate = self.caps.invalidate_register_offset();
        match place {
            offset::GCMD => self.write_command(GlobalCommand::from_bits(value)),
            offset::FSTS => {
                let stopped = self.faults.stops_queue();
                self.faults.write_status(value);
                self.settle_fault_event();
                // Clearing the error is as good as a new tail.
                self.doorbell |= stopped && !self.faults.stops_queue();
                // Planted (row 14): nothing is fetched until the tail is written again.
                if is_planted(14) && stopped {
                    self.queue_tail = self.queue_head;
                }
            }
            offset::FECTL..=offset::FEUADDR => {
                sent.extend(self.fault_event.write((place - offset::FECTL) / 4, value));
            }
            offset::IQT => {
                let tail = u64::from(value) & IQ_POINTER;
                self.tail_withdrawn |= !tail_advances(self.queue_head, self.queue_tail, tail);
                self.queue_tail = tail;
                self.doorbell = true;
            }
            offset::ICS => {
                if value & 1 == 1 {
                    self.wait_complete = false;
                    self.invalidation_event.settle();
                }
            }
            offset::IECTL..=offset::IEUADDR => {
                sent.extend(self.invalidation_event.write((place - offset::IECTL) / 4, value));
            }
            offset::PRS if self.caps.page_requests() => {
                self.page_queue.write_status(value);
                if !self.page_queue.has_cause() {
                    self.page_request_event.settle();
                }
            }
            offset::PMEN..=0x7f => {
                if let Some(on) = self.protected_memory.write_word(&self.caps, place, value) {
                    self.commands.protected_memory = Some(on);
                }
            }
            offset::VCMD if self.caps.virtual_commands() => self.write_virtual_command(value),
            0xe04 if self.caps.virtual_commands() => self.virtual_operand = value,
            offset::PECTL..=offset::PEUADDR if self.caps.page_requests() => {
                sent.extend(self.page_request_event.write((place - offset::PECTL) / 4, value));
            }
            _ => self.write_half(place, value, invalidate),
        }
    }

    /// Writes one half of a 64-bit register.
    fn write_half(&mut self, place: u64, value: u32, invalidate: u64) {
        let page_requests = self.caps.page_requests();
        let by_register = self.has_register_invalidation();
        let (register, writable) = match place & !7 {
            offset::RTADDR => (&mut self.root, !0x3ff),
            // CAIG says what was done, and is read-only.
            offset::CCMD if by_register => (&mut self.context_command, 0xe000_0003_ffff_ffff),
            offset::IQA => (&mut self.queue_address, !0x7f8),
            offset::IRTA if self.caps.interrupt_remapping() => {
                // EIME is reserved without EIM, and ignored.
                let extended = u64::from(self.caps.extended_interrupt_mode()) << 11;
                (&mut self.interrupt_table, !0xff0 | extended)
            }
            offset::PQH if page_requests => (&mut self.page_queue.head, PAGE_POINTER),
            offset::PQT if page_requests => (&mut self.page_queue.tail, PAGE_POINTER),
            offset::PQA if page_requests => (&mut self.page_queue.address, !0xff8),
            quad if quad == invalidate && by_register => (&mut self.invalidate_address, !0xf80),
            quad if quad == invalidate + 8 && by_register => {
                // IAIG says what was done, and is read-only.
                (&mut self.iotlb_command, 0xb003_ffff_0000_0000)
            }
            _ => {
                if let Some(within) = self.fault_record_offset(place) {
                    self.faults.write_word(within, value);
                    self.settle_fault_event();
                }
                return;
            }
        };
        let [low, high] = words(*register);
        let written = if place & 4 == 0 {
            u64::from(value) | u64::from(high) << 32
        } else {
            u64::from(low) | u64::from(value) << 32
        };
        *register = written & writable;
        if place & 4 == 4 {
            self.begin_register_invalidation(place & !7, invalidate);
        }
    }

    /// Whether this is a register of the invalidation queue, and there is none: IQH to IQERCD.
    fn lacks(&self, place: u64) -> bool {
        (offset::IQH..offset::IRTA).contains(&place) && !self.caps.queued_invalidation()
    }

    /// Whether CCMD, IVA and IOTLB exist: before major version 6.
    fn has_register_invalidation(&self) -> bool {
        self.version >> 4 & 0xf < 6
    }

    /// ICC and IVT start an invalidation.
    fn begin_register_invalidation(&mut self, register: u64, invalidate: u64) {
        if register == offset::CCMD {
            self.commands.context |= self.context_command().invalidate;
        }
        if register == invalidate + 8 {
            self.commands.iotlb |= self.iotlb_command().0.invalidate;
        }
    }

    /// One-shot bits act each time they are written; the others name a state, and only a change of it acts.
    ///
    /// WBF needs nothing: the unit reads and writes guest memory directly, so there is no write buffer, and the flush is over before
    /// GSTS.WBFS could be read. Without CAP.RWBF it is ignored all the same.
    fn write_command(&mut self, command: GlobalCommand) {
        if command.srtp {
            self.status.rtps = false;
            self.commands.root = Some(self.root);
        }
        if command.te != self.asked.0 {
            self.asked.0 = command.te;
            self.commands.translation = Some(command.te);
        }
        if command.qie != self.asked.1 && self.caps.queued_invalidation() {
            self.asked.1 = command.qie;
            self.commands.queue_on = command.qie;
            self.commands.queue_off |= !command.qie;
        }
        if self.caps.interrupt_remapping() {
            if command.sirtp {
                self.status.irtps = false;
                self.commands.interrupt_table = Some(self.interrupt_table);
            }
            if command.ire != self.asked_interrupts.0 {
                self.asked_interrupts.0 = command.ire;
                self.commands.interrupt_remapping = Some(command.ire);
            }
            if command.cfi != self.asked_interrupts.1 {
                self.asked_interrupts.1 = command.cfi;
                self.commands.compatibility = Some(command.cfi);
            }
        }
    }

    /// The lower half of VCMD starts a command, unless one is under way.
    fn write_virtual_command(&mut self, low: u32) {
        if !self.virtual_response.in_progress {
            self.virtual_response =
                VirtualCommandResponse { in_progress: true, ..Default::default() };
            let command = u64::from(self.virtual_operand) << 32 | u64::from(low);
            self.commands.virtual_command = Some(command);
        }
    }

    /// Answers the command under way.
    pub(crate) fn finish_virtual_command(&mut self, response: VirtualCommandResponse) {
        self.commands.virtual_command = None;
        self.virtual_response = response;
    }

    fn settle_fault_event(&mut self) {
        if !self.faults.has_cause() {
            self.fault_event.settle();
        }
    }

    /// Runs something that may set a cause of the fault event; the message to send if it was the first.
    pub(crate) fn with_fault_cause<T>(
        &mut self,
        cause: impl FnOnce(&mut FaultRecording) -> T,
    ) -> (T, Option<InterruptMessage>) {
        let had_cause = self.faults.has_cause();
        let result = cause(&mut self.faults);
        let sent =
            if !had_cause && self.faults.has_cause() { self.fault_event.raise() } else { None };
        (result, sent)
    }

    /// FSTS.IQE and IQERCD.
    pub(crate) fn stop_queue(&mut self, info: QueueErrorInfo) -> Option<InterruptMessage> {
        let error = QueueError { info, ..QueueError::from_bits(self.queue_error) };
        self.queue_error = error.bits();
        self.with_fault_cause(FaultRecording::set_queue_error).1
    }

    /// FSTS.ITE and IQERCD.
    pub(crate) fn time_out(&mut self, source_id: SourceId) -> Option<InterruptMessage> {
        let error =
            QueueError { time_out_source: source_id, ..QueueError::from_bits(self.queue_error) };
        self.queue_error = error.bits();
        self.with_fault_cause(FaultRecording::set_time_out).1
    }

    /// FSTS.ICE and IQERCD. The queue goes on.
    pub(crate) fn completion_error(&mut self, source_id: SourceId) -> Option<InterruptMessage> {
        let error =
            QueueError { completion_source: source_id, ..QueueError::from_bits(self.queue_error) };
        self.queue_error = error.bits();
        self.with_fault_cause(FaultRecording::set_completion_error).1
    }

    /// Runs something that may set a cause of the page request event; the message to send if it was the first.
    pub(crate) fn with_page_request_cause<T>(
        &mut self,
        cause: impl FnOnce(&mut PageRequestQueue) -> T,
    ) -> (T, Option<InterruptMessage>) {
        let had_cause = self.page_queue.has_cause();
        let result = cause(&mut self.page_queue);
        // Planted (row 20): an event for every request.
        let first = !had_cause || is_planted(220);
        let sent = if first && self.page_queue.has_cause() {
            self.page_request_event.raise()
        } else {
            None
        };
        (result, sent)
    }

    /// ICS.IWC: already set, there is no new event.
    pub(crate) fn complete_wait(&mut self) -> Option<InterruptMessage> {
        if std::mem::replace(&mut self.wait_complete, true) {
            return None;
        }
        self.invalidation_event.raise()
    }

    pub(crate) fn queue_tail(&self) -> u64 {
        self.queue_tail
    }

    pub(crate) fn queue_address(&self) -> u64 {
        self.queue_address
    }

    /// CCMD as software wrote it.
    pub(crate) fn context_command(&self) -> ContextCommand {
        ContextCommand::from_bits(self.context_command)
    }

    /// IOTLB and IVA as software wrote them.
    pub(crate) fn iotlb_command(&self) -> (IotlbCommand, u64) {
        (IotlbCommand::from_bits(self.iotlb_command), self.invalidate_address)
    }

    /// Whether the root table that SRTP would latch is one of scalable mode.
    pub(crate) fn names_scalable_mode(&self) -> bool {
        RootTableAddress::from_bits(self.root).mode == TableMode::Scalable
    }

    /// Clears ICC and says what was done: as much as was asked for, or nothing.
    pub(crate) fn finish_context_command(&mut self, done: bool) {
        let command = self.context_command();
        let actual = if done { command.requested } else { 0 };
        self.context_command = ContextCommand { invalidate: false, actual, ..command }.bits();
    }

    /// Clears IVT and says what was done: as much as was asked for, or nothing.
    pub(crate) fn finish_iotlb_command(&mut self, done: bool) {
        let (command, _) = self.iotlb_command();
        let actual = if done { command.requested } else { 0 };
        self.iotlb_command = IotlbCommand { invalidate: false, actual, ..command }.bits();
    }

    /// A byte offset within the fault recording registers.
    fn fault_record_offset(&self, place: u64) -> Option<u64> {
        let within = place.checked_sub(self.caps.fault_record_offset())?;
        (within < 16 * u64::from(self.caps.fault_record_count())).then_some(within)
    }

    pub(crate) fn save(&self) -> SavedRegisters {
        let (fault_status, fault_records, next_fault_record) = self.faults.save();
        SavedRegisters {
            status: self.status.bits(),
            root: self.root,
            latched_root: self.latched_root,
            context_command: self.context_command,
            invalidate_address: self.invalidate_address,
            iotlb_command: self.iotlb_command,
            fault_status,
            fault_records,
            next_fault_record,
            fault_event: self.fault_event.words(),
            invalidation_event: self.invalidation_event.words(),
            page_request_event: self.page_request_event.words(),
            queue_head: self.queue_head,
            queue_tail: self.queue_tail,
            queue_address: self.queue_address,
            queue_error: self.queue_error,
            wait_complete: self.wait_complete,
            interrupt_table: self.interrupt_table,
            page_queue: [self.page_queue.head, self.page_queue.tail, self.page_queue.address],
            asked: self.asked,
            commands: self.commands,
            page_request_status: self.page_queue.status.bits(),
            latched_interrupt_table: self.latched_interrupt_table,
            asked_interrupts: Some(self.asked_interrupts),
            protected_memory: self.protected_memory.save(),
            virtual_operand: self.virtual_operand,
            virtual_response: self.virtual_response.bits(),
        }
    }

    /// Enters saved registers; the name of the field that cannot be.
    pub(crate) fn restore(&mut self, saved: &SavedRegisters) -> Result<(), &'static str> {
        self.faults
            .restore(saved.fault_status, &saved.fault_records, saved.next_fault_record)
            .ok_or("fault_records")?;
        self.status = GlobalStatus::from_bits(saved.status);
        self.root = saved.root;
        self.latched_root = saved.latched_root;
        self.context_command = saved.context_command;
        self.invalidate_address = saved.invalidate_address;
        self.iotlb_command = saved.iotlb_command;
        self.fault_event = EventRegisters::from_words(saved.fault_event);
        self.invalidation_event = EventRegisters::from_words(saved.invalidation_event);
        self.page_request_event = EventRegisters::from_words(saved.page_request_event);
        self.queue_head = saved.queue_head & IQ_POINTER;
        self.queue_tail = saved.queue_tail & IQ_POINTER;
        self.queue_address = saved.queue_address;
        self.queue_error = saved.queue_error;
        self.wait_complete = saved.wait_complete;
        self.interrupt_table = saved.interrupt_table;
        let [head, tail, address] = saved.page_queue;
        let status = PageRequestStatus::from_bits(saved.page_request_status);
        self.page_queue = PageRequestQueue { head, tail, address, status };
        self.asked = saved.asked;
        self.commands = saved.commands;
        let GlobalStatus { irtps, ires, cfis, .. } = self.status;
        // States of before interrupts were remapped have IRTA alone.
        self.latched_interrupt_table =
            saved.latched_interrupt_table.or(irtps.then_some(saved.interrupt_table));
        self.asked_interrupts = saved.asked_interrupts.unwrap_or((ires, cfis));
        self.protected_memory =
            ProtectedMemoryRegisters::restore(&self.caps, &saved.protected_memory);
        self.virtual_operand = saved.virtual_operand;
        self.virtual_response = VirtualCommandResponse::from_bits(saved.virtual_response);
        // IP is set as long as there is a command, and no longer.
        self.virtual_response.in_progress = self.commands.virtual_command.is_some();
        Ok(())
    }
}

/// The low and the high half of a quadword.
fn words(quad: u64) -> [u32; 2] {
    let [a, b, c, d, e, f, g, h] = quad.to_le_bytes();
    [u32::from_le_bytes([a, b, c, d]), u32::from_le_bytes([e, f, g, h])]
}
