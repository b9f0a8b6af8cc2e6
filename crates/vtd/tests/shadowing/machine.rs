//! A guest with an assigned device 00:03.0 that it gives second-stage tables, and its host.

use std::sync::Arc;

use vtd::host::{HostCapabilities, HostDevice};
use vtd::spec::{Capabilities, Iova, Pasid, Slot};
use vtd::{Effect, HostOperation, Quotas, UnitConfig};

use crate::guest::calls::{Calls, Host, held_by, host_with};
use crate::guest::{CAP, ECAP, Guest};

/// Four-level tables of four pages each: A and B.
pub(crate) const A: u64 = 0x20_0000;
pub(crate) const B: u64 = 0x21_0000;

/// Type 2 by domain.
pub(crate) fn iotlb_domain(domain: u64) -> [u64; 4] {
    [0x22 | domain << 16, 0, 0, 0]
}

/// Type 2 by page: 2^mask pages from this address.
pub(crate) fn iotlb_pages(domain: u64, address: u64, mask: u64) -> [u64; 4] {
    [0x32 | domain << 16, address | mask, 0, 0]
}

pub(crate) struct Machine {
    pub(crate) guest: Guest,
    pub(crate) host: Host,
    pub(crate) calls: Arc<Calls>,
}

impl Machine {
    /// Everything is off; the device is not there yet.
    pub(crate) fn made(cuts: bool, change: impl FnOnce(&mut UnitConfig)) -> Self {
        let mut capabilities = HostCapabilities::everything();
        capabilities.unmap_cuts = cuts;
        let (host, calls) = (host_with(capabilities), Arc::new(Calls::default()));
        let guest = Guest::made(Capabilities::new(CAP, ECAP).unwrap(), |config| {
            config.host = Some(Arc::clone(&host) as _);
            config.observer = Some(Arc::clone(&calls) as _);
            change(config);
        });
        Self { guest, host, calls }
    }

    /// Scalable mode is on, with a context entry of RID_PASID 0 for 00:03.0; tables A and B map page 5 and page 10.
    pub(crate) fn new() -> Self {
        Self::with_quotas(Quotas::default())
    }

    pub(crate) fn with_quotas(quotas: Quotas) -> Self {
        let mut machine = Self::made(true, |config| config.quotas = quotas);
        machine.guest.put_context(3, 0);
        machine.guest.enable();
        machine.tables();
        machine
    }

    /// Legacy mode is on, with a context entry of translation type `tt` and domain 7 for 00:03.0.
    pub(crate) fn legacy(tt: u64) -> Self {
        let mut machine = Self::made(true, |_| {});
        machine.tables();
        // The upper half of a root entry is reserved in legacy mode.
        machine.guest.put(0x1008, &[0]);
        machine.guest.put(0x2000 + 3 * 8 * 16, &[A | tt << 2 | 1, 7 << 8 | 2]);
        machine.guest.unmask_events();
        machine.guest.enable_queue();
        machine.guest.set_root(0x1000);
        machine.guest.command(0x8400_0000);
        machine
    }

    fn tables(&mut self) {
        self.guest.map_second_stage(A, 0x5000, 0x7_5000, 3);
        self.guest.map_second_stage(B, 0x1_0000, 0x9_0000, 1);
    }

    /// What is mapped: `- 5+1 75000 rw`, for slot Rid, then PASIDs.
    pub(crate) fn mapped(&self) -> Vec<String> {
        mapped_by(&self.host)
    }

    /// Descriptors and a wait, which completes; the calls that were made.
    pub(crate) fn invalidate(&mut self, descriptors: &[[u64; 4]]) -> Vec<String> {
        self.calls.take();
        assert!(self.guest.invalidate(descriptors));
        self.short()
    }

    /// The calls since the last time, without the device and what a map leads to: `map - 5+1`.
    pub(crate) fn short(&self) -> Vec<String> {
        let short = |call: String| -> String {
            let words: Vec<_> = call.split(' ').filter(|word| !word.contains(':')).collect();
            match words[0] {
                "map" | "!map" => words[..3].join(" "),
                _ => words.join(" "),
            }
        };
        self.calls.take().into_iter().map(short).collect()
    }

    pub(crate) fn held(&self) -> Vec<String> {
        held_by(&self.host)
    }

    pub(crate) fn failures(&self) -> Vec<(HostOperation, Slot)> {
        let failed = |effect| match effect {
            Effect::HostCallFailed { operation, slot, .. } => Some((operation, slot)),
            _ => None,
        };
        self.guest.effects().into_iter().filter_map(failed).collect()
    }

    /// Where a request of the device leads that its host translates, as far as mappings do.
    pub(crate) fn reach(&self, slot: Slot, iova: u64) -> Option<u64> {
        let found = self.host.inner().translate(HostDevice(3), slot, Iova(iova));
        found.map(|(address, _)| address.0)
    }
}

pub(crate) fn mapped_by(host: &Host) -> Vec<String> {
    let slots = [Slot::Rid].into_iter().chain((0..64).filter_map(Pasid::new).map(Slot::Pasid));
    slots
        .flat_map(|slot| {
            let mappings = host.inner().mappings(HostDevice(3), slot);
            mappings.into_iter().map(move |mapping| {
                let (first, pages) = (mapping.iova.0 >> 12, mapping.pages);
                format!("{slot} {first:x}+{pages:x} {:x}", mapping.gpa.0)
            })
        })
        .collect()
}
