//! Where the desired side comes from: translation off, abort, legacy mode.

use vtd_cache::{DeviceKey, Scope, Wanted};
use vtd_spec::Binding;

use crate::guest::Guest;
use crate::host::{Host, RID, ledger, pasid, short};

#[test]
fn translation_off_passes_rid_through_and_empties_the_rest() {
    let guest = Guest::new();
    (0..2).for_each(|device| guest.context(device, 0, 0));
    guest.entry(0, 0, (0x41, 1, 0x9000));
    guest.entry(0, 3, (0x41, 1, 0x9000));
    guest.entry(1, 3, (0x101, 1, 0));
    for (wanted, expected) in [
        (
            Wanted::PassThrough,
            ["0 - replace pt 0", "0 3 unbind", "1 - bind pt 0", "1 3 unbind"].as_slice(),
        ),
        (Wanted::Nothing, ["0 - unbind", "0 3 unbind", "1 3 unbind"].as_slice()),
    ] {
        let (mut ledger, mut host) = (ledger(2), Host::default());
        host.run(&mut ledger, &Scope::everything(), &guest.wanted());
        // Guest memory may be gone by now.
        guest.after_read(Box::new(|_, place| panic!("{place:x} is read")));
        let calls = host.run(&mut ledger, &Scope::everything(), &wanted);
        assert_eq!(short(&calls), expected);
        assert!(host.run(&mut ledger, &Scope::everything(), &wanted).is_empty());
        // And on again
        guest.after_read(Box::new(|_, _| {}));
        host.run(&mut ledger, &Scope::everything(), &guest.wanted());
        assert_eq!(host.held.len(), 3);
    }
}

// feature: 7.bindings: legacy mode (TT 2)
#[test]
fn legacy_mode_binds_rid_for_pass_through_alone() {
    // (context entry, held)
    let rows = [
        ([0x9, 0x502], true),
        ([0x9001, 0x502], false), // second-stage
        ([0x9005, 0x502], false), // with device TLB
        ([0x9, 0x501], false),    // not the largest width
        ([0x8, 0x502], false),
        ([0x19, 0x502], false),
    ];
    for (entry, expected) in rows {
        let guest = Guest::new();
        guest.context(0, 0, 0);
        guest.entry(0, 0, (0x41, 1, 0x9000));
        guest.entry(0, 3, (0x41, 1, 0x9000));
        let (mut ledger, mut host) = (ledger(1), Host::default());
        host.run(&mut ledger, &Scope::everything(), &guest.wanted());
        guest.write(&[(0x2000, entry[0]), (0x2008, entry[1])]);
        host.run(&mut ledger, &Scope::everything(), &Wanted::Legacy(guest.tables()));
        let state = ledger.slot(DeviceKey(0), RID).and_then(|state| state.held);
        assert_eq!(
            state.map(|held| (held.binding, held.domain.0)),
            expected.then_some((Binding::PassThrough, 5))
        );
        assert_eq!(ledger.slot(DeviceKey(0), pasid(3)), None, "no PASIDs in legacy mode");
    }
}
