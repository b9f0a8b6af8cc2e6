//! How many bindings there may be.

use std::sync::Arc;

use vtd::host::{HostCapabilities, HostDevice, ModelHost};
use vtd::{Effect, Quotas, RemappingUnit, RestoreOnto};

use crate::guest::{self, Guest, first_stage, pasid_selective};

// feature: 7.bindings: quotas
#[test]
fn quotas() {
    for (per_device, per_unit, host_pasids) in [(4, 100, 100), (100, 4, 100), (100, 100, 4)] {
        let model = Arc::new(ModelHost::new());
        for device in [3, 4] {
            let mut capabilities = HostCapabilities::everything();
            capabilities.pasids = host_pasids;
            model.add_device_with(HostDevice(device), capabilities);
        }
        let mut guest = Guest::made(guest::caps(), |config| {
            config.host = Some(Arc::clone(&model) as _);
            config.quotas = Quotas { per_device, per_unit, ..Quotas::default() };
        });
        guest.enable();
        guest.put_context(3, 0);
        for pasid in 0..8 {
            guest.put_entry(3, pasid, &first_stage(0x10_0000 * (pasid + 1), 5));
        }
        let device = guest.assign(3);
        let pasids = || -> Vec<_> {
            let bindings = model.bindings();
            bindings.iter().map(|(_, slot, _)| slot.to_string()).collect()
        };
        // Rid is not counted.
        assert_eq!(pasids(), ["-", "1", "2", "3", "4"]);
        let effects = guest.effects();
        assert!(matches!(effects[..], [Effect::OverQuota(over)] if over == device), "{effects:?}");
        assert_eq!(guest.unit.slots(device).len(), 5, "nothing is stored for what has no place");
        assert_eq!(guest.unit.counts().ledger.over_quota, 1);
        // What is held can still be changed.
        guest.put_entry(3, 4, &first_stage(0x90_0000, 5));
        assert!(guest.invalidate(&[pasid_selective(5, 4)]));
        assert!(guest.effects().iter().all(|effect| !matches!(effect, Effect::OverQuota(_))));
        // Where one goes, another comes, without being asked for.
        guest.put_entry(3, 2, &[0]);
        assert!(guest.invalidate(&[pasid_selective(5, 2)]));
        assert!(guest.is_idle());
        assert_eq!(pasids(), ["-", "1", "3", "4", "5"]);
        let states = guest.unit.slots(device);
        assert!(states.iter().all(|(_, state)| state.failure.is_none()));
    }
}

// feature: 9.bindings: same host adopted, fresh host bound
#[test]
fn a_device_short_of_space_stays_so_through_a_save() {
    for steps in 0..40 {
        let model = Arc::new(ModelHost::new());
        model.add_device(HostDevice(3));
        let mut config = None;
        let mut guest = Guest::made(guest::caps(), |made| {
            made.host = Some(Arc::clone(&model) as _);
            made.quotas = Quotas { per_device: 4, per_unit: 100, ..Quotas::default() };
            config = Some(made.clone());
        });
        guest.enable();
        guest.put_context(3, 0);
        for pasid in 0..8 {
            guest.put_entry(3, pasid, &first_stage(0x10_0000 * (pasid + 1), 5));
        }
        guest.assign(3);
        guest.put_entry(3, 2, &[0]);
        guest.ring(&[pasid_selective(5, 2)]);
        for _ in 0..steps {
            let _step = guest.unit.step(1);
        }
        let state = guest.unit.save().unwrap();
        guest.unit =
            RemappingUnit::restore(config.unwrap(), &state, RestoreOnto::SameHost).unwrap();
        assert!(guest.is_idle());
        let bindings = model.bindings();
        let held: Vec<_> = bindings.iter().map(|(_, slot, _)| slot.to_string()).collect();
        assert_eq!(held, ["-", "1", "3", "4", "5"], "saved after {steps} steps");
    }
}
