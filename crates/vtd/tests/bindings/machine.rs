//! A guest with an assigned device, and its host.

use std::sync::Arc;

use vtd::spec::{Capabilities, Slot};
use vtd::{Effect, HostOperation};

use crate::guest::calls::{Calls, Host, held_by, host};
use crate::guest::{CAP, ECAP, Guest};

/// A guest in scalable mode with an assigned device 00:03.0 whose RID_PASID is 0, and its host.
pub(crate) struct Machine {
    pub(crate) guest: Guest,
    pub(crate) host: Host,
    pub(crate) calls: Arc<Calls>,
}

impl Machine {
    pub(crate) fn with_ecap(ecap: u64) -> Self {
        let (host, calls) = (host(), Arc::new(Calls::default()));
        let guest = Guest::made(Capabilities::new(CAP, ecap).unwrap(), |config| {
            config.host = Some(Arc::clone(&host) as _);
            config.observer = Some(Arc::clone(&calls) as _);
        });
        guest.put_context(3, 0);
        Self { guest, host, calls }
    }

    pub(crate) fn new() -> Self {
        let mut machine = Self::with_ecap(ECAP);
        machine.guest.enable();
        machine
    }

    pub(crate) fn pasids(&self) -> Vec<String> {
        let mut held = held_by(&self.host);
        held.retain(|text| !text.starts_with("3 -"));
        held
    }

    pub(crate) fn failures(&self) -> Vec<(HostOperation, Slot)> {
        let failed = |effect| match effect {
            Effect::HostCallFailed { operation, slot, .. } => Some((operation, slot)),
            _ => None,
        };
        self.guest.effects().into_iter().filter_map(failed).collect()
    }
}
