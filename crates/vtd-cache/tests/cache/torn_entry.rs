//! An entry of 64 bytes that changes while it is read.

use vtd_cache::Scope;
use vtd_spec::Gpa;

use crate::guest::Guest;
use crate::host::{Host, ledger, pasids, short};

/// PASID 3 with the table at 9000; after each of this many reads of the entry its table moves on by a page.
fn moving(changes: u64) -> Guest {
    let guest = Guest::new();
    guest.context(0, 0, 0);
    guest.entry(0, 3, (0x41, 1, 0x9000));
    let mut change = 0;
    guest.after_read(Box::new(move |memory, place| {
        if place == Guest::place(0, 3) && change < changes {
            change += 1;
            memory.write_u64(Gpa(place + 16), 0x9000 + 0x1000 * change).unwrap();
        }
    }));
    guest
}

// feature: 7.bindings: an entry that changes while it is read
#[test]
fn known_failure_28_two_copies_have_to_agree() {
    // (how often the entry changes, what is bound, reads of it)
    let rows = [
        (0, Some("9000"), 2),
        (1, Some("a000"), 3),
        (2, Some("b000"), 4),
        (3, Some("c000"), 5),
        (4, None, 5),
        (1000, None, 5),
    ];
    for (changes, table, reads) in rows {
        let guest = moving(changes);
        let (mut ledger, mut host) = (ledger(1), Host::default());
        let calls = host.run(&mut ledger, &pasids(3..4, None), &guest.wanted());
        let expected: Vec<_> = table.iter().map(|table| format!("0 3 bind fs4 {table}")).collect();
        assert_eq!(short(&calls), expected, "{changes}");
        // Root, context and directory entry, once.
        assert_eq!(guest.reads(), 3 + reads, "{changes}");
    }
}

#[test]
fn known_failure_28_an_unchanged_entry_costs_one_read() {
    let guest = moving(0);
    let (mut ledger, mut host) = (ledger(1), Host::default());
    host.run(&mut ledger, &Scope::everything(), &guest.wanted());
    guest.reads();
    assert!(host.run(&mut ledger, &pasids(3..4, None), &guest.wanted()).is_empty());
    assert_eq!(guest.reads(), 4, "root, context, directory, entry");
}

// feature: 7.bindings: an entry that changes while it is read
#[test]
fn known_failure_28_an_entry_that_does_not_settle_is_absent_for_now() {
    for rid_pasid in [0, 3] {
        let guest = Guest::new();
        guest.context(0, 0, rid_pasid);
        guest.entry(0, 3, (0x41, 1, 0x9000));
        let (mut ledger, mut host) = (ledger(1), Host::default());
        host.run(&mut ledger, &Scope::everything(), &guest.wanted());
        guest.write(&[(Guest::place(0, 3) + 16, 0x2_0000)]);
        let mut table = 0x2_0000;
        guest.after_read(Box::new(move |memory, place| {
            if place == Guest::place(0, 3) {
                table += 0x1000;
                memory.write_u64(Gpa(place + 16), table).unwrap();
            }
        }));
        let slot = if rid_pasid == 3 { "-" } else { "3" };
        let calls = host.run(&mut ledger, &Scope::everything(), &guest.wanted());
        assert_eq!(short(&calls), [format!("0 {slot} unbind")]);
        guest.after_read(Box::new(|_, _| {}));
        assert_eq!(host.run(&mut ledger, &Scope::everything(), &guest.wanted()).len(), 1);
    }
}
