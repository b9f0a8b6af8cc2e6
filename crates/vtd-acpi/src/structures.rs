//! The remapping structures of the table.

use alloc::string::String;
use alloc::vec::Vec;

use crate::reader::Reader;
use crate::writer::Writer;
use crate::{DecodeError, DeviceScope, EncodeError};

/// A remapping unit (type 0, section 8.3).
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Drhd {
    /// INCLUDE_PCI_ALL: it has all PCI devices of its segment that no other unit has. Its scopes are I/O APICs, HPETs and
    /// name space devices then.
    pub include_pci_all: bool,
    /// Its registers have 2^`size` pages of 4 KiB, `size` being 0 to 15.
    pub size: u8,
    /// The PCI segment of its devices.
    pub segment: u16,
    /// Where its registers are.
    pub register_base: u64,
    /// Its devices.
    pub scopes: Vec<DeviceScope>,
}

impl Drhd {
    /// A unit with one page of registers, in segment 0 and so far without devices.
    #[must_use]
    pub const fn new(register_base: u64) -> Self {
        let scopes = Vec::new();
        Self { include_pci_all: false, size: 0, segment: 0, register_base, scopes }
    }

    /// How many bytes its registers have, from [`register_base`](Self::register_base) upwards.
    #[must_use]
    pub const fn register_bytes(&self) -> u64 {
        // The upper bits of the field are reserved.
        0x1000 << (self.size & 0xf)
    }

    pub(crate) fn encode(&self, out: &mut Writer) -> Result<(), EncodeError> {
        let (base, size) = (self.register_base, self.size);
        let fits = size < 16 && base.checked_add(self.register_bytes() - 1).is_some();
        if !fits || !base.is_multiple_of(0x1000) {
            return Err(EncodeError::Registers { base, size });
        }
        let mut body = Writer::default();
        body.u8(self.include_pci_all.into());
        body.u8(size);
        body.u16(self.segment);
        body.u64(base);
        put_scopes(&mut body, &self.scopes)?;
        out.structure(0, "a DRHD", &body)
    }

    pub(crate) fn decode(mut reader: Reader<'_>) -> Result<Self, DecodeError> {
        let flags = reader.u8("DRHD: flags")?;
        Ok(Self {
            include_pci_all: flags & 1 == 1,
            size: reader.u8("DRHD: size")? & 0xf,
            segment: reader.u16("DRHD: segment number")?,
            register_base: reader.u64("DRHD: register base address")?,
            scopes: DeviceScope::decode_all(reader)?,
        })
    }
}

/// Memory that firmware has devices use, and that has to stay mapped for them (type 1, section 8.4).
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Rmrr {
    /// The PCI segment of the devices.
    pub segment: u16,
    /// The first byte, a multiple of 4096.
    pub base: u64,
    /// The last byte: one less than a multiple of 4096.
    pub limit: u64,
    /// The devices.
    pub scopes: Vec<DeviceScope>,
}

impl Rmrr {
    /// The memory from `base` to `limit`, for devices of segment 0.
    #[must_use]
    pub const fn new(base: u64, limit: u64, scopes: Vec<DeviceScope>) -> Self {
        Self { segment: 0, base, limit, scopes }
    }

    pub(crate) fn encode(&self, out: &mut Writer) -> Result<(), EncodeError> {
        let (base, limit) = (self.base, self.limit);
        if limit < base || base & 0xfff != 0 || limit & 0xfff != 0xfff {
            return Err(EncodeError::ReservedRegion { base, limit });
        }
        let mut body = Writer::default();
        body.u16(0);
        body.u16(self.segment);
        body.u64(base);
        body.u64(limit);
        put_scopes(&mut body, &self.scopes)?;
        out.structure(1, "an RMRR", &body)
    }

    pub(crate) fn decode(mut reader: Reader<'_>) -> Result<Self, DecodeError> {
        let _reserved = reader.u16("RMRR: reserved")?;
        Ok(Self {
            segment: reader.u16("RMRR: segment number")?,
            base: reader.u64("RMRR: base address")?,
            limit: reader.u64("RMRR: limit address")?,
            scopes: DeviceScope::decode_all(reader)?,
        })
    }
}

/// Root ports behind which devices may have device TLBs (type 2, section 8.5).
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Atsr {
    /// ALL_PORTS: all root ports of the segment, and no scopes.
    pub all_ports: bool,
    /// The PCI segment.
    pub segment: u16,
    /// The root ports, as sub-hierarchies.
    pub scopes: Vec<DeviceScope>,
}

impl Atsr {
    /// All root ports of a segment.
    #[must_use]
    pub const fn all_ports(segment: u16) -> Self {
        Self { all_ports: true, segment, scopes: Vec::new() }
    }

    /// These root ports of a segment.
    #[must_use]
    pub const fn of_ports(segment: u16, scopes: Vec<DeviceScope>) -> Self {
        Self { all_ports: false, segment, scopes }
    }

    pub(crate) fn encode(&self, out: &mut Writer) -> Result<(), EncodeError> {
        let mut body = Writer::default();
        body.u8(self.all_ports.into());
        body.u8(0);
        body.u16(self.segment);
        put_scopes(&mut body, &self.scopes)?;
        out.structure(2, "an ATSR", &body)
    }

    pub(crate) fn decode(mut reader: Reader<'_>) -> Result<Self, DecodeError> {
        let [flags, _] = reader.bytes("ATSR: flags")?;
        Ok(Self {
            all_ports: flags & 1 == 1,
            segment: reader.u16("ATSR: segment number")?,
            scopes: DeviceScope::decode_all(reader)?,
        })
    }
}

/// Which part of a machine with several memories a unit belongs to (type 3, section 8.6).
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Rhsa {
    /// Where the registers of the unit are, as its [`Drhd`] has it.
    pub register_base: u64,
    /// Its proximity domain, as the SRAT has it.
    pub proximity_domain: u32,
}

impl Rhsa {
    /// The proximity domain of a unit.
    #[must_use]
    pub const fn new(register_base: u64, proximity_domain: u32) -> Self {
        Self { register_base, proximity_domain }
    }

    pub(crate) fn encode(&self, out: &mut Writer) -> Result<(), EncodeError> {
        let mut body = Writer::default();
        body.u32(0);
        body.u64(self.register_base);
        body.u32(self.proximity_domain);
        out.structure(3, "an RHSA", &body)
    }

    pub(crate) fn decode(mut reader: Reader<'_>) -> Result<Self, DecodeError> {
        let _reserved = reader.u32("RHSA: reserved")?;
        Ok(Self {
            register_base: reader.u64("RHSA: register base address")?,
            proximity_domain: reader.u32("RHSA: proximity domain")?,
        })
    }
}

/// A device of the ACPI name space that does DMA (type 4, section 8.7).
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Andd {
    /// The number by which scopes name it ([`ScopedDevice::NamespaceDevice`](crate::ScopedDevice::NamespaceDevice)).
    pub number: u8,
    /// Its object: `\_SB.PCI0.I2C0`, say.
    pub object_name: String,
}

impl Andd {
    /// A device and its object.
    #[must_use]
    pub fn new(number: u8, object_name: impl Into<String>) -> Self {
        Self { number, object_name: object_name.into() }
    }

    pub(crate) fn encode(&self, out: &mut Writer) -> Result<(), EncodeError> {
        let name = self.object_name.as_bytes();
        if name.is_empty() || !name.iter().all(u8::is_ascii_graphic) {
            return Err(EncodeError::ObjectName { number: self.number });
        }
        let mut body = Writer::default();
        body.bytes(&[0; 3]);
        body.u8(self.number);
        body.bytes(name);
        body.u8(0);
        out.structure(4, "an ANDD", &body)
    }

    pub(crate) fn decode(mut reader: Reader<'_>) -> Result<Self, DecodeError> {
        let [_, _, _, number] = reader.bytes("ANDD: device number")?;
        let field = "ANDD: object name";
        let mut object_name = String::new();
        loop {
            let at = reader;
            match reader.u8(field)? {
                0 => return Ok(Self { number, object_name }),
                byte if byte.is_ascii() => object_name.push(char::from(byte)),
                byte => return Err(at.invalid(field, byte.into(), "ASCII")),
            }
        }
    }
}

/// Devices of the chip that have device TLBs (type 5, section 8.8).
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Satc {
    /// ATC_REQUIRED: they do not work without them.
    pub atc_required: bool,
    /// The PCI segment of the devices.
    pub segment: u16,
    /// The devices.
    pub scopes: Vec<DeviceScope>,
}

impl Satc {
    /// Devices of a segment whose device TLBs may stay off.
    #[must_use]
    pub const fn new(segment: u16, scopes: Vec<DeviceScope>) -> Self {
        Self { atc_required: false, segment, scopes }
    }

    pub(crate) fn encode(&self, out: &mut Writer) -> Result<(), EncodeError> {
        let mut body = Writer::default();
        body.u8(self.atc_required.into());
        body.u8(0);
        body.u16(self.segment);
        put_scopes(&mut body, &self.scopes)?;
        out.structure(5, "an SATC", &body)
    }

    pub(crate) fn decode(mut reader: Reader<'_>) -> Result<Self, DecodeError> {
        let [flags, _] = reader.bytes("SATC: flags")?;
        Ok(Self {
            atc_required: flags & 1 == 1,
            segment: reader.u16("SATC: segment number")?,
            scopes: DeviceScope::decode_all(reader)?,
        })
    }
}

/// Devices of the chip and their properties, which are the flags of their scopes (type 6, section 8.9).
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Sidp {
    /// The PCI segment of the devices.
    pub segment: u16,
    /// The devices, with [flags](DeviceScope::flags).
    pub scopes: Vec<DeviceScope>,
}

impl Sidp {
    /// Devices of a segment.
    #[must_use]
    pub const fn new(segment: u16, scopes: Vec<DeviceScope>) -> Self {
        Self { segment, scopes }
    }

    pub(crate) fn encode(&self, out: &mut Writer) -> Result<(), EncodeError> {
        let mut body = Writer::default();
        body.u16(0);
        body.u16(self.segment);
        put_scopes(&mut body, &self.scopes)?;
        out.structure(6, "an SIDP", &body)
    }

    pub(crate) fn decode(mut reader: Reader<'_>) -> Result<Self, DecodeError> {
        let _reserved = reader.u16("SIDP: reserved")?;
        Ok(Self {
            segment: reader.u16("SIDP: segment number")?,
            scopes: DeviceScope::decode_all(reader)?,
        })
    }
}

/// A structure that this crate does not know. Its readers skip it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct OtherStructure {
    /// Its type: 7 or more.
    pub kind: u16,
    /// What follows type and length.
    pub body: Vec<u8>,
}

impl OtherStructure {
    /// A structure of a type from 7 upwards.
    #[must_use]
    pub const fn new(kind: u16, body: Vec<u8>) -> Self {
        Self { kind, body }
    }

    pub(crate) fn encode(&self, out: &mut Writer) -> Result<(), EncodeError> {
        if self.kind <= 6 {
            return Err(EncodeError::KnownType(self.kind));
        }
        let mut body = Writer::default();
        body.bytes(&self.body);
        out.structure(self.kind, "a structure of another type", &body)
    }
}

fn put_scopes(out: &mut Writer, scopes: &[DeviceScope]) -> Result<(), EncodeError> {
    scopes.iter().try_for_each(|scope| scope.encode(out))
}
