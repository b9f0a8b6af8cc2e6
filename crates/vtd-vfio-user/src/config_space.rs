//! The configuration space of a PCI function.

use std::ops::Range;

/// Its size in bytes, that of a PCI Express function.
pub const CONFIG_SPACE_SIZE: usize = 4096;

const COMMAND: usize = 0x04;
const STATUS: usize = 0x06;
const BARS: usize = 0x10;
const CAPABILITY_POINTER: usize = 0x34;
const FIRST_CAPABILITY: usize = 0x40;
const FIRST_EXTENDED_CAPABILITY: usize = 0x100;

const COMMAND_MEMORY: u8 = 1 << 1;
const COMMAND_BUS_MASTER: u8 = 1 << 2;
const STATUS_CAPABILITIES: u8 = 1 << 4;

/// Who a function says it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Identity {
    /// Vendor.
    pub vendor: u16,
    /// Device.
    pub device: u16,
    /// Subsystem vendor.
    pub subsystem_vendor: u16,
    /// Subsystem.
    pub subsystem: u16,
    /// Revision.
    pub revision: u8,
    /// Class, subclass and programming interface, as in FF0000.
    pub class: u32,
}

/// The bytes that a guest reads in the configuration space of a function, and which of them it may change.
///
/// Only memory BARs of 32 bits are known, and no expansion ROM. An access that reaches past the end reads 0 there.
#[derive(Clone, Debug)]
pub struct ConfigSpace {
    bytes: Box<[u8; CONFIG_SPACE_SIZE]>,
    writable: Box<[u8; CONFIG_SPACE_SIZE]>,
    /// Bits that a written 1 clears.
    cleared_by_one: Box<[u8; CONFIG_SPACE_SIZE]>,
    /// What it is after a reset.
    initial: Box<[u8; CONFIG_SPACE_SIZE]>,
    bar_sizes: [u32; 6],
    next_capability: usize,
    last_pointer: usize,
    next_extended: usize,
    last_extended: Option<usize>,
}

impl ConfigSpace {
    /// A function without BARs and capabilities.
    #[must_use]
    pub fn new(identity: Identity) -> Self {
        let mut space = Self {
            bytes: Box::new([0; CONFIG_SPACE_SIZE]),
            writable: Box::new([0; CONFIG_SPACE_SIZE]),
            cleared_by_one: Box::new([0; CONFIG_SPACE_SIZE]),
            initial: Box::new([0; CONFIG_SPACE_SIZE]),
            bar_sizes: [0; 6],
            next_capability: FIRST_CAPABILITY,
            last_pointer: CAPABILITY_POINTER,
            next_extended: FIRST_EXTENDED_CAPABILITY,
            last_extended: None,
        };
        space.put(0x00, &identity.vendor.to_le_bytes());
        space.put(0x02, &identity.device.to_le_bytes());
        let [interface, subclass, class, _] = identity.class.to_le_bytes();
        space.put(0x08, &[identity.revision, interface, subclass, class]);
        space.put(0x2c, &identity.subsystem_vendor.to_le_bytes());
        space.put(0x2e, &identity.subsystem.to_le_bytes());
        // Memory space, bus master, parity error response, SERR# and interrupt disable; cache line size; interrupt line.
        space.allow(COMMAND, &[COMMAND_MEMORY | COMMAND_BUS_MASTER | 1 << 6, 1 | 1 << 2]);
        space.allow(0x0c, &[0xff]);
        space.allow(0x3c, &[0xff]);
        space
    }

    /// Gives the function a memory BAR of 32 bits. `size` is a power of two, 4 KiB or more, of bytes; anything else gives none.
    #[must_use]
    pub fn with_bar(mut self, bar: usize, size: u32) -> Self {
        if size.is_power_of_two()
            && size >= 4096
            && let Some(slot) = self.bar_sizes.get_mut(bar)
        {
            *slot = size;
            self.allow(BARS + 4 * bar, &(!(size - 1)).to_le_bytes());
        }
        self
    }

    /// Adds a capability: its identifier, what follows the pointer to the next one, and which bits of that a guest may write.
    #[must_use]
    pub fn with_capability(mut self, id: u8, body: &[u8], writable: &[u8]) -> Self {
        let at = self.next_capability;
        self.put(self.last_pointer, &[u8::try_from(at).unwrap_or(0)]);
        self.put(at, &[id, 0]);
        self.put(at + 2, body);
        self.allow(at + 2, writable);
        self.put(STATUS, &[STATUS_CAPABILITIES]);
        self.last_pointer = at + 1;
        self.next_capability = (at + 2 + body.len()).next_multiple_of(4);
        self
    }

    /// Adds an extended capability: its identifier and version, what follows its header, and which bits of that a guest may write.
    #[must_use]
    pub fn with_extended_capability(
        mut self,
        id: u16,
        version: u8,
        body: &[u8],
        writable: &[u8],
    ) -> Self {
        let at = self.next_extended;
        if let Some(last) = self.last_extended {
            let next = u16::try_from(at << 4).unwrap_or(0).to_le_bytes();
            let version = self.byte(last + 2) & 0xf;
            self.put(last + 2, &[next[0] | version, next[1]]);
        }
        self.put(at, &id.to_le_bytes());
        self.put(at + 2, &[version & 0xf, 0]);
        self.put(at + 4, body);
        self.allow(at + 4, writable);
        self.last_extended = Some(at);
        self.next_extended = (at + 4 + body.len()).next_multiple_of(4);
        self
    }

    /// Makes bits read 1, whatever is written.
    #[must_use]
    pub fn with_ones(mut self, offset: usize, bits: &[u8]) -> Self {
        for (at, bits) in (offset..).zip(bits) {
            if let (Some(byte), Some(writable)) =
                (self.bytes.get_mut(at), self.writable.get_mut(at))
            {
                *byte |= bits;
                *writable &= !bits;
            }
        }
        self.initial = self.bytes.clone();
        self
    }

    /// The same function, whose bus master enable reads 1 whatever the guest writes.
    #[must_use]
    pub fn with_bus_master(self) -> Self {
        self.with_ones(COMMAND, &[COMMAND_BUS_MASTER])
    }

    /// Makes bits clear when a 1 is written to them.
    #[must_use]
    pub fn with_cleared_by_one(mut self, offset: usize, bits: &[u8]) -> Self {
        for (at, bits) in (offset..).zip(bits) {
            if let Some(byte) = self.cleared_by_one.get_mut(at) {
                *byte |= bits;
            }
        }
        self
    }

    /// Where the last capability of this identifier begins.
    #[must_use]
    pub fn capability(&self, id: u8) -> Option<usize> {
        let mut at = usize::from(self.byte(CAPABILITY_POINTER));
        while at >= FIRST_CAPABILITY {
            if self.byte(at) == id {
                return Some(at);
            }
            at = usize::from(self.byte(at + 1));
        }
        None
    }

    /// Where the extended capability of this identifier begins.
    #[must_use]
    pub fn extended_capability(&self, id: u16) -> Option<usize> {
        let mut at = FIRST_EXTENDED_CAPABILITY;
        while at >= FIRST_EXTENDED_CAPABILITY {
            if self.word(at) == id {
                return Some(at);
            }
            at = usize::from(self.word(at + 2) >> 4);
        }
        None
    }

    /// The guest reads.
    pub fn read(&self, offset: u64, data: &mut [u8]) {
        data.fill(0);
        let range = self.range(offset, data.len());
        if let Some(bytes) = self.bytes.get(range) {
            for (to, from) in data.iter_mut().zip(bytes) {
                *to = *from;
            }
        }
    }

    /// The guest writes.
    pub fn write(&mut self, offset: u64, data: &[u8]) {
        for (at, value) in self.range(offset, data.len()).zip(data) {
            if let (Some(byte), Some(writable), Some(cleared)) =
                (self.bytes.get_mut(at), self.writable.get(at), self.cleared_by_one.get(at))
            {
                *byte = (*byte & !writable | value & writable) & !(value & cleared);
            }
        }
    }

    /// Everything is as it was at power-on.
    pub fn reset(&mut self) {
        self.bytes = self.initial.clone();
    }

    /// Sets bits, as the function itself does.
    pub fn set_bits(&mut self, offset: usize, bits: u8) {
        if let Some(byte) = self.bytes.get_mut(offset) {
            *byte |= bits;
        }
    }

    /// Clears bits, as the function itself does.
    pub fn clear_bits(&mut self, offset: usize, bits: u8) {
        if let Some(byte) = self.bytes.get_mut(offset) {
            *byte &= !bits;
        }
    }

    /// The byte at `offset`; 0 past the end.
    #[must_use]
    pub fn byte(&self, offset: usize) -> u8 {
        self.bytes.get(offset).copied().unwrap_or(0)
    }

    /// The two bytes at `offset`, little-endian.
    #[must_use]
    pub fn word(&self, offset: usize) -> u16 {
        u16::from_le_bytes([self.byte(offset), self.byte(offset + 1)])
    }

    /// Whether the function may make requests.
    #[must_use]
    pub fn is_bus_master(&self) -> bool {
        self.byte(COMMAND) & COMMAND_BUS_MASTER != 0
    }

    /// Where a BAR lies, once memory space is enabled and an address has been written.
    #[must_use]
    pub fn bar_address(&self, bar: usize) -> Option<u32> {
        let size = self.bar_sizes.get(bar).copied().filter(|size| *size > 0)?;
        let [a, b, c, d] = [0, 1, 2, 3].map(|byte| self.byte(BARS + 4 * bar + byte));
        let address = u32::from_le_bytes([a, b, c, d]) & !(size - 1);
        let enabled = self.byte(COMMAND) & COMMAND_MEMORY != 0;
        (enabled && address != 0 && address != !(size - 1)).then_some(address)
    }

    /// The size of a BAR in bytes; 0 where there is none.
    #[must_use]
    pub fn bar_size(&self, bar: usize) -> u32 {
        self.bar_sizes.get(bar).copied().unwrap_or(0)
    }

    fn range(&self, offset: u64, length: usize) -> Range<usize> {
        let start = usize::try_from(offset).unwrap_or(usize::MAX).min(CONFIG_SPACE_SIZE);
        start..start.saturating_add(length).min(CONFIG_SPACE_SIZE)
    }

    fn put(&mut self, offset: usize, data: &[u8]) {
        for (at, value) in (offset..).zip(data) {
            if let Some(byte) = self.bytes.get_mut(at) {
                *byte = *value;
            }
        }
        self.initial = self.bytes.clone();
    }

    fn allow(&mut self, offset: usize, bits: &[u8]) {
        for (at, bits) in (offset..).zip(bits) {
            if let Some(byte) = self.writable.get_mut(at) {
                *byte |= bits;
            }
        }
    }
}
