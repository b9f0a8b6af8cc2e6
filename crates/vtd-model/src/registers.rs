//! What register writes change of what decides about requests.

use crate::bits::{bit, field, low8, low32, mask};
use crate::capabilities::Capabilities;
use crate::fault_records::FaultRecords;
use crate::invalidation::Invalidation;
use crate::queue::Queue;
use crate::unit::Unit;

const SRTP: u32 = 1 << 30;
const QIE: u32 = 1 << 26;
const IRE: u32 = 1 << 25;
const SIRTP: u32 = 1 << 24;
const CFI: u32 = 1 << 23;
const TE: u32 = 1 << 31;

/// The registers that a guest writes, and what they have latched. Commands are over at once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Registers {
    /// What requests see.
    pub unit: Unit,
    /// The invalidation queue.
    pub queue: Queue,
    /// The fault recording registers.
    pub faults: FaultRecords,
    root: u64,
    queue_address: u64,
    interrupt_table: u64,
    context_command: u64,
    invalidate_address: u64,
    iotlb: u64,
}

impl Registers {
    /// Registers after power-on.
    #[must_use]
    pub fn new(capabilities: Capabilities) -> Self {
        Self {
            unit: Unit::new(capabilities),
            queue: Queue::default(),
            faults: FaultRecords::new(usize::from(low8(field(capabilities.cap, 47, 40))) + 1),
            root: 0,
            queue_address: 0,
            interrupt_table: 0,
            context_command: 0,
            invalidate_address: 0,
            iotlb: 0,
        }
    }

    /// A power-on reset. It drops everything from the caches.
    pub fn reset(&mut self) {
        *self = Self::new(self.unit.capabilities);
    }

    /// The guest writes a register; what is not an aligned access of 4 or 8 bytes is ignored. Returned is what the write
    /// drops from the caches. Descriptors that it makes fetchable are left to [`Queue::step`].
    pub fn write(&mut self, offset: u64, size: u8, value: u64) -> Vec<Invalidation> {
        let mut dropped = Vec::new();
        match size {
            _ if offset > 0xffff => {}
            4 if offset.is_multiple_of(4) => self.write_half(offset, low32(value), &mut dropped),
            8 if offset.is_multiple_of(8) => {
                self.write_half(offset, low32(value), &mut dropped);
                self.write_half(offset + 4, low32(value >> 32), &mut dropped);
            }
            _ => {}
        }
        dropped
    }

    fn write_half(&mut self, offset: u64, value: u32, dropped: &mut Vec<Invalidation>) {
        let caps = self.unit.capabilities;
        let iotlb = field(caps.ecap, 17, 8) * 16;
        let records = field(caps.cap, 33, 24) * 16;
        let records_end = records + 16 * (field(caps.cap, 47, 40) + 1);
        let regions = &mut self.unit.protected;
        let page_requests = &mut self.unit.page_requests;
        match offset {
            0x18 => self.command(value, dropped),
            0x20 => set_low(&mut self.root, value),
            0x24 => set_high(&mut self.root, value),
            0x28 => set_low(&mut self.context_command, value),
            0x2c => {
                set_high(&mut self.context_command, value);
                self.invalidate_context(dropped);
            }
            0x34 => {
                // RW1C.
                self.faults.overflow &= value & 1 == 0;
                self.queue.error &= value & 1 << 4 == 0;
                self.queue.timeout &= value & 1 << 6 == 0;
            }
            0x64 if caps.plmr() || caps.phmr() => regions.enabled = value >> 31 == 1,
            // What reads back is what is protected: no writes while it is on.
            0x68 if !regions.enabled => regions.low_base = value & 0xffe0_0000,
            0x6c if !regions.enabled => regions.low_limit = value & 0xffe0_0000,
            0x70 if !regions.enabled => set_low(&mut regions.high_base, value & 0xffe0_0000),
            0x74 if !regions.enabled => {
                set_high(&mut regions.high_base, value);
                regions.high_base &= !caps.beyond();
            }
            0x78 if !regions.enabled => set_low(&mut regions.high_limit, value & 0xffe0_0000),
            0x7c if !regions.enabled => {
                set_high(&mut regions.high_limit, value);
                regions.high_limit &= !caps.beyond();
            }
            0x88 if caps.qi() => self.queue.tail = u64::from(value) & mask(18, 4),
            0x90 if caps.qi() => set_low(&mut self.queue_address, value),
            0x94 if caps.qi() => set_high(&mut self.queue_address, value),
            0xb8 if caps.ir() => set_low(&mut self.interrupt_table, value),
            0xbc if caps.ir() => set_high(&mut self.interrupt_table, value),
            0xc0 if caps.prs() => page_requests.head = u64::from(value) & mask(18, 5),
            0xc8 if caps.prs() => page_requests.tail = u64::from(value) & mask(18, 5),
            0xd0 if caps.prs() => set_low(&mut page_requests.address, value),
            0xd4 if caps.prs() => set_high(&mut page_requests.address, value),
            0xdc if caps.prs() => {
                page_requests.pending &= value & 1 == 0;
                page_requests.overflow &= value & 2 == 0;
            }
            // F is RW1C in the last quarter of a record.
            _ if (records..records_end).contains(&offset)
                && (offset - records) % 16 == 12
                && bit(value.into(), 31) =>
            {
                self.faults.clear((offset - records) / 16);
            }
            _ if offset == iotlb => set_low(&mut self.invalidate_address, value),
            _ if offset == iotlb + 4 => set_high(&mut self.invalidate_address, value),
            _ if offset == iotlb + 8 => set_low(&mut self.iotlb, value),
            _ if offset == iotlb + 12 => {
                set_high(&mut self.iotlb, value);
                self.invalidate_iotlb(dropped);
            }
            _ => {}
        }
    }

    /// GCMD.
    fn command(&mut self, value: u32, dropped: &mut Vec<Invalidation>) {
        let caps = self.unit.capabilities;
        if value & SRTP != 0 {
            self.unit.root = self.root;
            dropped.push(Invalidation::Translations);
        }
        self.unit.translation = value & TE != 0;
        if caps.qi() {
            let enabled = value & QIE != 0;
            if enabled != self.queue.enabled {
                self.queue.enabled = enabled;
                self.queue.head = 0;
                self.queue.address = self.queue_address;
            }
        }
        if caps.ir() {
            let interrupts = &mut self.unit.interrupts;
            let (enabled, compatibility) = (value & IRE != 0, value & CFI != 0);
            if value & SIRTP != 0 {
                interrupts.table = Some(self.interrupt_table);
            }
            if value & SIRTP != 0
                || enabled != interrupts.enabled
                || compatibility != interrupts.compatibility
            {
                dropped.push(Invalidation::InterruptGlobal);
            }
            interrupts.enabled = enabled;
            interrupts.compatibility = compatibility;
        }
    }

    /// CCMD: not with scalable mode.
    fn invalidate_context(&mut self, dropped: &mut Vec<Invalidation>) {
        let raw = self.context_command;
        if bit(raw, 63) && field(self.unit.root, 11, 10) == 0 {
            dropped.extend(Invalidation::context(
                field(raw, 62, 61),
                field(raw, 15, 0),
                field(raw, 31, 16),
                field(raw, 33, 32),
            ));
        }
    }

    /// IOTLB: not with scalable mode. AM above MAMV drops nothing.
    fn invalidate_iotlb(&mut self, dropped: &mut Vec<Invalidation>) {
        let (raw, address) = (self.iotlb, self.invalidate_address);
        let too_many =
            field(raw, 61, 60) == 3 && field(address, 5, 0) > self.unit.capabilities.mamv();
        if bit(raw, 63) && field(self.unit.root, 11, 10) == 0 && !too_many {
            dropped.extend(Invalidation::iotlb(field(raw, 61, 60), field(raw, 47, 32), address));
        }
    }
}

fn set_low(register: &mut u64, value: u32) {
    *register = *register & mask(63, 32) | u64::from(value);
}

fn set_high(register: &mut u64, value: u32) {
    *register = *register & mask(31, 0) | u64::from(value) << 32;
}
