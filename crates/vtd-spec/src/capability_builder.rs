//! Capabilities in words.

use crate::table::SecondStageLevels;
use crate::{Capabilities, CapabilityError, FirstStageLevels};

/// Which interrupt requests a unit remaps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InterruptRemapping {
    /// None: ECAP.IR is 0.
    None,
    /// Those to APIC identifiers of 8 bits: ECAP.IR.
    Xapic,
    /// Those to APIC identifiers of 32 bits too: ECAP.IR and EIM.
    Extended,
}

/// What a unit is to show, said in words; [`build`](Self::build) gives the [`Capabilities`].
///
/// Begin with [`scalable`](Self::scalable) or [`legacy`](Self::legacy) and say what differs; of two words about one thing the
/// last counts. The registers whose place a capability names are placed where they lie over nothing else, unless
/// [`fault_records_at`](Self::fault_records_at) and [`invalidate_registers_at`](Self::invalidate_registers_at) say where.
///
/// Never shown, because a unit of this project does not have them: enhanced commands (CAP.ECMDS), performance counters
/// (ECAP.PMS), memory types with their range registers (ECAP.MTS), the advanced fault log (CAP.AFL), posted interrupts (CAP.PI),
/// and the obsolete ECAP.DIS.
///
/// ```
/// use vtd_spec::table::SecondStageLevels::{Five, Four};
/// use vtd_spec::{CapabilitiesBuilder, FirstStageLevels, InterruptRemapping};
///
/// let capabilities = CapabilitiesBuilder::scalable()
///     .first_stage(FirstStageLevels::Five)
///     .second_stage(&[Four, Five])
///     .guest_address_bits(57)
///     .host_address_bits(46)
///     .pasid_bits(16)
///     .page_requests(true)
///     .interrupt_remapping(InterruptRemapping::Extended)
///     .fault_records(8)
///     .build()?;
/// assert_eq!(capabilities.pasid_bits(), 16);
/// # Ok::<(), vtd_spec::CapabilityError>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub struct CapabilitiesBuilder {
    /// The single bits of CAP and ECAP.
    cap: u64,
    ecap: u64,
    /// CAP.SAGAW.
    widths: u8,
    domains: u32,
    guest_address_bits: u8,
    host_address_bits: Option<u8>,
    pasid_bits: u8,
    address_mask: u8,
    handle_mask: u8,
    fault_records: u16,
    fault_records_at: Option<u64>,
    invalidate_registers_at: Option<u64>,
}

const CM: u64 = 1 << 7;
const SECOND_STAGE_2M: u64 = 1 << 34;
const SECOND_STAGE_1G: u64 = 1 << 35;
const PSI: u64 = 1 << 39;
const DWD_DRD: u64 = 3 << 54;
const FS1GP: u64 = 1 << 56;
const FS5LP: u64 = 1 << 60;
const ESIRTPS: u64 = 1 << 62;
const ESRTPS: u64 = 1 << 63;

const QI: u64 = 1 << 1;
const DT: u64 = 1 << 2;
const IR: u64 = 1 << 3;
const EIM: u64 = 1 << 4;
const PT: u64 = 1 << 6;
const NEST: u64 = 1 << 26;
const PRS: u64 = 1 << 29;
const ERS: u64 = 1 << 30;
const SRS: u64 = 1 << 31;
const NWFS: u64 = 1 << 33;
const EAFS: u64 = 1 << 34;
const PASID: u64 = 1 << 40;
const DIT: u64 = 1 << 41;
const PDS: u64 = 1 << 42;
const SMTS: u64 = 1 << 43;
const VCS: u64 = 1 << 44;
const SSADS: u64 = 1 << 45;
const SSTS: u64 = 1 << 46;
const FSTS: u64 = 1 << 47;
const SMPWCS: u64 = 1 << 48;
const RPS: u64 = 1 << 49;
const ADMS: u64 = 1 << 52;
const RPRIVS: u64 = 1 << 53;

/// Where the fault records lie if they fit below the virtual command registers, and otherwise.
const FAULT_RECORDS: u64 = 0x220;
const MANY_FAULT_RECORDS: u64 = 0x1000;
const VIRTUAL_COMMANDS: u64 = 0xe00;
const INVALIDATE_REGISTERS: u64 = 0xf0;

macro_rules! feature {
    ($($(#[$doc:meta])* $name:ident: $register:ident $bits:expr;)*) => {
        $($(#[$doc])*
        pub const fn $name(mut self, shown: bool) -> Self {
            self.$register = if shown { self.$register | $bits } else { self.$register & !$bits };
            self
        })*
    };
}

impl CapabilitiesBuilder {
    /// Scalable mode as Linux uses it with first-stage tables: 4 levels with pages of 1 GiB, pass-through, PASIDs of 20 bits,
    /// device TLBs, caching mode, second-stage tables of 39 and 48 bits in legacy mode alone, addresses of 48 bits, 65,536 domains
    /// and one fault record. Neither page requests nor interrupt remapping, and RID_PASID is 0.
    pub const fn scalable() -> Self {
        let mut builder = Self::legacy();
        builder.cap |= FS1GP;
        builder.ecap |= DT | SMTS | FSTS | SMPWCS;
        builder.pasid_bits = 20;
        builder
    }

    /// Legacy mode alone, as Linux uses it: second-stage tables of 39 and 48 bits with pages of 2 MiB and 1 GiB, pass-through,
    /// queued invalidation, caching mode, addresses of 48 bits, 65,536 domains and one fault record.
    pub const fn legacy() -> Self {
        Self {
            cap: CM | SECOND_STAGE_2M | SECOND_STAGE_1G | PSI | DWD_DRD | ESRTPS,
            ecap: QI | PT,
            widths: 0b0110,
            domains: 1 << 16,
            guest_address_bits: 48,
            host_address_bits: None,
            pasid_bits: 0,
            address_mask: 18,
            handle_mask: 0,
            fault_records: 1,
            fault_records_at: None,
            invalidate_registers_at: None,
        }
    }

    /// First-stage tables in scalable mode: of four levels, or of four and five. ECAP.FSTS and CAP.FS5LP.
    pub const fn first_stage(mut self, most: FirstStageLevels) -> Self {
        self.ecap |= FSTS;
        self.cap = match most {
            FirstStageLevels::Four => self.cap & !FS5LP,
            FirstStageLevels::Five => self.cap | FS5LP,
        };
        self
    }

    /// No first-stage tables, nor what belongs to them: pages of 1 GiB, the extended accessed flag, nested translation.
    pub const fn without_first_stage(mut self) -> Self {
        self.cap &= !(FS5LP | FS1GP);
        self.ecap &= !(FSTS | EAFS | NEST);
        self
    }

    /// Second-stage tables of these numbers of levels, in legacy mode and, on a unit that has it, in scalable mode: CAP.SAGAW and
    /// ECAP.SSTS. With none at all a unit of scalable mode has no second-stage tables.
    pub const fn second_stage(mut self, levels: &[SecondStageLevels]) -> Self {
        self = self.legacy_second_stage(levels);
        if !levels.is_empty() && self.ecap & SMTS != 0 {
            self.ecap |= SSTS;
        }
        self
    }

    /// Second-stage tables of these numbers of levels in legacy mode alone: CAP.SAGAW.
    pub const fn legacy_second_stage(mut self, levels: &[SecondStageLevels]) -> Self {
        self.ecap &= !(SSTS | SSADS | NEST);
        self.widths = 0;
        let mut rest = levels;
        while let [level, after @ ..] = rest {
            self.widths |= 1 << level.address_width();
            rest = after;
        }
        self
    }

    /// How many bits a PASID has, up to 20; 0 for no PASIDs. ECAP.PASID and PSS.
    pub const fn pasid_bits(mut self, bits: u8) -> Self {
        self.pasid_bits = bits;
        self
    }

    /// Page requests, and waits that drain them: ECAP.PRS and PDS. Linux uses them only if both are shown.
    pub const fn page_requests(mut self, shown: bool) -> Self {
        self.ecap = if shown { self.ecap | PRS | PDS } else { self.ecap & !(PRS | PDS) };
        self
    }

    /// Which interrupt requests are remapped: ECAP.IR and EIM.
    pub const fn interrupt_remapping(mut self, remapping: InterruptRemapping) -> Self {
        self.ecap = match remapping {
            InterruptRemapping::None => self.ecap & !(IR | EIM),
            InterruptRemapping::Xapic => self.ecap & !EIM | IR,
            InterruptRemapping::Extended => self.ecap | IR | EIM,
        };
        self
    }

    /// How many domains there are: 16, 64, 256, 1,024, 4,096, 16,384 or 65,536. CAP.ND.
    pub const fn domains(mut self, count: u32) -> Self {
        self.domains = count;
        self
    }

    /// How wide the addresses are that devices may use, 1 to 64 bits. CAP.MGAW.
    pub const fn guest_address_bits(mut self, bits: u8) -> Self {
        self.guest_address_bits = bits;
        self
    }

    /// How wide an address in the guest's tables may be, 12 to 52 bits: no register shows it (the DMAR table does). What
    /// [`guest_address_bits`](Self::guest_address_bits) says, where this is not said.
    pub const fn host_address_bits(mut self, bits: u8) -> Self {
        self.host_address_bits = Some(bits);
        self
    }

    /// How many fault recording registers there are, 1 to 256. CAP.NFR.
    pub const fn fault_records(mut self, count: u16) -> Self {
        self.fault_records = count;
        self
    }

    /// The byte offset of the fault recording registers: a multiple of 16 up to 3ff0. CAP.FRO.
    pub const fn fault_records_at(mut self, offset: u64) -> Self {
        self.fault_records_at = Some(offset);
        self
    }

    /// The byte offset of IVA, which IOTLB follows: a multiple of 16 up to 3ff0. ECAP.IRO.
    pub const fn invalidate_registers_at(mut self, offset: u64) -> Self {
        self.invalidate_registers_at = Some(offset);
        self
    }

    /// The largest address mask of a page-selective IOTLB invalidation, up to 63: it drops 2^mask pages. CAP.MAMV.
    pub const fn maximum_address_mask(mut self, mask: u8) -> Self {
        self.address_mask = mask;
        self
    }

    /// The largest index mask of an interrupt entry cache invalidation, up to 15. ECAP.MHMV.
    pub const fn maximum_handle_mask(mut self, mask: u8) -> Self {
        self.handle_mask = mask;
        self
    }

    feature! {
        /// Caching mode, CAP.CM: software tells of entries that were not present too. Assigned devices need it.
        caching_mode: cap CM;
        /// Software must flush the write buffer, CAP.RWBF.
        write_buffer_flush: cap 1 << 4;
        /// A protected low-memory region, CAP.PLMR.
        protected_low_memory: cap 1 << 5;
        /// A protected high-memory region, CAP.PHMR.
        protected_high_memory: cap 1 << 6;
        /// Zero-length reads of write-only pages are served, CAP.ZLR.
        zero_length_read: cap 1 << 22;
        /// Second-stage pages of 2 MiB, CAP.SSLPS bit 0.
        second_stage_2m: cap SECOND_STAGE_2M;
        /// Second-stage pages of 1 GiB, CAP.SSLPS bit 1.
        second_stage_1g: cap SECOND_STAGE_1G;
        /// Page-selective IOTLB invalidation, CAP.PSI.
        page_selective: cap PSI;
        /// Writes and reads drain on invalidation, CAP.DWD and DRD. The unit does so in any case.
        drain: cap DWD_DRD;
        /// First-stage pages of 1 GiB, CAP.FS1GP.
        first_stage_1g: cap FS1GP;
        /// Setting the interrupt remapping table pointer invalidates, CAP.ESIRTPS.
        enhanced_interrupt_table_pointer: cap ESIRTPS;
        /// Setting the root table pointer invalidates every cache, CAP.ESRTPS.
        enhanced_root_table_pointer: cap ESRTPS;
        /// The unit's accesses to tables are coherent in legacy mode, ECAP.C.
        coherent: ecap 1;
        /// Queued invalidation, ECAP.QI.
        queued_invalidation: ecap QI;
        /// Device TLBs (ATS), ECAP.DT.
        device_tlbs: ecap DT;
        /// Pass-through, ECAP.PT.
        pass_through: ecap PT;
        /// Snoop control, ECAP.SC.
        snoop_control: ecap 1 << 7;
        /// Nested translation, ECAP.NEST.
        nested: ecap NEST;
        /// Execute requests, ECAP.ERS.
        execute_requests: ecap ERS;
        /// Supervisor requests, ECAP.SRS.
        supervisor_requests: ecap SRS;
        /// The no-write flag of translation requests, ECAP.NWFS.
        no_write_flag: ecap NWFS;
        /// The extended accessed flag, ECAP.EAFS.
        extended_accessed: ecap EAFS;
        /// Device-TLB invalidation throttle, the PFSID fields: ECAP.DIT.
        device_tlb_throttle: ecap DIT;
        /// Waits that drain page requests, ECAP.PDS. [`page_requests`](Self::page_requests) says it too.
        page_request_drain: ecap PDS;
        /// Virtual commands, ECAP.VCS.
        virtual_commands: ecap VCS;
        /// Second-stage accessed and dirty bits, ECAP.SSADS.
        second_stage_accessed_dirty: ecap SSADS;
        /// Coherent page walks in scalable mode, ECAP.SMPWCS.
        coherent_page_walk: ecap SMPWCS;
        /// RID_PASID can be chosen, ECAP.RPS.
        rid_pasid: ecap RPS;
        /// Abort mode of the root table pointer, ECAP.ADMS.
        abort_mode: ecap ADMS;
        /// RID_PRIV can be chosen, ECAP.RPRIVS.
        rid_privilege: ecap RPRIVS;
    }

    /// The capabilities.
    ///
    /// # Errors
    /// [`CapabilityError`] names the two things that do not fit together, or the number that no unit has.
    pub fn build(self) -> Result<Capabilities, CapabilityError> {
        let cap = self.cap_register()?;
        let ecap = self.ecap_register()?;
        self.check(ecap)?;
        let capabilities = Capabilities::new(cap, ecap)?;
        match self.host_address_bits {
            Some(bits) => capabilities.with_host_address_width(bits),
            None => Ok(capabilities),
        }
    }

    fn cap_register(&self) -> Result<u64, CapabilityError> {
        let domains = (0..7).find(|nd| self.domains == 1 << (4 + 2 * nd)).ok_or(refused(
            "CAP.ND, domains",
            self.domains,
            "16, 64, 256, 1024, 4096, 16384 or 65536",
        ))?;
        let width =
            within("CAP.MGAW, guest address bits", self.guest_address_bits, 1, 64, "1 to 64")?;
        let records = within("CAP.NFR, fault records", self.fault_records, 1, 256, "1 to 256")?;
        let mask = within("CAP.MAMV, address mask", self.address_mask, 0, 63, "0 to 63")?;
        let automatic = match FAULT_RECORDS + 16 * records <= VIRTUAL_COMMANDS {
            true => FAULT_RECORDS,
            false => MANY_FAULT_RECORDS,
        };
        let place = place("CAP.FRO, fault records", self.fault_records_at.unwrap_or(automatic))?;
        Ok(self.cap
            | domains
            | u64::from(self.widths) << 8
            | (width - 1) << 16
            | place << 24
            | (records - 1) << 40
            | mask << 48)
    }

    fn ecap_register(&self) -> Result<u64, CapabilityError> {
        let place = place(
            "ECAP.IRO, IVA and IOTLB",
            self.invalidate_registers_at.unwrap_or(INVALIDATE_REGISTERS),
        )?;
        let mask = within("ECAP.MHMV, handle mask", self.handle_mask, 0, 15, "0 to 15")?;
        let pasid_bits = within("ECAP.PSS, PASID bits", self.pasid_bits, 0, 20, "0 to 20")?;
        let pasid = if pasid_bits == 0 { 0 } else { PASID | (pasid_bits - 1) << 35 };
        Ok(self.ecap | place << 8 | mask << 20 | pasid)
    }

    /// What a unit could show and no software could make sense of; raw register values are not held to it.
    fn check(&self, ecap: u64) -> Result<(), CapabilityError> {
        let rules = [
            ("CAP", self.cap, FS1GP, "FS1GP", ecap, FSTS, "ECAP.FSTS"),
            ("CAP", self.cap, ESIRTPS, "ESIRTPS", ecap, IR, "ECAP.IR"),
            ("ECAP", ecap, SMPWCS, "SMPWCS", ecap, SMTS, "ECAP.SMTS"),
            ("ECAP", ecap, RPS, "RPS", ecap, SMTS, "ECAP.SMTS"),
            ("ECAP", ecap, RPRIVS, "RPRIVS", ecap, SMTS, "ECAP.SMTS"),
            ("ECAP", ecap, SRS, "SRS", ecap, SMTS, "ECAP.SMTS"),
            ("ECAP", ecap, ERS, "ERS", ecap, PASID, "ECAP.PASID"),
            ("ECAP", ecap, EAFS, "EAFS", ecap, FSTS, "ECAP.FSTS"),
            ("ECAP", ecap, SSADS, "SSADS", ecap, SSTS, "ECAP.SSTS"),
            ("ECAP", ecap, NWFS, "NWFS", ecap, DT, "ECAP.DT"),
            ("ECAP", ecap, DIT, "DIT", ecap, DT, "ECAP.DT"),
            ("ECAP", ecap, PDS, "PDS", ecap, PRS, "ECAP.PRS"),
            ("ECAP", u64::from(self.handle_mask != 0), 1, "MHMV", ecap, IR, "ECAP.IR"),
        ];
        let broken = rules.iter().find(|(_, shown, feature, _, has, needed, _)| {
            shown & feature != 0 && has & needed == 0
        });
        broken.map_or(Ok(()), |&(register, _, _, feature, _, _, needs)| {
            Err(CapabilityError::Needs { register, feature, needs })
        })
    }
}

fn refused(field: &'static str, value: impl Into<u64>, allowed: &'static str) -> CapabilityError {
    CapabilityError::OutOfRange { field, value: value.into(), allowed }
}

fn within(
    field: &'static str,
    value: impl Into<u64>,
    least: u64,
    most: u64,
    allowed: &'static str,
) -> Result<u64, CapabilityError> {
    let value = value.into();
    if (least..=most).contains(&value) { Ok(value) } else { Err(refused(field, value, allowed)) }
}

/// An offset field, in units of 16 bytes.
fn place(field: &'static str, offset: u64) -> Result<u64, CapabilityError> {
    if offset.is_multiple_of(16) && offset <= 0x3ff0 {
        Ok(offset / 16)
    } else {
        Err(refused(field, offset, "a multiple of 16 up to 0x3ff0"))
    }
}
