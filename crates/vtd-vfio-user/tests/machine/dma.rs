//! Untranslated requests.

use std::time::Duration;

use crate::vmm::{Job, REPEAT, Vmm, WITH_PASID};

const READ: u32 = 1;
const WRITE: u32 = 2;

/// KIND and flags, PASID, address, length: RESULT and CODE, bytes moved, and where it failed.
#[test]
fn each_request_reaches_what_the_tables_say() {
    let mut vmm = Vmm::new();
    vmm.enable();
    vmm.map(3, 5);
    vmm.map(4, 0);
    let cases: [(&str, Job, u32, u64, u64); 13] = [
        ("read", job(READ, 0, 0, 0x2000), 0, 0x2000, 0),
        ("write", job(WRITE, 0, 0x1ff8, 0x10), 0, 0x10, 0),
        ("with PASID", job(READ | WITH_PASID, 5, 0x1000, 8), 0, 8, 0),
        ("zero-length read", job(READ, 0, 0x1000, 0), 0, 0, 0),
        ("write to a page that is read-only", job(WRITE, 0, 0x3000, 8), 0x8501, 0, 0x3000),
        ("into a hole", job(WRITE, 0, 0x2000, 0x4000), 0x8501, 0x1000, 0x3000),
        ("page not present", job(READ | WITH_PASID, 5, 0x4000, 8), 0x7101, 0, 0x4000),
        ("PASID not present", job(READ | WITH_PASID, 6, 0, 8), 0x5901, 0, 0),
        ("directory not present", job(READ | WITH_PASID, 0x40, 0, 8), 0x5101, 0, 0),
        ("not canonical", job(READ, 0, 1 << 47, 8), 0x8001, 0, 1 << 47),
        ("an interrupt's address", job(WRITE, 0, 0xfee0_0000, 8), 3, 0, 0xfee0_0000),
        ("not a multiple of 8", job(READ, 0, 4, 8), 0xa, 0, 0),
        ("too long", job(READ, 0, 0, 0x10_0008), 0xa, 0, 0),
    ];
    for (what, job, result, moved, failed_at) in cases {
        assert_eq!(vmm.job(job), result, "{what}: result and code");
        assert_eq!(vmm.figure(0x30), moved, "{what}: moved");
        assert_eq!(vmm.figure(0x50), failed_at, "{what}: where it failed");
    }
    vmm.end();
}

#[test]
fn values_are_those_of_memory() {
    let mut vmm = Vmm::new();
    vmm.enable();
    vmm.store(0x10_0ff0, &[1, 2, 3, 4]);
    assert_eq!(vmm.job(job(READ, 0, 0xff0, 0x20)), 0);
    assert_eq!(vmm.figure(0x28), 10);
    assert_eq!(vmm.job(Job { pattern: 0xabcd, ..job(WRITE, 0, 0xff8, 0x10) }), 0);
    let written = [0xff0, 0xff8, 0x1000, 0x1008].map(|at| vmm.load(0x10_0000 + at));
    assert_eq!(written, [1, 0xabcd, 0xabcd, 4]);
    vmm.end();
}

#[test]
fn nothing_leaves_an_endpoint_that_is_no_bus_master() {
    let mut vmm = Vmm::new();
    vmm.enable();
    vmm.enable_endpoint(2);
    assert_eq!(vmm.job(job(WRITE, 0, 0, 8)), 8);
    vmm.end();
}

#[test]
fn bus_master_off_ends_what_is_under_way() {
    let mut vmm = Vmm::new();
    vmm.enable();
    for _ in 0..50 {
        vmm.start(job(WRITE | REPEAT, 0, 0, 0x1000));
        vmm.until("a round is done", |vmm| vmm.figure(0x38) > 0);
        vmm.enable_endpoint(2);
        vmm.store(0x10_0000, &[0x77; 512]);
        assert_eq!(vmm.stop(), 9);
        assert!((0..512).all(|word| vmm.load(0x10_0000 + 8 * word) == 0x77));
        vmm.enable_endpoint(6);
    }
    vmm.end();
}

/// The page is taken away under a write that repeats. Once the wait says so, nothing changes there any more.
#[test]
fn an_invalidation_wait_ends_requests_that_repeat() {
    let mut vmm = Vmm::new();
    vmm.enable();
    for round in 0..200 {
        vmm.map(2, 7);
        // Untranslated, and through the device TLB.
        let kind = if round % 2 == 0 { WRITE } else { 6 };
        let command = kind | WITH_PASID | REPEAT;
        vmm.start(Job { pattern: 0x1000, ..job(command, 5, 0x2000, 0x1000) });
        vmm.until("a round is done", |vmm| vmm.figure(0x38) > 0);
        vmm.map(2, 0);
        vmm.invalidate_page(2);
        vmm.store(0x10_2000, &[0x5a5a; 512]);
        std::thread::sleep(Duration::from_millis(2));
        let changed = (0..512).find(|word| vmm.load(0x10_2000 + 8 * word) != 0x5a5a);
        assert_eq!(changed, None, "round {round}");
        vmm.until("a round has failed", |vmm| vmm.figure(0x40) > 0);
        assert_eq!(vmm.stop(), 9);
    }
    let summary = vmm.end();
    assert!(summary.counts.faults_recorded > 0);
}

#[test]
fn a_reset_ends_a_job_and_clears_the_registers() {
    let mut vmm = Vmm::new();
    vmm.enable();
    vmm.start(job(WRITE | REPEAT, 0, 0, 0x1000));
    vmm.until("a round is done", |vmm| vmm.figure(0x38) > 0);
    vmm.endpoint.reset().unwrap();
    assert_eq!(vmm.register(0x104), 0);
    assert_eq!(vmm.register(0x0c), 0);
    vmm.store(0x10_0000, &[0x77]);
    std::thread::sleep(Duration::from_millis(20));
    assert_eq!(vmm.load(0x10_0000), 0x77);
    vmm.end();
}

fn job(command: u32, pasid: u32, address: u64, length: u32) -> Job {
    Job { command, pasid, address, length, pattern: 0 }
}
