//! What a remapping unit is made of.

use std::sync::Arc;
use std::time::Duration;

use vtd_cache::{Capacities, Quotas};
use vtd_host::{HostIommu, PasidAllocator};
use vtd_memory::GuestMemory;
use vtd_spec::Capabilities;

use crate::{DiagnosticLimits, InterruptListener, Observer, Wake};

/// What a [`RemappingUnit`](crate::RemappingUnit) is made of. Start with [`UnitConfig::new`] and change what differs.
#[derive(Clone)]
#[non_exhaustive]
pub struct UnitConfig {
    /// CAP, ECAP and the host address width as the VMM would like them. The guest is shown
    /// [`RemappingUnit::capabilities`](crate::RemappingUnit::capabilities), which may be less.
    pub capabilities: Capabilities,
    /// VER as the guest reads it: minor 3:0, major 7:4.
    pub version: u32,
    /// Guest memory.
    pub memory: Arc<dyn GuestMemory>,
    /// Where bindings of assigned devices go. Without one only emulated devices can be attached.
    pub host: Option<Arc<dyn HostIommu>>,
    /// Called when there is an effect to take or work to step through.
    pub wake: Option<Arc<dyn Wake>>,
    /// Told of everything that the unit does.
    pub observer: Option<Arc<dyn Observer>>,
    /// How many bindings there may be.
    pub quotas: Quotas,
    /// How much the caches hold.
    pub capacities: Capacities,
    /// How long a guard may stand in the way of a completion before an effect names its device.
    pub guard_patience: Duration,
    /// How much the VMM is told of what a guest can bring about at will.
    pub diagnostic_limits: DiagnosticLimits,
    /// How long an endpoint may take to answer a device-TLB invalidation before the guest is told of a time-out. A step looks
    /// at it. [`Duration::MAX`]: for ever, unless [`RemappingUnit::expire_device_tlb`](crate::RemappingUnit::expire_device_tlb)
    /// says otherwise.
    pub device_tlb_patience: Duration,
    /// Told when interrupt remapping entries are invalidated, for VMMs that keep remapped interrupts.
    pub interrupt_listener: Option<Arc<dyn InterruptListener>>,
    /// Where PASIDs come from that the guest asks for with virtual commands (ECAP.VCS). Without one the unit has a
    /// [`LocalPasidAllocator`](vtd_host::LocalPasidAllocator) of its own; units of one guest may share one.
    pub pasid_allocator: Option<Arc<dyn PasidAllocator>>,
    /// How many PASIDs the guest may have by virtual commands.
    pub pasid_quota: usize,
}

impl UnitConfig {
    /// A unit with these capabilities over this memory: version 1.0, no host, default quotas and caches.
    #[must_use]
    pub fn new(capabilities: Capabilities, memory: Arc<dyn GuestMemory>) -> Self {
        Self {
            capabilities,
            version: 0x10,
            memory,
            host: None,
            wake: None,
            observer: None,
            quotas: Quotas::default(),
            capacities: Capacities::default(),
            guard_patience: Duration::from_secs(1),
            diagnostic_limits: DiagnosticLimits::default(),
            device_tlb_patience: Duration::from_secs(60),
            interrupt_listener: None,
            pasid_allocator: None,
            pasid_quota: 65_536,
        }
    }
}

impl std::fmt::Debug for UnitConfig {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("UnitConfig")
            .field("capabilities", &self.capabilities)
            .field("version", &self.version)
            .field("host", &self.host.is_some())
            .field("quotas", &self.quotas)
            .field("capacities", &self.capacities)
            .field("interrupt_listener", &self.interrupt_listener.is_some())
            .field("pasid_allocator", &self.pasid_allocator.is_some())
            .field("pasid_quota", &self.pasid_quota)
            .finish_non_exhaustive()
    }
}
