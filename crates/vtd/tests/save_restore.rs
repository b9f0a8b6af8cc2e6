//! A unit saved at any moment goes on where it stopped.
#![cfg(test)]

mod guest;

use std::sync::Arc;

use guest::calls::{Host, held_by, host};
use guest::{
    CONTEXT_GLOBAL, Guest, Numbers, PASID_GLOBAL, STATUS, first_stage, pasid_iotlb,
    pasid_selective, pass_through, translate,
};
use serde_json::{Value, json};
use vtd::spec::Capabilities;
use vtd::{
    Access, AttachError, RemappingUnit, ResetKind, RestoreError, RestoreOnto, STATE_VERSION, Step,
    UnitConfig, UnitState,
};

/// By way of JSON.
fn saved(guest: &Guest) -> UnitState {
    let state = guest.unit.save().unwrap();
    let text = serde_json::to_string(&state).unwrap();
    let read: UnitState = serde_json::from_str(&text).unwrap();
    assert_eq!(read, state);
    read
}

fn config(guest: &Guest, host: &Host) -> UnitConfig {
    let mut config = UnitConfig::new(guest::caps(), Arc::clone(&guest.memory) as _);
    config.host = Some(Arc::clone(host) as _);
    config
}

fn page(guest: &Guest) -> Vec<u64> {
    (0..0x1000).step_by(4).map(|offset| guest.read(offset, 4)).collect()
}

/// Two assigned devices and an emulated one, all with bindings.
fn machine() -> (Guest, Host) {
    let machine = host();
    let mut guest = Guest::with_host(Arc::clone(&machine) as _);
    guest.enable();
    for device in [3, 4, 5] {
        guest.put_context(device, 0);
        for pasid in 0..5 {
            guest.put_entry(device, pasid, &first_stage(0x10_0000 * (pasid + 1), 5));
        }
    }
    guest.assign(3);
    guest.assign(4);
    guest.emulate(5);
    (guest, machine)
}

/// What the guest and the VMM do before a save, and what is right in the end: bindings, wait status.
const ACTIONS: [&str; 7] =
    ["queue", "root", "te off", "queue off", "reset", "release", "legacy command"];

fn act(guest: &mut Guest, action: &str) {
    for device in [3, 4] {
        guest.put_entry(device, 1, &first_stage(0x90_0000, 6));
        guest.put_entry(device, 2, &[0]);
        guest.put_entry(device, 7, &pass_through(6));
    }
    match action {
        "queue" => guest.ring(&[
            pasid_selective(5, 1),
            guest::wait(0x11),
            CONTEXT_GLOBAL,
            pasid_iotlb(5, 3),
            [0x15, 0, 0, 0],
            guest::wait(0x12),
        ]),
        "root" => {
            guest.write(0x18, 4, 0xc400_0000);
            guest.ring(&[guest::wait(0x11)]);
        }
        "te off" => {
            guest.write(0x18, 4, 0x0400_0000);
            guest.ring(&[guest::wait(0x11)]);
        }
        "queue off" => {
            guest.ring(&[CONTEXT_GLOBAL, guest::wait(0x11)]);
            guest.write(0x18, 4, 0x8000_0000);
        }
        "reset" => guest.unit.reset(ResetKind::Warm),
        "release" => guest.unit.release(guest.unit.devices()[0].id).unwrap(),
        _ => {
            guest.write(0x20, 8, 0x1000);
            guest.write(0x18, 4, 0xc400_0000);
            guest.write(0x28, 8, 0xa000_0000_0000_0000);
            guest.write(0xf8, 8, 0x9000_0000_0000_0000);
        }
    }
}

// feature: 9.after any step and any input
#[test]
fn saved_after_any_step_the_end_is_the_same() {
    for action in ACTIONS {
        let (mut guest, host) = machine();
        act(&mut guest, action);
        assert!(guest.is_idle());
        let expected = (held_by(&host), page(&guest), guest.get(STATUS), guest.unit.devices());
        let mut steps = 0;
        loop {
            let (mut guest, old_host) = machine();
            act(&mut guest, action);
            let mut step = Step::More;
            for _ in 0..steps {
                step = guest.unit.step(1);
            }
            let state = saved(&guest);
            let status = guest.get(STATUS);
            for onto in [RestoreOnto::SameHost, RestoreOnto::FreshHost] {
                let fresh = host_for(onto, &old_host);
                guest.put(STATUS, &[status]);
                guest.unit = RemappingUnit::restore(config(&guest, &fresh), &state, onto).unwrap();
                assert!(guest.is_idle(), "{action} {steps} {onto:?}");
                let found =
                    (held_by(&fresh), page(&guest), guest.get(STATUS), guest.unit.devices());
                // The register page is long: it is not printed.
                let name = format!("{action} after {steps} steps, {onto:?}");
                assert_eq!(
                    (&found.0, found.2, &found.3),
                    (&expected.0, expected.2, &expected.3),
                    "{name}"
                );
                assert!(found.1 == expected.1, "{name}");
            }
            if step == Step::Idle {
                break;
            }
            steps += 1;
        }
        assert!(steps > 3, "{action}");
    }
}

fn host_for(onto: RestoreOnto, old: &Host) -> Host {
    match onto {
        RestoreOnto::SameHost => Arc::clone(old),
        RestoreOnto::FreshHost => host(),
    }
}

// feature: 9.states: of earlier versions
/// States that version 1 wrote, each in the midst of its action.
#[test]
fn states_of_version_1_are_read() {
    for action in ACTIONS {
        let (mut guest, host) = machine();
        act(&mut guest, action);
        assert!(guest.is_idle());
        let expected = (held_by(&host), page(&guest), guest.get(STATUS), guest.unit.devices());
        let (mut guest, _) = machine();
        act(&mut guest, action);
        let path = format!(
            "{}/../../corpus/states/version-1/{}.json",
            env!("CARGO_MANIFEST_DIR"),
            action.replace(' ', "-")
        );
        let file: Value = serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
        assert_eq!(file["state"]["version"], json!(1));
        let state: UnitState = serde_json::from_value(file["state"].clone()).unwrap();
        let fresh = host_for(RestoreOnto::FreshHost, &host);
        guest.put(STATUS, &[file["status"].as_u64().unwrap()]);
        guest.unit =
            RemappingUnit::restore(config(&guest, &fresh), &state, RestoreOnto::FreshHost).unwrap();
        assert!(guest.is_idle(), "{action}");
        let found = (held_by(&fresh), page(&guest), guest.get(STATUS), guest.unit.devices());
        assert!(found == expected, "{action}");
    }
}

// feature: 9.pending waits and latched state
#[test]
fn a_deferred_wait_is_saved() {
    let (mut guest, host) = machine();
    let emulated = guest.unit.devices()[2].id;
    let handle = guest.unit.dma(emulated, None).unwrap();
    let guard = handle.guard();
    assert!(!guest.invalidate(&[PASID_GLOBAL]));
    let state = saved(&guest);
    let restored =
        RemappingUnit::restore(config(&guest, &host), &state, RestoreOnto::SameHost).unwrap();
    drop(guard);
    drop(handle);
    guest.unit = restored;
    assert!(guest.is_idle());
    assert_eq!(guest.get(STATUS), 1);
    assert_eq!(guest.read(0x80, 8), 0x40);
    // Handles are what they were.
    guest.map_first_stage(0x10_0000, 0x5000, 0x7000, 7);
    let handle = guest.unit.dma(emulated, None).unwrap();
    assert_eq!(translate(&handle, 0x5000, Access::READ), Ok(0x7000));
    let new = guest.emulate(9);
    assert!(new > emulated);
}

// feature: 9.pending waits and latched state
#[test]
fn latched_state_is_saved() {
    let (mut guest, host) = machine();
    // RTADDR and IQA written and not latched, a masked event held, records in rotation, IQE.
    guest.write(0x20, 8, 0x4400);
    guest.write(0x90, 8, 0xa000);
    guest.write(0x38, 4, 0x8000_0000);
    guest.ring(&[[0x15, 0, 0, 0], [0; 4]]);
    let before = page(&guest);
    let state = saved(&guest);
    guest.unit =
        RemappingUnit::restore(config(&guest, &host), &state, RestoreOnto::SameHost).unwrap();
    assert!(guest.is_idle());
    assert_eq!(page(&guest), before);
    assert_eq!(guest.read(0x34, 4), 0x10);
    assert_eq!(guest.read(0x38, 4), 0xc000_0000);
    guest.effects();
    guest.write(0x38, 4, 0);
    assert_eq!(guest.interrupts(), [guest::FAULT_DATA]);
    guest.put(guest::QUEUE + 0x20, &[0x11]);
    guest.write(0x34, 4, 0x10);
    assert!(guest.invalidate(&[PASID_GLOBAL]));
    assert_eq!(held_by(&host).len(), 10);
}

// feature: 9.states: refused where they do not fit
#[test]
fn states_of_other_units_are_refused() {
    let (guest, host) = machine();
    let state = serde_json::to_value(guest.unit.save().unwrap()).unwrap();
    let restore = |state: &Value| {
        let state: UnitState = serde_json::from_value(state.clone()).unwrap();
        RemappingUnit::restore(config(&guest, &host), &state, RestoreOnto::SameHost)
    };
    assert!(restore(&state).is_ok());
    let changed = |field: &str, value: Value| {
        let mut changed = state.clone();
        *changed.pointer_mut(field).unwrap() = value;
        restore(&changed).err().unwrap()
    };
    assert!(matches!(
        changed("/version", json!(STATE_VERSION + 1)),
        RestoreError::Version { found: 3, readable: 2 }
    ));
    for (field, what) in [
        ("/cap", "CAP"),
        ("/ecap", "ECAP"),
        ("/unit_version", "VER"),
        ("/host_address_width", "host address width"),
    ] {
        let error = changed(field, json!(39));
        assert!(
            matches!(error, RestoreError::OtherUnit { what: found, saved: 39, .. } if found == what)
        );
    }
    for (field, value) in [
        ("/registers/fault_records", json!([])),
        ("/registers/fault_records", json!([[0, 0], [0, 0]])),
        ("/registers/next_fault_record", json!(1)),
        ("/devices/0/handle", json!(1)),
        ("/devices/0/handle", json!(3)),
        ("/devices/1/source_id", json!(0x18)),
        ("/next_handle", json!(2)),
        ("/devices/0/slots/1/pasid", json!(1 << 20)),
        // One slot twice.
        ("/devices/0/slots/1/pasid", json!(2)),
        ("/devices/0/slots/1/pasid", json!(null)),
        ("/devices/0/slots/0/rid_pasid", json!(1 << 20)),
        ("/devices/0/slots/0/held/levels", json!(3)),
        ("/devices/0/slots/0/held/table", json!(0x10_0008)),
        ("/devices/0/slots/0/held/table", json!(1_u64 << 52)),
        (
            "/devices/0/slots/0/held",
            json!({
                "table": null, "levels": 4, "supervisor": false, "write_protect": false,
                "extended_accessed": false, "domain": 5, "second_stage": true
            }),
        ),
        ("/devices/0/slots/0/failure", json!({"attempted": null, "kind": 5, "errno": null})),
    ] {
        assert!(matches!(changed(field, value), RestoreError::Field { .. }), "{field}");
    }
    assert!(matches!(changed("/devices/0/assigned", json!(99)), RestoreError::Attach(_)));
    // One device of the host behind two devices, and behind one that is being released.
    let twins = |releasing| {
        let mut twins = state.clone();
        *twins.pointer_mut("/devices/1/assigned").unwrap() = json!(3);
        *twins.pointer_mut("/devices/0/releasing").unwrap() = json!(releasing);
        restore(&twins).err().unwrap()
    };
    for releasing in [false, true] {
        let RestoreError::Attach(AttachError::HostDeviceTaken { source_id, holder }) =
            twins(releasing)
        else {
            panic!("restored: {releasing}")
        };
        assert_eq!((source_id.0, holder.0), (0x20, 0x18));
    }
    // Device-TLB invalidations of a device that takes none, and of one that is not there.
    for device in [2, 9] {
        let outstanding = json!([{
            "device": device, "id": 0, "source_id": 0x28, "pfsid": 0, "pasid": null, "all_pasids": false,
            "first_page": 1, "order": 0, "expired": false
        }]);
        let found = changed("/pending/device_tlbs/outstanding", outstanding);
        assert!(matches!(found, RestoreError::Field { field: "pending", .. }), "{device}");
    }
    // A descriptor that had begun, and no queue: there is nothing to wait for.
    let mut begun = state.clone();
    *begun.pointer_mut("/pending/queue").unwrap() = json!(null);
    *begun.pointer_mut("/pending/descriptor_begun").unwrap() = json!(true);
    assert_eq!(restore(&begun).unwrap().run(), Step::Idle);
    // A unit without the host that the state's devices need.
    let read: UnitState = serde_json::from_value(state.clone()).unwrap();
    let hostless = UnitConfig::new(guest::caps(), Arc::clone(&guest.memory) as _);
    let restored = RemappingUnit::restore(hostless, &read, RestoreOnto::SameHost);
    assert!(matches!(restored, Err(RestoreError::Attach(_))));
    // Another number of fault records.
    let wider = Capabilities::new(guest::CAP | 1 << 40, guest::ECAP).unwrap();
    let other = UnitConfig::new(wider, Arc::clone(&guest.memory) as _);
    let restored = RemappingUnit::restore(other, &read, RestoreOnto::SameHost);
    assert!(matches!(restored, Err(RestoreError::OtherUnit { .. })));
}

/// The paths of everything in a JSON value.
fn paths(value: &Value, path: &str, found: &mut Vec<String>) {
    found.push(path.to_string());
    match value {
        Value::Object(fields) => {
            for (name, field) in fields {
                paths(field, &format!("{path}/{name}"), found);
            }
        }
        Value::Array(items) => {
            for (n, item) in items.iter().enumerate() {
                paths(item, &format!("{path}/{n}"), found);
            }
        }
        _ => {}
    }
}

// feature: 9.states: refused where they do not fit
#[test]
fn no_mutated_state_panics() {
    let (mut guest, old_host) = machine();
    // Something of everything: a failure, a pending command, a queue under way, a record.
    old_host.fail_calls(|_| true);
    act(&mut guest, "queue");
    let _step = guest.unit.step(10);
    guest.write(0x18, 4, 0xc400_0000);
    old_host.stop_failing();
    let state = serde_json::to_value(guest.unit.save().unwrap()).unwrap();
    let mut all = Vec::new();
    paths(&state, "", &mut all);
    let values = [
        json!(0),
        json!(1),
        json!(0x7f),
        json!(0xffff),
        json!(0xffff_fff0_u32),
        json!(u64::MAX),
        json!(u64::MAX >> 1),
        json!(-1),
        json!(null),
        json!(true),
        json!("x"),
        json!([]),
        json!([3, 3, 99]),
        json!({}),
    ];
    let mut numbers = Numbers(11);
    let mut restored = 0;
    for (n, path) in all.iter().enumerate() {
        for (m, value) in values.iter().enumerate() {
            let mut changed = state.clone();
            *changed.pointer_mut(path).unwrap() = value.clone();
            // Now and then another field too.
            if (n + m) % 5 == 0 {
                let (other, value) = (numbers.below(all.len() as u64), numbers.of(&[0, 4, 13]));
                if let Some(place) = changed.pointer_mut(&all[usize::try_from(other).unwrap()]) {
                    *place = values[value].clone();
                }
            }
            let Ok(changed) = serde_json::from_value::<UnitState>(changed) else { continue };
            for onto in [RestoreOnto::SameHost, RestoreOnto::FreshHost] {
                let fresh = host();
                let Ok(unit) = RemappingUnit::restore(config(&guest, &fresh), &changed, onto)
                else {
                    continue;
                };
                restored += 1;
                for _ in 0..50 {
                    if unit.step(100) != Step::More {
                        break;
                    }
                }
                for offset in [0x18, 0x34, 0x38, 0x88, 0x90, 0xa0, 0x228] {
                    let _any = unit.read(offset, 8);
                    unit.write(offset, 8, 0x8400_0040_c400_0040);
                }
                let _step = unit.step(1000);
                unit.reset(ResetKind::PowerOn);
                let _step = unit.step(1000);
            }
        }
    }
    assert!(restored > 500, "{restored}");
}
