//! What a remapping unit shows in CAP and ECAP, and what that makes reserved elsewhere.

/// The capabilities of a remapping unit: a consistent pair of CAP (008) and ECAP (010) and the host address width.
///
/// Decoding takes it because a field whose capability is not shown is reserved.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Capabilities {
    cap: u64,
    ecap: u64,
    host_address_width: u8,
}

/// A pair of CAP and ECAP values that does not fit together, or asks for what no unit has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CapabilityError {
    /// A feature is shown without one that it is part of.
    #[error("{register} shows {feature}, which needs {needs}")]
    Needs {
        /// The register that shows it, `CAP` or `ECAP`.
        register: &'static str,
        /// The feature shown.
        feature: &'static str,
        /// What is missing.
        needs: &'static str,
    },
    /// CAP.SAGAW names a width other than 39, 48 or 57 bits.
    #[error(
        "CAP.SAGAW is {0:#x}: only bits 1, 2 and 3 (39, 48 and 57 bits) are second-stage widths"
    )]
    UnknownSecondStageWidth(u8),
    /// Second-stage translation is shown and no width for it.
    #[error("CAP.SAGAW is 0, yet the unit has second-stage tables")]
    NoSecondStageWidth,
    /// ECAP.PSS names more bits than a PASID has.
    #[error("ECAP.PSS is {0:#x}: a PASID has at most 20 bits (13)")]
    PasidTooWide(u8),
    /// Two groups of registers lie over each other, or a group runs over the end of what an offset can name.
    #[error("{group} at offset {offset:#x}, {size:#x} bytes, lies over {other}")]
    RegistersOverlap {
        /// The group that a capability field places.
        group: &'static str,
        /// Its byte offset.
        offset: u64,
        /// Its size in bytes.
        size: u64,
        /// What it lies over.
        other: &'static str,
    },
    /// A host address width outside 12 to 52 bits.
    #[error("a host address width of {0} bits: it lies between 12 and 52")]
    HostAddressWidth(u8),
    /// A number that its field cannot hold, or that no unit has.
    #[error("{field} is {value:#x}: it is {allowed}")]
    OutOfRange {
        /// The field and what it counts.
        field: &'static str,
        /// The number asked for.
        value: u64,
        /// What it may be.
        allowed: &'static str,
    },
}

macro_rules! shown {
    ($($(#[$doc:meta])* $name:ident: $register:ident $bit:literal;)*) => {
        $($(#[$doc])*
        #[must_use]
        pub const fn $name(&self) -> bool {
            self.$register >> $bit & 1 == 1
        })*
    };
}

impl Capabilities {
    /// The bits of CAP that a unit of this project may show. The others are reserved or out of scope: the advanced fault log
    /// (AFL 3), posted interrupts (PI 59) and enhanced commands (ECMDS 61).
    pub const IMPLEMENTED_CAP: u64 = 0xd1ff_ff8f_ff7f_1ff7;
    /// The bits of ECAP that a unit of this project may show. The others are reserved or out of scope: memory types with their
    /// range registers (MTS 25), the obsolete DIS (27), and performance monitoring (PMS 51).
    pub const IMPLEMENTED_ECAP: u64 = 0x0033_fffe_e4f3_ffdf;

    /// The capabilities that these register values show, such as those of a recorded unit;
    /// [`CapabilitiesBuilder`](crate::CapabilitiesBuilder) takes words, and is stricter: what it builds passes here. Features that
    /// this project does not have are let through: a unit leaves out [what is not implemented](Self::IMPLEMENTED_CAP).
    ///
    /// The host address width is MGAW + 1, at most 52, until
    /// [`with_host_address_width`](Self::with_host_address_width) says otherwise.
    ///
    /// # Errors
    /// [`CapabilityError`] says which two things do not fit together.
    pub fn new(cap: u64, ecap: u64) -> Result<Self, CapabilityError> {
        let mut caps = Self { cap, ecap, host_address_width: 0 };
        let width = caps.maximum_guest_address_width().min(52);
        caps.check()?;
        caps = caps.with_host_address_width(width)?;
        Ok(caps)
    }

    /// The same with a host address width of `bits`: address fields above it are reserved.
    ///
    /// # Errors
    /// [`CapabilityError::HostAddressWidth`] outside 12 to 52.
    pub fn with_host_address_width(self, bits: u8) -> Result<Self, CapabilityError> {
        if !(12..=52).contains(&bits) {
            return Err(CapabilityError::HostAddressWidth(bits));
        }
        Ok(Self { host_address_width: bits, ..self })
    }

    fn check(&self) -> Result<(), CapabilityError> {
        let ecap = |feature, needs| CapabilityError::Needs { register: "ECAP", feature, needs };
        let cap = |feature, needs| CapabilityError::Needs { register: "CAP", feature, needs };
        let rules = [
            (self.scalable_mode() && !self.queued_invalidation(), ecap("SMTS", "ECAP.QI")),
            (self.pasid() && !self.scalable_mode(), ecap("PASID", "ECAP.SMTS")),
            (self.first_stage() && !self.scalable_mode(), ecap("FSTS", "ECAP.SMTS")),
            (self.scalable_second_stage() && !self.scalable_mode(), ecap("SSTS", "ECAP.SMTS")),
            (self.nested() && !self.first_stage(), ecap("NEST", "ECAP.FSTS")),
            (self.nested() && !self.scalable_second_stage(), ecap("NEST", "ECAP.SSTS")),
            (self.interrupt_remapping() && !self.queued_invalidation(), ecap("IR", "ECAP.QI")),
            (self.extended_interrupt_mode() && !self.interrupt_remapping(), ecap("EIM", "ECAP.IR")),
            (self.page_requests() && !self.device_tlbs(), ecap("PRS", "ECAP.DT")),
            (self.page_requests() && !self.pasid(), ecap("PRS", "ECAP.PASID")),
            (self.virtual_commands() && !self.pasid(), ecap("VCS", "ECAP.PASID")),
            (self.five_level_first_stage() && !self.first_stage(), cap("FS5LP", "ECAP.FSTS")),
        ];
        if let Some((_, error)) = rules.into_iter().find(|(broken, _)| *broken) {
            return Err(error);
        }
        let widths = self.second_stage_widths();
        if widths & !0b01110 != 0 {
            return Err(CapabilityError::UnknownSecondStageWidth(widths));
        }
        if widths == 0 && (!self.scalable_mode() || self.scalable_second_stage()) {
            return Err(CapabilityError::NoSecondStageWidth);
        }
        if self.pasid() && self.pasid_bits() > 20 {
            return Err(CapabilityError::PasidTooWide(self.pasid_bits() - 1));
        }
        self.check_register_places()
    }

    /// The fixed registers take 000 to 0EF, the virtual command registers E00 to E3F.
    fn check_register_places(&self) -> Result<(), CapabilityError> {
        let faults =
            ("FRCD", self.fault_record_offset(), 16 * u64::from(self.fault_record_count()));
        let invalidate = ("IVA and IOTLB", self.invalidate_register_offset(), 16);
        let fixed = ("the fixed registers", 0, 0xf0);
        let commands = ("VCMD, VCRSP and VCCAP", 0xe00, 0x40);
        let overlap = |a: (&'static str, u64, u64), b: (&'static str, u64, u64)| {
            if a.1 < b.1 + b.2 && b.1 < a.1 + a.2 {
                Err(CapabilityError::RegistersOverlap {
                    group: a.0,
                    offset: a.1,
                    size: a.2,
                    other: b.0,
                })
            } else {
                Ok(())
            }
        };
        overlap(faults, fixed)?;
        overlap(invalidate, fixed)?;
        overlap(faults, invalidate)?;
        if self.virtual_commands() {
            overlap(faults, commands)?;
            overlap(invalidate, commands)?;
        }
        Ok(())
    }

    /// CAP as the guest reads it.
    #[must_use]
    pub const fn cap(&self) -> u64 {
        self.cap
    }

    /// ECAP as the guest reads it.
    #[must_use]
    pub const fn ecap(&self) -> u64 {
        self.ecap
    }

    /// The width of a host address in bits, 12 to 52.
    #[must_use]
    pub const fn host_address_width(&self) -> u8 {
        self.host_address_width
    }

    /// The bits of an address field (51:12) that must be zero because no host address has them.
    #[must_use]
    pub const fn reserved_address_bits(&self) -> u64 {
        0x000f_ffff_ffff_f000 & !((1 << self.host_address_width) - 1)
    }

    /// The bits of an entry that leads to another table which must be zero because no host address has them: 63:52 and
    /// [`reserved_address_bits`](Self::reserved_address_bits).
    #[must_use]
    pub const fn reserved_pointer_bits(&self) -> u64 {
        0xfff0_0000_0000_0000 | self.reserved_address_bits()
    }

    /// CAP.ND: how many domains there are, 16 to 65,536.
    #[must_use]
    pub const fn domain_count(&self) -> u32 {
        1 << (4 + 2 * (self.cap & 7))
    }

    /// CAP.SAGAW: bit 1 for 39, bit 2 for 48, bit 3 for 57-bit second-stage tables.
    #[must_use]
    pub const fn second_stage_widths(&self) -> u8 {
        (self.cap >> 8 & 0x1f) as u8
    }

    /// CAP.MGAW + 1: the width of a guest address in bits, 1 to 64.
    #[must_use]
    pub const fn maximum_guest_address_width(&self) -> u8 {
        (self.cap >> 16 & 0x3f) as u8 + 1
    }

    /// CAP.FRO × 16: byte offset of the fault recording registers.
    #[must_use]
    pub const fn fault_record_offset(&self) -> u64 {
        (self.cap >> 24 & 0x3ff) * 16
    }

    /// CAP.NFR + 1: how many fault recording registers there are, 1 to 256.
    #[must_use]
    pub const fn fault_record_count(&self) -> u16 {
        (self.cap >> 40 & 0xff) as u16 + 1
    }

    /// CAP.MAMV: the largest address mask of a page-selective IOTLB invalidation.
    #[must_use]
    pub const fn maximum_address_mask(&self) -> u8 {
        (self.cap >> 48 & 0x3f) as u8
    }

    /// ECAP.IRO × 16: byte offset of IVA; IOTLB follows 8 bytes on.
    #[must_use]
    pub const fn invalidate_register_offset(&self) -> u64 {
        (self.ecap >> 8 & 0x3ff) * 16
    }

    /// ECAP.MHMV: the largest index mask of an interrupt entry cache invalidation.
    #[must_use]
    pub const fn maximum_handle_mask(&self) -> u8 {
        (self.ecap >> 20 & 0xf) as u8
    }

    /// ECAP.PSS + 1: how many bits of a PASID the unit supports.
    #[must_use]
    pub const fn pasid_bits(&self) -> u8 {
        (self.ecap >> 35 & 0x1f) as u8 + 1
    }

    /// How large the register page is in bytes: a multiple of 4 KiB that holds every register.
    #[must_use]
    pub fn register_page_size(&self) -> u64 {
        let faults = self.fault_record_offset() + 16 * u64::from(self.fault_record_count());
        let invalidate = self.invalidate_register_offset() + 16;
        faults.max(invalidate).max(1).next_multiple_of(0x1000)
    }

    shown! {
        /// CAP.AFL: advanced fault log.
        advanced_fault_log: cap 3;
        /// CAP.RWBF: the write buffer must be flushed.
        write_buffer_flush: cap 4;
        /// CAP.PLMR: protected low-memory region.
        protected_low_memory: cap 5;
        /// CAP.PHMR: protected high-memory region.
        protected_high_memory: cap 6;
        /// CAP.CM, caching mode: not-present entries may be held, so software invalidates after every change.
        caching_mode: cap 7;
        /// CAP.ZLR: zero-length reads of write-only pages are served.
        zero_length_read: cap 22;
        /// CAP.SSLPS bit 0: second-stage pages of 2 MiB.
        second_stage_2m: cap 34;
        /// CAP.SSLPS bit 1: second-stage pages of 1 GiB.
        second_stage_1g: cap 35;
        /// CAP.PSI: page-selective IOTLB invalidation.
        page_selective: cap 39;
        /// CAP.FS1GP: first-stage pages of 1 GiB.
        first_stage_1g: cap 56;
        /// CAP.PI: posted interrupts.
        posted_interrupts: cap 59;
        /// CAP.FS5LP: first-stage tables of five levels.
        five_level_first_stage: cap 60;
        /// CAP.ESIRTPS: setting the interrupt remapping table pointer invalidates.
        enhanced_interrupt_table_pointer: cap 62;
        /// CAP.ESRTPS: setting the root table pointer invalidates every cache.
        enhanced_root_table_pointer: cap 63;
        /// ECAP.QI: queued invalidation.
        queued_invalidation: ecap 1;
        /// ECAP.DT: device TLBs.
        device_tlbs: ecap 2;
        /// ECAP.IR: interrupt remapping.
        interrupt_remapping: ecap 3;
        /// ECAP.EIM: extended interrupt mode.
        extended_interrupt_mode: ecap 4;
        /// ECAP.PT: pass-through.
        pass_through: ecap 6;
        /// ECAP.SC: snoop control.
        snoop_control: ecap 7;
        /// ECAP.MTS: memory types.
        memory_types: ecap 25;
        /// ECAP.NEST: nested translation.
        nested: ecap 26;
        /// ECAP.PRS: page requests.
        page_requests: ecap 29;
        /// ECAP.ERS: execute requests.
        execute_requests: ecap 30;
        /// ECAP.SRS: supervisor requests.
        supervisor_requests: ecap 31;
        /// ECAP.NWFS: the no-write flag of translation requests.
        no_write_flag: ecap 33;
        /// ECAP.EAFS: extended accessed flag.
        extended_accessed: ecap 34;
        /// ECAP.PASID: requests with PASID.
        pasid: ecap 40;
        /// ECAP.DIT: device-TLB invalidation throttle, the PFSID fields.
        device_tlb_throttle: ecap 41;
        /// ECAP.PDS: a wait can drain page requests.
        page_request_drain: ecap 42;
        /// ECAP.SMTS: scalable mode.
        scalable_mode: ecap 43;
        /// ECAP.VCS: virtual commands.
        virtual_commands: ecap 44;
        /// ECAP.SSADS: second-stage accessed and dirty bits.
        second_stage_accessed_dirty: ecap 45;
        /// ECAP.SSTS: second-stage tables in scalable mode.
        scalable_second_stage: ecap 46;
        /// ECAP.FSTS: first-stage tables.
        first_stage: ecap 47;
        /// ECAP.SMPWCS: coherent page walks in scalable mode.
        coherent_page_walk: ecap 48;
        /// ECAP.RPS: RID_PASID can be chosen.
        rid_pasid: ecap 49;
        /// ECAP.PMS: performance monitoring.
        performance_monitoring: ecap 51;
        /// ECAP.ADMS: abort mode of the root table pointer.
        abort_mode: ecap 52;
        /// ECAP.RPRIVS: RID_PRIV can be chosen.
        rid_privilege: ecap 53;
    }
}

impl core::fmt::Debug for Capabilities {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(
            f,
            "Capabilities {{ cap: {:#x}, ecap: {:#x}, host_address_width: {} }}",
            self.cap, self.ecap, self.host_address_width
        )
    }
}
