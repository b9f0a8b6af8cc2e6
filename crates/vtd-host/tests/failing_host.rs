//! A host that fails on request fails then, and only then.

#![cfg(feature = "std")]

use std::error::Error;
use std::io;
use std::sync::Arc;

use vtd_host::{
    FailingHost, HostCall, HostDevice, HostError, HostErrorKind, HostIommu, InvalidateError,
    Mapping, ModelHost, Permission, StageOneInvalidation,
};
use vtd_spec::descriptor::{PageGroupResponse, ResponseCode};
use vtd_spec::{Binding, FirstStage, FirstStageLevels, Gpa, Iova, Pasid, Slot, SourceId};

const DISK: HostDevice = HostDevice(1);
const TABLE: Binding = Binding::FirstStage(FirstStage {
    table: Gpa(0x1000),
    levels: FirstStageLevels::Four,
    supervisor: false,
    write_protect: false,
    extended_accessed: false,
});

fn failing() -> FailingHost<ModelHost> {
    let host = FailingHost::new(ModelHost::new());
    host.inner().add_device(DISK);
    host
}

/// Which of ten replaces fail.
fn failures(host: &FailingHost<ModelHost>) -> Vec<u64> {
    (1..=10).filter(|_| host.replace(DISK, Slot::Rid, &TABLE).is_err()).collect()
}

#[test]
fn calls_fail_by_number() {
    let table: [(&[u64], &[u64]); 6] = [
        (&[], &[]),
        (&[1], &[1]),
        (&[3], &[3]),
        (&[2, 5, 2], &[2, 5]),
        (&[0], &[]),
        (&[10, 11, u64::MAX], &[10]),
    ];
    for (asked, expected) in table {
        let host = failing();
        host.bind(DISK, Slot::Rid, &TABLE).unwrap();
        asked.iter().for_each(|n| host.fail_nth(*n));
        assert_eq!(failures(&host), expected);
        assert_eq!((host.calls(), host.failed_calls()), (11, expected.len() as u64));
        // What fails does not reach the host behind.
        assert_eq!(host.inner().call_counts().replace, 10 - expected.len() as u64);
    }
}

#[test]
fn asking_for_capabilities_uses_up_no_failure() {
    let host = failing();
    host.fail_next();
    host.capabilities(DISK).unwrap();
    host.bind(DISK, Slot::Rid, &TABLE).unwrap_err();
    host.bind(DISK, Slot::Rid, &TABLE).unwrap();
}

#[test]
fn calls_fail_by_kind_until_told_otherwise() {
    let host = failing();
    host.fail_calls(|call| matches!(call, HostCall::Unbind { device: DISK, slot: Slot::Rid }));
    host.bind(DISK, Slot::Rid, &TABLE).unwrap();
    for _ in 0..3 {
        host.unbind(DISK, Slot::Rid).unwrap_err();
        assert_eq!(host.inner().binding(DISK, Slot::Rid), Some(TABLE));
    }
    host.replace(DISK, Slot::Rid, &Binding::PassThrough).unwrap();
    host.fail_nth(2);
    host.stop_failing();
    host.unbind(DISK, Slot::Rid).unwrap();
    host.bind(DISK, Slot::Rid, &TABLE).unwrap();
    assert_eq!((host.calls(), host.failed_calls()), (7, 3));
}

#[test]
fn a_predicate_may_look_at_the_host() {
    let host = Arc::new(failing());
    let seen = Arc::clone(&host);
    // The third call and all behind it.
    host.fail_calls(move |_| seen.calls() > 2);
    host.bind(DISK, Slot::Rid, &TABLE).unwrap();
    host.unbind(DISK, Slot::Rid).unwrap();
    host.bind(DISK, Slot::Rid, &TABLE).unwrap_err();
    host.stop_failing();
}

#[test]
fn a_batch_is_done_in_part_once() {
    let host = failing();
    host.bind(DISK, Slot::Rid, &TABLE).unwrap();
    let batch = [StageOneInvalidation::EVERYTHING; 4];
    // (at most, length of the batch; entries done when it failed; entries done in all)
    for (most, length, handled, done) in [
        (0, 4, Some(0), 0),
        (1, 4, Some(1), 1),
        (3, 4, Some(3), 3),
        (4, 4, None, 4),
        (9, 4, None, 4),
        (0, 0, None, 0),
    ] {
        let before = host.inner().call_counts().invalidations;
        host.handle_at_most(most);
        let answer = host.invalidate(DISK, Slot::Rid, &batch[..length]);
        assert_eq!(answer.err().map(|failed| failed.handled), handled);
        assert_eq!(host.inner().call_counts().invalidations - before, done);
        host.invalidate(DISK, Slot::Rid, &batch).unwrap();
    }
    // A whole failure does nothing of it, and leaves the partial one for the next batch.
    host.handle_at_most(2);
    host.fail_next();
    assert_eq!(host.invalidate(DISK, Slot::Rid, &batch).unwrap_err().handled, 0);
    assert_eq!(host.invalidate(DISK, Slot::Rid, &batch).unwrap_err().handled, 2);
    // What the host behind refuses is its own failure.
    host.handle_at_most(2);
    let failed = host.invalidate(DISK, Slot::Pasid(Pasid::ZERO), &batch).unwrap_err();
    assert_eq!((failed.handled, failed.error.kind), (0, HostErrorKind::NotBound));
}

#[test]
fn what_comes_later_is_passed_on_and_fails_too() {
    let host = failing();
    let mapping =
        Mapping { iova: Iova(0), gpa: Gpa(0), pages: 1, permission: Permission::ReadWrite };
    let all = || {
        [
            host.map(DISK, Slot::Rid, &mapping).unwrap_err().kind,
            host.unmap(DISK, Slot::Rid, Iova(0), 1).unwrap_err().kind,
        ]
    };
    assert_eq!(all(), [HostErrorKind::NotBound; 2]);
    host.fail_calls(|_| true);
    assert_eq!(all(), [HostErrorKind::Other; 2]);
}

#[test]
fn an_error_keeps_its_chain() {
    let host = failing();
    let cause = io::Error::from_raw_os_error(16);
    host.fail_with(HostError::new(HostErrorKind::Refused).with_errno(16).with_source(cause));
    host.fail_next();
    let error = host.bind(DISK, Slot::Rid, &TABLE).unwrap_err();
    assert_eq!(error.to_string(), "the host refused (errno 16)");
    assert_eq!((error.kind, error.errno), (HostErrorKind::Refused, Some(16)));
    let source = error.source().and_then(|source| source.downcast_ref::<io::Error>()).unwrap();
    assert_eq!(source.raw_os_error(), Some(16));
    // A copy shares the chain.
    assert!(error.clone().source().is_some());

    let failed = InvalidateError { handled: 3, error };
    assert_eq!(failed.to_string(), "3 invalidations done, then the host failed");
    assert_eq!(failed.source().unwrap().to_string(), "the host refused (errno 16)");

    assert_eq!(HostError::from(HostErrorKind::NoSpace).to_string(), "the host has no space left");
}

#[test]
fn responses_fail_like_other_calls() {
    let host = failing();
    let response = PageGroupResponse {
        source_id: SourceId(0x18),
        pasid: None,
        code: ResponseCode::Success,
        last_in_group: true,
        group_index: 1,
    };
    host.fail_calls(|call| matches!(call, HostCall::Respond { .. }));
    assert!(host.respond(DISK, &response).is_err());
    assert_eq!(host.inner().take_responses(), []);
    host.stop_failing();
    host.respond(DISK, &response).unwrap();
    assert_eq!(host.inner().take_responses(), [(DISK, response)]);
}
