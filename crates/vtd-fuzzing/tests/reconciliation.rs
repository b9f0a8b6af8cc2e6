//! The property of the reconciliation, over fresh programs and under bolero's engines.

use vtd_fuzzing::reconciliation::{EntryKind, Operation, Program};

// feature: 7.bindings: equal to the guest's tables after every invalidation
/// For random tables, bindings and scopes the host holds what the reference says, and no call changes nothing.
#[test]
fn the_result_equals_the_reference() {
    bolero::check!().with_iterations(2_000).with_max_len(600).for_each(|bytes: &[u8]| {
        Program::from_bytes(bytes).run();
    });
}

/// The property is not empty: a program that binds, replaces and unbinds makes the calls it should.
#[test]
fn a_program_makes_its_calls() {
    let entry = |kind, domain| Operation::Entry { device: 0, pasid: 1, kind, domain };
    let by = |domain| Operation::InvalidatePasid { pasid: 1, domain };
    let operations = vec![
        entry(EntryKind::FirstStage(false), 0),
        by(0),
        // Replaced in place, told by the old domain.
        entry(EntryKind::FirstStage(true), 1),
        by(0),
        // Told by a domain that neither side has: nothing.
        by(2),
        entry(EntryKind::Stale, 1),
        by(1),
    ];
    assert_eq!(Program { operations }.run(), 3);
}

// feature: 7.bindings: equal to the guest's tables after every invalidation
/// Programs of two hundred operations: the state that random short ones never build up.
#[test]
fn long_programs_equal_the_reference() {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut calls = 0;
    for _ in 0..100 {
        let mut bytes = [0; 1200];
        for chunk in bytes.chunks_mut(8) {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            chunk.copy_from_slice(&state.to_le_bytes()[..chunk.len()]);
        }
        calls += Program::from_bytes(&bytes).run();
    }
    // A program that did nothing would show nothing.
    assert!(calls > 2_000, "{calls} calls");
}
