//! Which devices a structure is about.

use alloc::vec;
use alloc::vec::Vec;

use crate::reader::Reader;
use crate::writer::Writer;
use crate::{DecodeError, EncodeError};

/// Which device, or which devices, a structure is about: a device scope entry (section 8.3.1).
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct DeviceScope {
    /// What it is.
    pub device: ScopedDevice,
    /// Properties, where the scope is in a [`Sidp`](crate::Sidp), else 0. Requests without PASID: bit 0 no nested translation, bit 1 no
    /// forced snoop of page walks, bit 2 none of pages; bit 3 its device TLB is hardened, bit 4 it needs its device TLB.
    pub flags: u8,
    /// The bus on which the path begins.
    pub start_bus: u8,
    /// The way to it: each step but the last one is a bridge. A device without bridges before it has one step.
    pub path: Vec<PathStep>,
}

/// What a device scope names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ScopedDevice {
    /// One PCI function.
    PciEndpoint,
    /// A PCI bridge and whatever is behind it.
    PciSubHierarchy,
    /// An I/O APIC. Its requests have the source-id of the path.
    IoApic {
        /// Its I/O APIC ID, as the MADT has it.
        id: u8,
    },
    /// An HPET that sends MSIs.
    Hpet {
        /// Its number, as the HPET table has it.
        number: u8,
    },
    /// A device of the ACPI name space. Its requests have the source-id of the path.
    NamespaceDevice {
        /// Its number, as an [`Andd`](crate::Andd) has it.
        number: u8,
    },
    /// Something that this crate does not know.
    Other {
        /// Its type.
        kind: u8,
        /// Its enumeration ID.
        enumeration_id: u8,
    },
}

/// A device and its function on a bus.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(clippy::exhaustive_structs, reason = "PCI has no third number")]
pub struct PathStep {
    /// 0 to 31.
    pub device: u8,
    /// 0 to 7.
    pub function: u8,
}

impl DeviceScope {
    /// A device with one step on `bus`.
    #[must_use]
    pub fn new(what: ScopedDevice, bus: u8, device: u8, function: u8) -> Self {
        let path = vec![PathStep { device, function }];
        Self { device: what, flags: 0, start_bus: bus, path }
    }

    /// A PCI function.
    #[must_use]
    pub fn pci_endpoint(bus: u8, device: u8, function: u8) -> Self {
        Self::new(ScopedDevice::PciEndpoint, bus, device, function)
    }

    /// A PCI bridge and whatever is behind it.
    #[must_use]
    pub fn pci_sub_hierarchy(bus: u8, device: u8, function: u8) -> Self {
        Self::new(ScopedDevice::PciSubHierarchy, bus, device, function)
    }

    /// The I/O APIC `id`, whose interrupt requests have the source-id of this bus, device and function.
    #[must_use]
    pub fn io_apic(id: u8, bus: u8, device: u8, function: u8) -> Self {
        Self::new(ScopedDevice::IoApic { id }, bus, device, function)
    }

    /// The same with one step more: what was named so far is the bridge before this device.
    #[must_use]
    pub fn behind(mut self, device: u8, function: u8) -> Self {
        self.path.push(PathStep { device, function });
        self
    }

    /// The same with the properties of a [`Sidp`](crate::Sidp).
    #[must_use]
    pub fn with_flags(mut self, flags: u8) -> Self {
        self.flags = flags;
        self
    }

    pub(crate) fn encode(&self, out: &mut Writer) -> Result<(), EncodeError> {
        let (kind, enumeration_id) = match self.device {
            ScopedDevice::PciEndpoint => (1, 0),
            ScopedDevice::PciSubHierarchy => (2, 0),
            ScopedDevice::IoApic { id } => (3, id),
            ScopedDevice::Hpet { number } => (4, number),
            ScopedDevice::NamespaceDevice { number } => (5, number),
            ScopedDevice::Other { kind: kind @ 1..=5, .. } => {
                return Err(EncodeError::KnownType(kind.into()));
            }
            ScopedDevice::Other { kind, enumeration_id } => (kind, enumeration_id),
        };
        let steps = self.path.len();
        let length = match u8::try_from(steps.saturating_mul(2).saturating_add(6)) {
            Ok(length) if steps > 0 => length,
            _ => return Err(EncodeError::PathLength(steps)),
        };
        for byte in [kind, length, self.flags, 0, enumeration_id, self.start_bus] {
            out.u8(byte);
        }
        for PathStep { device, function } in self.path.iter().copied() {
            if device >= 32 || function >= 8 {
                return Err(EncodeError::PathStep { device, function });
            }
            out.u8(device);
            out.u8(function);
        }
        Ok(())
    }

    fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let whole = *reader;
        let kind = reader.u8("device scope: type")?;
        let at_length = *reader;
        let length = reader.u8("device scope: length")?;
        if length < 6 || length % 2 == 1 {
            let (field, expected) = ("device scope: length", "6 and two for each step of a path");
            return Err(at_length.invalid(field, length.into(), expected));
        }
        *reader = whole;
        let mut reader = reader.part("device scope", usize::from(length))?;
        let [_, _, flags, _, enumeration_id, start_bus] = reader.bytes("device scope")?;
        let mut path = Vec::with_capacity(reader.left().len() / 2);
        while !reader.is_empty() {
            let [device, function] = reader.bytes("device scope: path")?;
            path.push(PathStep { device, function });
        }
        let device = match kind {
            1 => ScopedDevice::PciEndpoint,
            2 => ScopedDevice::PciSubHierarchy,
            3 => ScopedDevice::IoApic { id: enumeration_id },
            4 => ScopedDevice::Hpet { number: enumeration_id },
            5 => ScopedDevice::NamespaceDevice { number: enumeration_id },
            kind => ScopedDevice::Other { kind, enumeration_id },
        };
        Ok(Self { device, flags, start_bus, path })
    }

    /// Every scope that is left.
    pub(crate) fn decode_all(mut reader: Reader<'_>) -> Result<Vec<Self>, DecodeError> {
        let mut scopes = Vec::new();
        while !reader.is_empty() {
            scopes.push(Self::decode(&mut reader)?);
        }
        Ok(scopes)
    }
}
