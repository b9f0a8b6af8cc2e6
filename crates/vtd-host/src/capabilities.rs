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
    /// [`HostIommu::allocate_pasid`](crate::HostIommu::allocate_pasid) and [`free_pasid`](crate::HostIommu::free_pasid).
    pub pasid_allocation: bool,
}

impl HostCapabilities {
    /// A host that can hold nothing.
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
            pasid_allocation: false,
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
            pasid_allocation: true,
        }
    }

    /// Whether such a binding can be held for such a slot. How many PASIDs are bound already does not count here.
    #[must_use]
    pub fn supports(&self, binding: &Binding, slot: Slot) -> bool {
        let slot_exists = match slot {
            Slot::Rid => true,
            Slot::Pasid(_) => self.pasids > 0,
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
