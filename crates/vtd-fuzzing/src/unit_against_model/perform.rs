//! What a guest and its devices do.

use vtd::{Access, Attachment, DeviceId, TranslationRequest};
use vtd_recording::recorder::RecordedDma;
use vtd_spec::{Gpa, Iova, PageRequest, Pasid, SourceId};

use super::guest::Guest;
use super::operation::Operation;
use super::pools::{DEVICES, INTERRUPTS, PASIDS, input_address, pick};

impl Guest {
    pub(super) fn perform(&mut self, operation: Operation) {
        match operation {
            Operation::Page { second, table, index, kind, flags } => {
                self.page(second, table, index, kind, flags);
            }
            Operation::PasidEntry { device, pasid, kind, domain, tables, flags } => {
                self.pasid_entry(device, pasid, kind, domain, tables, flags);
            }
            Operation::Context { device, kind, flags, table } => {
                self.context(device, kind, flags, table);
            }
            Operation::Above { directory, index, kind } => self.above(directory, index, kind),
            Operation::Descriptor { kind, granularity, domain, pasid, device, am, address } => {
                self.descriptor([kind, granularity, domain, pasid, device, am, address]);
            }
            Operation::Raw { kind, bit, second_bit } => {
                if kind & 0x80 == 0x80 {
                    return self.odd_tail(0x1000 | u64::from(bit) << 4);
                }
                let bit_of = |bit: u8| if bit & 0xc0 == 0 { 1_u64 << (bit & 63) } else { 0 };
                self.queue(u64::from(kind & 0x7f) | bit_of(bit), bit_of(second_bit));
            }
            Operation::Dma { device, pasid, access, indexes } => {
                let with_pasid = pasid & 7 != 0;
                let address = input_address(indexes);
                let mut asked = if access & 1 == 1 { Access::WRITE } else { Access::READ };
                asked.privileged = with_pasid && access & 0x86 == 0x86;
                asked.execute = with_pasid && access & 0x19 == 0x18;
                asked.zero_length = access & 0x61 == 0x60;
                if let Some(dma) = self.request(device, pasid) {
                    dma.with_guard(|guard| {
                        let _ = guard.translate(Iova(address), asked);
                    });
                }
            }
            Operation::Translate { device, pasid, access, indexes } => {
                let with_pasid = pasid & 7 != 0;
                let address = input_address(indexes);
                let mut asked = TranslationRequest::READ_WRITE;
                asked.no_write = access & 1 == 1;
                asked.privileged = with_pasid && access & 0x86 == 0x86;
                asked.execute = with_pasid && access & 0x18 == 0x18;
                if let Some(dma) = self.request(device, pasid) {
                    dma.with_guard(|guard| {
                        let _ = guard.translation_request(Iova(address), asked);
                    });
                }
            }
            Operation::Move { pasid, index, am, target, access } => {
                let pasid = 2 + (pasid & 3);
                let indexes = [0, 0, 0, index & 3];
                if access & 0x60 == 0x60 {
                    // ERE, with NXE or without.
                    let flags = 2 | access << 3 & 0x20;
                    self.pasid_entry(0, pasid, 8, 0, 0, flags);
                    self.queue(0x37, 0);
                }
                self.perform(Operation::Dma { device: 0, pasid, access: 0, indexes });
                for table in 0..8 {
                    self.page(
                        false,
                        table,
                        index,
                        6,
                        u16::from_le_bytes([7 | access & 0x80, target]),
                    );
                }
                let number = pick(PASIDS, pasid).unwrap_or(0);
                let domain = self.domain(u64::from(number));
                let page = input_address(indexes) & !0xfff;
                let first = 0x36 | domain << 16 | u64::from(number) << 32;
                self.queue(first, page | u64::from(am & 0x3f));
                let access = access & 0x19;
                self.perform(Operation::Dma { device: 0, pasid, access, indexes });
            }
            Operation::Translated { device, pasid, address } => {
                let pasid = if pasid & 0xf0 == 0xf0 { pasid } else { 0 };
                let address = match address & 3 {
                    0 => 0xfee0_1000,
                    1 => 1 << 50,
                    _ => 0x70_0000,
                };
                if let Some(dma) = self.request(device, pasid) {
                    dma.with_guard(|guard| {
                        let _ = guard.translated(Gpa(address), Access::READ);
                    });
                }
            }
            Operation::PageRequest { device, pasid, bits, indexes } => {
                let request = PageRequest {
                    source_id: SourceId(pick(DEVICES, device)),
                    pasid: pick(PASIDS, pasid).map(|pasid| Pasid::from_low_bits(pasid.into())),
                    address: Iova(input_address(indexes) & !0xfff),
                    read: bits & 1 == 1,
                    write: bits & 2 == 2,
                    execute: bits & 4 == 4,
                    privileged: bits & 8 == 8,
                    last_in_group: bits & 16 == 16,
                    group_index: u16::from(bits),
                };
                let device = self.device(device);
                let _ = self.unit.page_request(device, request);
                self.settle();
                // Software takes what is there, and clears the overflow or not.
                if bits & 0x80 == 0x80 {
                    let tail = self.read(0xc8, 8);
                    self.write(0xc0, 8, (tail + 0x60) % 0x1000);
                }
                if bits & 0xc0 == 0xc0 {
                    self.write(0xdc, 4, 3);
                }
            }
            Operation::Interrupt { device, handle, data, flags } => {
                let address = 0xfee0_0000
                    | u64::from(handle & 0x1f | u8::from(handle & 0xe0 == 0xe0) << 5) << 5
                    | if flags & 0x70 == 0x70 { 0 } else { 0x10 }
                    | u64::from(flags & 1) << 3
                    | u64::from(flags & 0xe == 0xe) << 2;
                let data = u32::from(data & 0xf) | u32::from(flags & 0xcc == 0xcc) << 16;
                let source_id = SourceId(pick(DEVICES, device));
                let _ = self.unit.remap_interrupt(source_id, address, data);
            }
            Operation::InterruptEntry { index, kind, flags, source } => {
                let flags = u64::from(flags);
                let low = u64::from(kind & 7 != 0)
                    | (flags & 0x3f) << 2
                    | u64::from(kind & 0xf8 == 0x08) << 12
                    | u64::from(source) << 16
                    | u64::from(kind) << 40
                    | u64::from(kind & 0xf8 == 0x10) << 1;
                let high = u64::from(pick(DEVICES, source))
                    | u64::from(source >> 2 & 3) << 16
                    | u64::from(source >> 4 & 1) << 18;
                self.set(INTERRUPTS + u64::from(index & 0x1f) * 16, &[low, high]);
            }
            Operation::Command { kind, root } => match kind & 7 {
                0 => {
                    let mode = self.root & 0xc00;
                    let base = if root & 1 == 0 { 0x1000 } else { 0x4000 };
                    self.write(0x20, 8, base | mode);
                    self.gcmd(1 << 30);
                }
                1 if root & 0xc0 == 0 => {
                    self.command &= !(1 << 31);
                    self.gcmd(0);
                }
                2 => {
                    self.command ^= 1 << 23;
                    self.gcmd(0);
                }
                3 => {
                    // Another table mode for a while: abort, or one that is none.
                    let mode = if root & 1 == 0 { 0xc00 } else { 0x800 };
                    self.write(0x20, 8, 0x1000 | mode);
                    self.gcmd(1 << 30);
                    self.perform(Operation::Dma {
                        device: 0,
                        pasid: 2,
                        access: 0,
                        indexes: [0; 4],
                    });
                    self.write(0x20, 8, 0x1000 | self.root & 0xc00);
                    self.gcmd(1 << 30);
                }
                4 => self.restart_queue(u64::from(root) << 11),
                _ => self.gcmd(1 << 31),
            },
            Operation::Registers { iotlb, granularity, domain, device, am, address } => {
                let granularity = 1 + u64::from(granularity % 3);
                let domain = 5 + u64::from(domain & 3);
                if iotlb {
                    let page = input_address([0, 0, address >> 2 & 3, address >> 4 & 3]) & !0xfff;
                    self.write(0x500, 8, page | u64::from(am & 0x1f));
                    self.write(0x508, 8, 1 << 63 | granularity << 60 | domain << 32);
                } else {
                    let source_id = u64::from(pick(DEVICES, device));
                    self.write(0x28, 8, 1 << 63 | granularity << 61 | source_id << 16 | domain);
                }
            }
        }
        self.settle();
        self.clear_faults();
    }

    fn device(&mut self, device: u8) -> DeviceId {
        let source_id = pick(DEVICES, device);
        if let Some(device) = self.devices.get(&source_id) {
            return *device;
        }
        #[allow(clippy::expect_used, reason = "there are four")]
        let device =
            self.unit.attach(SourceId(source_id), Attachment::Emulated).expect("a free device");
        self.devices.insert(source_id, device);
        device
    }

    /// A handle for requests: in legacy mode mostly for those without PASID.
    fn request(&mut self, device: u8, pasid: u8) -> Option<RecordedDma> {
        let device = self.device(device);
        let pasid = if self.root & 0xc00 == 0 && pasid & 0x70 != 0x70 { 0 } else { pasid };
        let pasid = pick(PASIDS, pasid).map(|pasid| Pasid::from_low_bits(pasid.into()));
        self.unit.dma(device, pasid).ok()
    }
}
