//! Who asks, and on whose behalf: source-ids, PASIDs and domains.

use core::fmt;
use core::str::FromStr;

/// A PCI requester: bus, device and function in 16 bits, shown as `00:03.0`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct SourceId(pub u16);

impl SourceId {
    /// The bus number, which indexes the root table.
    #[must_use]
    pub const fn bus(self) -> u8 {
        self.0.to_be_bytes()[0]
    }

    /// Device and function in 8 bits, which index the context table.
    #[must_use]
    pub const fn devfn(self) -> u8 {
        self.0.to_be_bytes()[1]
    }
}

impl fmt::Display for SourceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:02x}:{:02x}.{}", self.bus(), self.devfn() >> 3, self.devfn() & 7)
    }
}

impl fmt::Debug for SourceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A text that is no source-id of the form `00:03.0`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a source-id of the form bus:device.function, such as 00:03.0")]
pub struct ParseSourceIdError;

impl FromStr for SourceId {
    type Err = ParseSourceIdError;

    fn from_str(text: &str) -> Result<Self, ParseSourceIdError> {
        let part = |digits: &str, longest: usize, largest: u16| {
            // `from_str_radix` alone would also take a sign.
            if digits.is_empty()
                || digits.len() > longest
                || !digits.bytes().all(|b| b.is_ascii_hexdigit())
            {
                return Err(ParseSourceIdError);
            }
            let value = u16::from_str_radix(digits, 16).map_err(|_| ParseSourceIdError)?;
            if value > largest { Err(ParseSourceIdError) } else { Ok(value) }
        };
        let (bus, rest) = text.split_once(':').ok_or(ParseSourceIdError)?;
        let (device, function) = rest.split_once('.').ok_or(ParseSourceIdError)?;
        let (bus, device, function) =
            (part(bus, 2, 0xff)?, part(device, 2, 0x1f)?, part(function, 1, 7)?);
        Ok(Self(bus << 8 | device << 3 | function))
    }
}

/// A process address space identifier of 20 bits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Pasid(u32);

impl Pasid {
    /// PASID 0, what RID_PASID is where it cannot be chosen.
    pub const ZERO: Self = Self(0);
    /// One more than the largest PASID: 2^20.
    pub const END: u32 = 1 << 20;

    /// The PASID of this number, or `None` above 20 bits.
    #[must_use]
    pub const fn new(number: u32) -> Option<Self> {
        if number < Self::END { Some(Self(number)) } else { None }
    }

    /// The PASID in the low 20 bits of a field; higher bits are cut off.
    #[must_use]
    pub const fn from_low_bits(field: u64) -> Self {
        let [b0, b1, b2, ..] = field.to_le_bytes();
        Self(u32::from_le_bytes([b0, b1, b2 & 0xf, 0]))
    }

    /// The number, below 2^20.
    #[must_use]
    pub const fn get(self) -> u32 {
        self.0
    }

    /// Which entry of the PASID directory: bits 19:6, below 16,384.
    #[must_use]
    pub const fn directory_index(self) -> u32 {
        self.0 >> 6
    }

    /// Which entry of the PASID table: bits 5:0.
    #[must_use]
    pub const fn table_index(self) -> u32 {
        self.0 & 0x3f
    }
}

impl fmt::Display for Pasid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:x}", self.0)
    }
}

impl fmt::Debug for Pasid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Pasid({:#x})", self.0)
    }
}

/// A domain: the tag that guest software gives to what belongs together in the caches.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct DomainId(pub u16);

impl fmt::Display for DomainId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:x}", self.0)
    }
}

impl fmt::Debug for DomainId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "DomainId({:#x})", self.0)
    }
}
