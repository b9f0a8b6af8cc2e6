//! Where a function stands on bus 0.

use std::fmt;
use std::str::FromStr;

use vtd::spec::SourceId;

/// A device and function of bus 0, written as in QEMU's `addr`: `4.0`, in hexadecimal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PciAddress {
    device: u8,
    function: u8,
}

/// Text that is no [`PciAddress`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no place on bus 0: DEVICE.FUNCTION, hexadecimal, up to 1f.7")]
pub struct PciAddressError(String);

impl PciAddress {
    /// Its source-id while the guest leaves bus 0 its number.
    #[must_use]
    pub fn source_id(self) -> SourceId {
        SourceId(u16::from(self.device) << 3 | u16::from(self.function))
    }

    /// The device number, 0 to 1f.
    #[must_use]
    pub fn device(self) -> u8 {
        self.device
    }

    /// The function number, 0 to 7.
    #[must_use]
    pub fn function(self) -> u8 {
        self.function
    }
}

impl fmt::Display for PciAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:x}.{:x}", self.device, self.function)
    }
}

impl FromStr for PciAddress {
    type Err = PciAddressError;

    fn from_str(text: &str) -> Result<Self, PciAddressError> {
        let number = |digits: &str, most: u8| {
            let plain = !digits.is_empty() && digits.bytes().all(|digit| digit.is_ascii_hexdigit());
            let number = u8::from_str_radix(digits, 16).ok().filter(|_| plain)?;
            (number <= most).then_some(number)
        };
        let (device, function) = text.split_once('.').unwrap_or((text, "0"));
        match (number(device, 0x1f), number(function, 7)) {
            (Some(device), Some(function)) => Ok(Self { device, function }),
            _ => Err(PciAddressError(text.to_owned())),
        }
    }
}
