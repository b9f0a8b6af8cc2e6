//! Interrupt requests: writes of four bytes to FEE0_0000 to FEEF_FFFF.

/// An interrupt request, as its address and data say.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum InterruptRequest {
    /// Address bit 4 is 0: the message itself says what it delivers.
    Compatibility,
    /// Address bit 4 is 1: an interrupt remapping entry says what is delivered.
    Remappable {
        /// The handle (address 19:5, and bit 2 as its highest bit), and with SHV (address bit 3) the sub-handle (data 15:0) added
        /// to it: 0 to 1_FFFE.
        index: u32,
        /// A reserved field is set: data 31:16. Without SHV data 15:0 means nothing, since an I/O APIC keeps its vector there.
        reserved: bool,
    },
}

impl InterruptRequest {
    /// The request of a write of `data` to `address`; `None` outside the interrupt range.
    #[must_use]
    pub const fn decode(address: u64, data: u32) -> Option<Self> {
        if address >> 20 != 0xfee {
            return None;
        }
        if address >> 4 & 1 == 0 {
            return Some(Self::Compatibility);
        }
        let handle = ((address >> 5 & 0x7fff | (address >> 2 & 1) << 15) & 0xffff) as u32;
        let sub_handle = if address >> 3 & 1 == 1 { data & 0xffff } else { 0 };
        Some(Self::Remappable { index: handle + sub_handle, reserved: data >> 16 != 0 })
    }
}
