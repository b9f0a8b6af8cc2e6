//! Row 20: a guest that wants to fill the VMM's log.

use std::time::Duration;

use vtd::host::HostCall;
use vtd::spec::register::QueueErrorInfo;
use vtd::spec::{FaultReason, SourceId};
use vtd::{Attachment, Diagnostic, DiagnosticEvent, DiagnosticLimits, Effect, Quotas, RateLimit};

use crate::guest::{Guest, Shape};
use crate::raw::*;

/// Limits that never let more through than at first.
fn once(device: u32, unit: u32) -> DiagnosticLimits {
    let mut limits = DiagnosticLimits::default();
    limits.device = RateLimit { burst: device, refill: Duration::MAX };
    limits.unit = RateLimit { burst: unit, refill: Duration::MAX };
    limits
}

fn limited(limits: DiagnosticLimits) -> Guest {
    Guest::of(Shape { limits, ..Shape::default() })
}

/// The fault event is sent.
fn unmask_faults(guest: &Guest) {
    guest.write64(0x40, 0xfee0_0000);
    guest.write64(0x38, 0x21 << 32);
}

/// What goes into the VMM's log; everything else is taken too.
fn diagnostics(guest: &Guest) -> Vec<Diagnostic> {
    let effects = guest.effects().into_iter();
    effects
        .filter_map(|effect| match effect {
            Effect::Diagnostic(diagnostic) => Some(diagnostic),
            _ => None,
        })
        .collect()
}

// feature: 2.rate-limited diagnostics with counters
#[test]
fn known_failure_20_bad_descriptors_without_end_are_told_in_a_few_lines() {
    let guest = limited(once(10, 100));
    unmask_faults(&guest);
    guest.ring(&[[0xf, 0x1234_5000, 0, 0]]);
    let mut told = diagnostics(&guest);
    for _ in 1..100_000 {
        guest.write32(FSTS, IQE);
        told.extend(diagnostics(&guest));
    }
    assert_eq!(told.len(), 10, "whatever the VMM takes at once");
    let counts = guest.unit.counts();
    assert_eq!((counts.queue_errors, counts.effects_suppressed), (100_000, 99_990));
    assert_eq!(counts.effects_lost, 0);
    for Diagnostic { event, suppressed, .. } in &told {
        let DiagnosticEvent::QueueStopped { offset, info, descriptor, .. } = event else {
            panic!("{event:?}")
        };
        assert_eq!((*offset, *info), (0, QueueErrorInfo::InvalidType));
        assert_eq!(*descriptor, Some([0xf, 0x1234_5000, 0, 0]));
        assert_eq!(*suppressed, 0);
    }
    let line = told[0].to_string();
    let expected = "the invalidation queue stopped at 0x0: unknown descriptor type in qw0 0xf, \
                    descriptor f 12345000 0 0";
    assert_eq!(line, expected);
}

// feature: 2.rate-limited diagnostics with counters
#[test]
fn known_failure_20_what_is_not_told_is_counted_in_what_is_told_next() {
    let mut limits = DiagnosticLimits::default();
    limits.device = RateLimit { burst: 3, refill: Duration::from_millis(1) };
    limits.unit = RateLimit { burst: 1, refill: Duration::ZERO };
    let guest = limited(limits);
    let dma = guest.emulated();
    let mut told = Vec::new();
    for number in 0..20_000 {
        assert_eq!(dma.read_or_code(Some(number % 64), PAGE), Err(0x59));
        guest.take_records();
        told.extend(diagnostics(&guest));
    }
    std::thread::sleep(Duration::from_millis(2));
    assert_eq!(dma.read_or_code(Some(5), PAGE), Err(0x59));
    told.extend(diagnostics(&guest));
    let suppressed: u64 = told.iter().map(|diagnostic| diagnostic.suppressed).sum();
    assert_eq!(told.len() as u64 + suppressed, 20_001, "the sum is exact");
    assert_eq!(guest.unit.counts().effects_suppressed, suppressed);
    assert!(told.iter().any(|diagnostic| diagnostic.suppressed > 0));
}

// feature: 2.rate-limited diagnostics with counters
#[test]
fn known_failure_20_faults_of_many_devices_and_pasids_are_told_in_a_few_lines() {
    const DEVICES: u16 = 64;
    let guest = limited(once(4, 100));
    let handles: Vec<_> = (0..DEVICES)
        .map(|device| guest.unit.attach(SourceId(0x100 | device), Attachment::Emulated).unwrap())
        .collect();
    let mut told = Vec::new();
    for number in 0..100_000_u32 {
        let device = handles[usize::try_from(number).unwrap() % handles.len()];
        let pasid = vtd::spec::Pasid::new(number).filter(|_| number % 3 > 0);
        let dma = guest.unit.dma(device, pasid).unwrap();
        let blocked = dma
            .with_guard(|guard| guard.translate(vtd::spec::Iova(PAGE), vtd::Access::READ).is_err());
        assert!(blocked);
        // Some are lost to overflow.
        if number % 20 == 0 {
            guest.take_records();
        }
        told.extend(diagnostics(&guest));
    }
    let counts = guest.unit.counts();
    assert_eq!(counts.faults_recorded + counts.faults_lost, 100_000);
    assert!(counts.faults_recorded > 10_000 && counts.faults_lost > 10_000, "{counts:?}");
    assert_eq!(told.len(), 100, "the unit's own limit holds for all devices");
    assert_eq!(counts.effects_suppressed, 100_000 - 100);
    let of = |source: u16| {
        told.iter()
            .filter(|diagnostic| match diagnostic.event {
                DiagnosticEvent::Fault { source_id, reason, .. } => {
                    assert_eq!(reason, FaultReason::RootNotPresent);
                    source_id.0 == source
                }
                _ => false,
            })
            .count()
    };
    assert!((0..DEVICES).all(|device| of(0x100 | device) <= 4), "and each device's own");
    assert!(
        told.iter().any(|told| matches!(told.event, DiagnosticEvent::FaultLost { .. })),
        "an overflow is told too"
    );
}

// feature: 2.rate-limited diagnostics with counters
#[test]
fn known_failure_20_a_host_that_refuses_is_told_in_a_few_effects_and_again_after_a_retry() {
    let guest = limited(once(10, 100));
    let device = guest.assigned();
    guest.set_pasid(5, first_stage(FIRST_A, 7));
    guest.fail_host_calls(|call| matches!(call, HostCall::Bind { .. }));
    let failures = |guest: &Guest| {
        let effects = guest.effects();
        effects.iter().filter(|effect| matches!(effect, Effect::HostCallFailed { .. })).count()
    };
    let mut told = 0;
    for _ in 0..3000 {
        guest.flush(&[pasid_cache_of_pasid(7, 5)]);
        told += failures(&guest);
    }
    let counts = guest.unit.counts();
    assert_eq!((told, counts.host_failures, counts.effects_suppressed), (10, 3000, 2990));
    // A VMM that retries is always told whether that failed.
    for _ in 0..20 {
        guest.unit.retry(device.id).unwrap();
        guest.run();
        assert_eq!(failures(&guest), 1);
    }
    guest.flush(&[pasid_cache_of_pasid(7, 5)]);
    assert_eq!(failures(&guest), 0);
}

// feature: 2.rate-limited diagnostics with counters
#[test]
fn known_failure_20_a_device_over_its_quota_is_told_in_a_few_effects() {
    let quotas = Quotas { per_device: 1, per_unit: 1, ..Quotas::default() };
    let guest = Guest::of(Shape { limits: once(10, 100), quotas, ..Shape::default() });
    let _device = guest.assigned();
    for pasid in [5, 6] {
        guest.set_pasid(pasid, first_stage(FIRST_A, 7));
    }
    let mut told = 0;
    for _ in 0..1000 {
        guest.flush(&[PASID_CACHE]);
        let effects = guest.effects();
        told += effects.iter().filter(|effect| matches!(effect, Effect::OverQuota(_))).count();
    }
    assert_eq!((told, guest.unit.counts().effects_suppressed), (10, 990));
}

// feature: 2.rate-limited diagnostics with counters
#[test]
fn known_failure_20_malformed_descriptors_are_counted_and_flood_nothing() {
    // The VMM takes nothing.
    let guest = limited(once(10, 100));
    unmask_faults(&guest);
    guest.ring(&[[0xf, 0, 0, 0]]);
    for _ in 1..5000 {
        guest.write32(FSTS, IQE);
    }
    assert_eq!(guest.read64(IQH), 0, "the queue is where it was");
    let counts = guest.unit.counts();
    assert_eq!(counts.queue_errors, 5000, "each is counted");
    let waiting = guest.effects();
    assert!(waiting.len() <= 1024, "effects are bounded, not {}", waiting.len());
    let lost = counts.effects_lost;
    assert_eq!(waiting.len() as u64 + lost, 5010, "and what was dropped is counted");
    let others = waiting.iter().filter(|effect| !matches!(effect, Effect::Interrupt(_)));
    assert_eq!(others.count(), 10);
}

// feature: 2.rate-limited diagnostics with counters
#[test]
fn known_failure_20_diagnostics_leave_space_for_interrupts() {
    // Whatever the limits let through.
    let guest = limited(once(u32::MAX, u32::MAX));
    let _device = guest.assigned();
    guest.effects();
    guest.set_pasid(5, first_stage(FIRST_A, 7));
    guest.fail_host_calls(|call| matches!(call, HostCall::Bind { .. }));
    for _ in 0..3000 {
        guest.flush(&[pasid_cache_of_pasid(7, 5)]);
    }
    unmask_faults(&guest);
    guest.ring(&[[0xf, 0, 0, 0]]);
    let counts = guest.unit.counts();
    assert_eq!(counts.host_failures, 3000);
    let waiting = guest.effects();
    assert!(waiting.len() <= 1024, "effects are bounded, not {}", waiting.len());
    assert!(counts.effects_lost >= 3000 - 1024, "what was dropped is counted");
    assert!(
        waiting.iter().any(|effect| matches!(effect, Effect::Interrupt(_))),
        "the fault event gets through"
    );
}

// feature: 2.rate-limited diagnostics with counters
#[test]
fn known_failure_20_faults_are_counted_and_flood_nothing() {
    let guest = limited(once(10, 100));
    let dma = guest.emulated();
    for _ in 0..5000 {
        assert_eq!(dma.read_or_code(Some(5), PAGE), Err(0x59));
    }
    let counts = guest.unit.counts();
    assert_eq!((counts.faults_recorded, counts.faults_lost), (8, 4992));
    // The event is masked: there is only what goes into the log, of 8 faults and of 10 that were lost.
    assert_eq!((guest.effects().len(), diagnostics(&guest).len()), (18, 0));
    assert_eq!(guest.take_records().len(), 8);
}
