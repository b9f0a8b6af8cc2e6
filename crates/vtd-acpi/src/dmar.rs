//! The whole table.

use alloc::vec::Vec;

use crate::reader::Reader;
use crate::writer::Writer;
use crate::{Andd, Atsr, DecodeError, Drhd, EncodeError, OtherStructure, Rhsa, Rmrr, Satc, Sidp};

const SIGNATURE: [u8; 4] = *b"DMAR";
const REVISION: u8 = 1;
/// The header that all ACPI tables have, in bytes.
const HEADER: usize = 36;

/// The DMA Remapping Reporting table (section 8.1): the remapping units of a machine, and what each is for.
///
/// The structures stand in the table in the order of these fields, as the architecture asks; among those of one type the order is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Dmar {
    /// Who made the table. Not in its [`body`](Self::body).
    pub ids: TableIds,
    /// How many bits the addresses have that DMA of the machine can reach: 12 to 64. It is the unit's host address width.
    pub host_address_width: u8,
    /// INTR_REMAP: the units remap interrupts.
    pub interrupt_remapping: bool,
    /// X2APIC_OPT_OUT: the guest is asked not to turn x2APIC mode on.
    pub x2apic_opt_out: bool,
    /// DMA_CTRL_PLATFORM_OPT_IN: the guest is asked to block DMA that it has not allowed, from the start.
    pub dma_control_opt_in: bool,
    /// The units. The one with [`include_pci_all`](Drhd::include_pci_all) is the last of its segment.
    pub drhds: Vec<Drhd>,
    /// Memory that stays mapped.
    pub rmrrs: Vec<Rmrr>,
    /// Root ports whose devices may have device TLBs.
    pub atsrs: Vec<Atsr>,
    /// Where the units belong in a machine with several memories.
    pub rhsas: Vec<Rhsa>,
    /// Devices of the ACPI name space.
    pub andds: Vec<Andd>,
    /// Devices of the chip that have device TLBs.
    pub satcs: Vec<Satc>,
    /// Devices of the chip and their properties.
    pub sidps: Vec<Sidp>,
    /// What this crate does not know.
    pub others: Vec<OtherStructure>,
}

/// Who made a table: part of the header that all ACPI tables have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct TableIds {
    /// The maker of the machine, padded with spaces.
    pub oem_id: [u8; 6],
    /// The machine, padded with spaces.
    pub oem_table_id: [u8; 8],
    /// The version of the table, counted by the maker.
    pub oem_revision: u32,
    /// The program that wrote the table.
    pub creator_id: [u8; 4],
    /// Its version.
    pub creator_revision: u32,
}

impl TableIds {
    /// A machine, the first version of its table, and this crate as the program that wrote it.
    #[must_use]
    pub const fn new(oem_id: [u8; 6], oem_table_id: [u8; 8]) -> Self {
        Self { oem_id, oem_table_id, oem_revision: 1, creator_id: *b"VTD ", creator_revision: 1 }
    }
}

impl Default for TableIds {
    fn default() -> Self {
        Self::new(*b"VTD   ", *b"VTDDMAR ")
    }
}

impl Dmar {
    /// A table without structures.
    #[must_use]
    pub fn new(host_address_width: u8) -> Self {
        Self {
            ids: TableIds::default(),
            host_address_width,
            interrupt_remapping: false,
            x2apic_opt_out: false,
            dma_control_opt_in: false,
            drhds: Vec::new(),
            rmrrs: Vec::new(),
            atsrs: Vec::new(),
            rhsas: Vec::new(),
            andds: Vec::new(),
            satcs: Vec::new(),
            sidps: Vec::new(),
            others: Vec::new(),
        }
    }

    /// The table with its header and checksum.
    ///
    /// # Errors
    /// [`EncodeError`] says what cannot be written, or would be read as something else.
    pub fn encode(&self) -> Result<Vec<u8>, EncodeError> {
        let body = self.body()?;
        let length = u32::try_from(body.len().saturating_add(HEADER))
            .map_err(|_| EncodeError::TooLong { what: "the table" })?;
        let mut behind = Writer::default();
        behind.bytes(&self.ids.oem_id);
        behind.bytes(&self.ids.oem_table_id);
        behind.u32(self.ids.oem_revision);
        behind.bytes(&self.ids.creator_id);
        behind.u32(self.ids.creator_revision);
        behind.bytes(&body);

        let mut table = Writer::default();
        table.bytes(&SIGNATURE);
        table.u32(length);
        table.u8(REVISION);
        let rest = sum(&table.0).wrapping_add(sum(&behind.0));
        table.u8(rest.wrapping_neg());
        table.bytes(&behind.0);
        Ok(table.0)
    }

    /// The table behind its header of 36 bytes: what QEMU takes as `-acpitable sig=DMAR,data=FILE`, to which it adds a header of
    /// its own.
    ///
    /// # Errors
    /// As [`encode`](Self::encode).
    pub fn body(&self) -> Result<Vec<u8>, EncodeError> {
        if !(12..=64).contains(&self.host_address_width) {
            return Err(EncodeError::HostAddressWidth(self.host_address_width));
        }
        self.check_include_all()?;
        let mut out = Writer::default();
        out.u8(self.host_address_width - 1);
        let flags = [self.interrupt_remapping, self.x2apic_opt_out, self.dma_control_opt_in];
        out.u8(flags.iter().rev().fold(0, |bits, flag| bits << 1 | u8::from(*flag)));
        out.bytes(&[0; 10]);
        self.drhds.iter().try_for_each(|one| one.encode(&mut out))?;
        self.rmrrs.iter().try_for_each(|one| one.encode(&mut out))?;
        self.atsrs.iter().try_for_each(|one| one.encode(&mut out))?;
        self.rhsas.iter().try_for_each(|one| one.encode(&mut out))?;
        self.andds.iter().try_for_each(|one| one.encode(&mut out))?;
        self.satcs.iter().try_for_each(|one| one.encode(&mut out))?;
        self.sidps.iter().try_for_each(|one| one.encode(&mut out))?;
        self.others.iter().try_for_each(|one| one.encode(&mut out))?;
        Ok(out.0)
    }

    /// Reads a whole table. What this crate does not know of it (reserved fields, other types) does not matter; nor does the order of
    /// structures of different types.
    ///
    /// # Errors
    /// [`DecodeError`] names the first field that is wrong, and where it is.
    pub fn decode(table: &[u8]) -> Result<Self, DecodeError> {
        let mut reader = Reader::new(table);
        let whole = reader;
        if reader.bytes("signature")? != SIGNATURE {
            return Err(whole.invalid("signature", first_four(table), "DMAR"));
        }
        let at_length = reader;
        let length = reader.u32("length")?;
        if usize::try_from(length).ok() != Some(table.len()) {
            return Err(at_length.invalid("length", length.into(), "that of the table"));
        }
        let at_revision = reader;
        let revision = reader.u8("revision")?;
        if revision != REVISION {
            return Err(at_revision.invalid("revision", revision.into(), "1"));
        }
        let at_checksum = reader;
        let checksum = reader.u8("checksum")?;
        if sum(table) != 0 {
            return Err(at_checksum.invalid("checksum", checksum.into(), "the right one"));
        }
        let ids = TableIds {
            oem_id: reader.bytes("OEM ID")?,
            oem_table_id: reader.bytes("OEM table ID")?,
            oem_revision: reader.u32("OEM revision")?,
            creator_id: reader.bytes("creator ID")?,
            creator_revision: reader.u32("creator revision")?,
        };
        Ok(Self { ids, ..Self::decode_behind_header(reader)? })
    }

    /// Reads a table without its header: what [`body`](Self::body) writes.
    ///
    /// # Errors
    /// As [`decode`](Self::decode); offsets count from the first byte of `body`.
    pub fn decode_body(body: &[u8]) -> Result<Self, DecodeError> {
        Self::decode_behind_header(Reader::new(body))
    }

    fn decode_behind_header(mut reader: Reader<'_>) -> Result<Self, DecodeError> {
        let at_width = reader;
        let width = reader.u8("host address width")?;
        if !(11..64).contains(&width) {
            return Err(at_width.invalid("host address width", width.into(), "11 to 63"));
        }
        let flags = reader.u8("flags")?;
        let _reserved = reader.bytes::<10>("reserved")?;
        let mut table = Self::new(width + 1);
        table.interrupt_remapping = flags & 1 != 0;
        table.x2apic_opt_out = flags & 2 != 0;
        table.dma_control_opt_in = flags & 4 != 0;
        while !reader.is_empty() {
            table.decode_structure(&mut reader)?;
        }
        Ok(table)
    }

    fn decode_structure(&mut self, reader: &mut Reader<'_>) -> Result<(), DecodeError> {
        let whole = *reader;
        let kind = reader.u16("remapping structure: type")?;
        let at_length = *reader;
        let length = reader.u16("remapping structure: length")?;
        if length < 4 {
            let field = "remapping structure: length";
            return Err(at_length.invalid(field, length.into(), "4 or more"));
        }
        *reader = whole;
        let mut one = reader.part("remapping structure", usize::from(length))?;
        let _type_and_length = one.u32("remapping structure: length")?;
        match kind {
            0 => self.drhds.push(Drhd::decode(one)?),
            1 => self.rmrrs.push(Rmrr::decode(one)?),
            2 => self.atsrs.push(Atsr::decode(one)?),
            3 => self.rhsas.push(Rhsa::decode(one)?),
            4 => self.andds.push(Andd::decode(one)?),
            5 => self.satcs.push(Satc::decode(one)?),
            6 => self.sidps.push(Sidp::decode(one)?),
            kind => self.others.push(OtherStructure::new(kind, one.left().to_vec())),
        }
        Ok(())
    }

    /// A guest takes the first unit that fits a device.
    fn check_include_all(&self) -> Result<(), EncodeError> {
        for (place, unit) in self.drhds.iter().enumerate() {
            let segment = unit.segment;
            let mut behind = self.drhds.iter().skip(place).skip(1);
            if unit.include_pci_all && behind.any(|other| other.segment == segment) {
                return Err(EncodeError::IncludeAllNotLast { segment });
            }
        }
        Ok(())
    }
}

fn sum(bytes: &[u8]) -> u8 {
    bytes.iter().fold(0, |sum, byte| sum.wrapping_add(*byte))
}

/// The first four bytes as a number, the first one uppermost, so that it reads as text does.
fn first_four(bytes: &[u8]) -> u64 {
    bytes.iter().take(4).fold(0, |number, byte| number << 8 | u64::from(*byte))
}
