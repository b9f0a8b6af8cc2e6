//! Guest-physical and I/O virtual addresses.

use core::fmt;

/// A guest-physical address: where guest memory lies, in bytes.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Gpa(pub u64);

/// An I/O virtual address: what a device puts on the bus, in bytes.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Iova(pub u64);

impl Gpa {
    /// Whether this lies in FEE0_0000 to FEEF_FFFF: a translation that yields it is blocked.
    #[must_use]
    pub const fn is_interrupt(self) -> bool {
        self.0 >> 20 == INTERRUPT_RANGE
    }

    /// The address `bytes` further on, or `None` past the end of the 64-bit space.
    #[must_use]
    pub const fn checked_add(self, bytes: u64) -> Option<Self> {
        match self.0.checked_add(bytes) {
            Some(address) => Some(Self(address)),
            None => None,
        }
    }

    /// The 4 KiB page that holds this address.
    #[must_use]
    pub const fn page(self) -> Self {
        Self(self.0 & !0xfff)
    }
}

/// Bits 31:20 of an address in the interrupt range, with all above them.
const INTERRUPT_RANGE: u64 = 0xfee;

impl Iova {
    /// Whether this lies in FEE0_0000 to FEEF_FFFF: a request without PASID to it is an interrupt.
    #[must_use]
    pub const fn is_interrupt(self) -> bool {
        self.0 >> 20 == INTERRUPT_RANGE
    }

    /// The 4 KiB page that holds this address.
    #[must_use]
    pub const fn page(self) -> Self {
        Self(self.0 & !0xfff)
    }
}

macro_rules! show_as_hexadecimal {
    ($name:ident) => {
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{:#x}", self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($name), "({:#x})"), self.0)
            }
        }

        impl fmt::LowerHex for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::LowerHex::fmt(&self.0, f)
            }
        }
    };
}

show_as_hexadecimal!(Gpa);
show_as_hexadecimal!(Iova);
