//! What a host can hold for a device.

use vtd_spec::{Binding, FirstStageLevels, Pasid, Slot};

/// What a host can hold for one device. Begin with [`none`](Self::none) or [`everything`](Self::everything) and change the
/// fields that differ.
///
/// ```
/// use vtd_host::HostCapabilities;
///
/// let mut capabilities = HostCapabilities::none();
/// capabilities.pass_through = true;
/// capabilities.first_stage_four = true;
/// capabilities.pasids = 1 << 16;
/// ```
///
/// # What the guest is shown
/// A unit shows its guest no more than the hosts of all its assigned devices have, so fields decide on bits of CAP and ECAP, and
/// others on single slots alone. On Linux, `cap`, `ecap` and the errata are those of `GET_HW_INFO`:
///
/// | field | from | without it the guest is not shown |
/// | --- | --- | --- |
/// | `first_stage_four`, unless the [erratum](Self::erratum_772415) forbids it | ECAP.NEST and FSTS | ECAP.FSTS and all below it |
/// | `first_stage_five`, `first_stage_1g` | CAP.FS5LP, FS1GP | CAP.FS5LP, FS1GP |
/// | `supervisor`, `extended_accessed` | ECAP.SRS, EAFS | ECAP.SRS, EAFS |
/// | `coherent_page_walk` | ECAP.SMPWCS | ECAP.SMPWCS |
/// | `pass_through` | the parent can be attached: true | ECAP.PT |
/// | `pasid_bits` | ECAP.PSS + 1 | PASIDs of more bits, ECAP.PSS |
/// | `snoop_control` | enforced cache coherency | ECAP.SC |
/// | `shadowing`, `second_stage_bits` | `map` and `unmap` are there; the width of the IOAS | ECAP.SSTS; wider tables, CAP.SAGAW |
/// | `write_protect`, `pasids` | | nothing: such a slot is blocked |
/// | `second_stage`, `nested`, `second_stage_accessed_dirty`, `execute_requests` | false | ECAP.SSTS, NEST, SSADS, ERS |
/// | `protected_memory` | false | CAP.PLMR, PHMR |
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct HostCapabilities {
    /// First-stage tables of four levels (48-bit addresses).
    pub first_stage_four: bool,
    /// First-stage tables of five levels (57-bit addresses).
    pub first_stage_five: bool,
    /// Pass-through: guest-physical addresses, which the host itself translates.
    pub pass_through: bool,
    /// First-stage bindings with SRE, supervisor requests.
    pub supervisor: bool,
    /// First-stage bindings with WPE, write protection of supervisor requests. Hardware heeds it only with SRE.
    pub write_protect: bool,
    /// First-stage bindings with EAFE, the extended accessed bit.
    pub extended_accessed: bool,
    /// How many PASIDs of the device may be bound at once, besides requests without PASID; 0 where it is without PASIDs. 2^20
    /// is no limit.
    pub pasids: u32,
    /// Second-stage tables, of every number of levels, shadowed by [`HostIommu::map`](crate::HostIommu::map) and
    /// [`unmap`](crate::HostIommu::unmap).
    pub shadowing: bool,
    /// [`HostIommu::unmap`](crate::HostIommu::unmap) may cut what one call has mapped. VFIO and iommufd cannot: for them each leaf
    /// of a guest's table is mapped by a call of its own.
    pub unmap_cuts: bool,
    /// First-stage pages of 1 GiB.
    pub first_stage_1g: bool,
    /// How many bits a PASID may have, where there are PASIDs at all: 20 is no limit.
    pub pasid_bits: u8,
    /// Hardware's walks of first-stage tables are coherent with the processor's caches.
    pub coherent_page_walk: bool,
    /// All DMA of the device is snooped, whatever the guest's tables say of it.
    pub snoop_control: bool,
    /// How many bits the input addresses of shadowed second-stage tables may have: 39, 48 or 57. 57 is no limit.
    pub second_stage_bits: u8,
    /// The guest may be shown second-stage tables in scalable mode although nothing shadows them: slots that use one are blocked.
    pub second_stage: bool,
    /// The guest may be shown nested entries although no binding carries one: slots that use one are blocked.
    pub nested: bool,
    /// The guest may be shown second-stage accessed and dirty bits although none are set for this device.
    pub second_stage_accessed_dirty: bool,
    /// The guest may be shown execute requests although no binding carries ERE and NXE.
    pub execute_requests: bool,
    /// The guest may be shown protected memory regions although DMA of this device reaches them.
    pub protected_memory: bool,
    /// The host's IOMMU has erratum 772415: in a nested translation it may set accessed and dirty bits in first-stage tables that
    /// the parent maps read-only, so a parent with read-only mappings must not be used for one.
    ///
    /// With [`read_only_memory`](Self::read_only_memory) it leaves no first-stage binding, whatever the fields for them say. It
    /// says nothing of shadowed tables: those address spaces are no parent of a nested translation, so
    /// [`HostIommu::map`](crate::HostIommu::map) with [`Permission::Read`](crate::Permission::Read) is fine on such a host.
    pub erratum_772415: bool,
    /// The guest memory that the device reaches, the parent, has read-only mappings (of ROM, say). It is so for as long as the
    /// device is there: a VMM that adds such a mapping later to a host with the erratum leaves it out of the parent.
    pub read_only_memory: bool,
}

impl HostCapabilities {
    /// A host that can hold nothing. PASIDs and addresses may be as wide as they get.
    #[must_use]
    pub const fn none() -> Self {
        Self {
            first_stage_four: false,
            first_stage_five: false,
            pass_through: false,
            supervisor: false,
            write_protect: false,
            extended_accessed: false,
            pasids: 0,
            shadowing: false,
            unmap_cuts: false,
            first_stage_1g: false,
            pasid_bits: 20,
            coherent_page_walk: false,
            snoop_control: false,
            second_stage_bits: 57,
            second_stage: false,
            nested: false,
            second_stage_accessed_dirty: false,
            execute_requests: false,
            protected_memory: false,
            erratum_772415: false,
            read_only_memory: false,
        }
    }

    /// A host that can do all that these fields name.
    #[must_use]
    pub const fn everything() -> Self {
        Self {
            first_stage_four: true,
            first_stage_five: true,
            pass_through: true,
            supervisor: true,
            write_protect: true,
            extended_accessed: true,
            pasids: Pasid::END,
            shadowing: true,
            unmap_cuts: true,
            first_stage_1g: true,
            pasid_bits: 20,
            coherent_page_walk: true,
            snoop_control: true,
            second_stage_bits: 57,
            second_stage: true,
            nested: true,
            second_stage_accessed_dirty: true,
            execute_requests: true,
            protected_memory: true,
            erratum_772415: false,
            read_only_memory: false,
        }
    }

    /// Whether first-stage tables can be bound at all: of four levels at least, and with no erratum against it.
    #[must_use]
    pub const fn binds_first_stage(&self) -> bool {
        self.first_stage_four && !self.has_forbidden_parent()
    }

    /// The parent maps what the erratum forbids it to.
    const fn has_forbidden_parent(&self) -> bool {
        self.erratum_772415 && self.read_only_memory
    }

    /// Whether such a binding can be held for such a slot. How many PASIDs are bound already does not count here.
    #[must_use]
    pub fn supports(&self, binding: &Binding, slot: Slot) -> bool {
        let slot_exists = match slot {
            Slot::Rid => true,
            Slot::Pasid(pasid) => {
                self.pasids > 0
                    && pasid.get().checked_shr(u32::from(self.pasid_bits)).unwrap_or(0) == 0
            }
        };
        let binding_fits = match binding {
            Binding::PassThrough => self.pass_through,
            Binding::SecondStage(_) => self.shadowing,
            Binding::FirstStage(stage) => {
                let levels = match stage.levels {
                    FirstStageLevels::Four => self.first_stage_four,
                    FirstStageLevels::Five => self.first_stage_five,
                };
                levels
                    && !self.has_forbidden_parent()
                    && (self.supervisor || !stage.supervisor)
                    && (self.write_protect || !stage.write_protect)
                    && (self.extended_accessed || !stage.extended_accessed)
            }
            // A kind of binding that came after these fields.
            _ => false,
        };
        slot_exists && binding_fits
    }
}
