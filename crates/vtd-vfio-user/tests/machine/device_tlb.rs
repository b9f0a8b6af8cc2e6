//! Translation requests, the device TLB and page requests.

use crate::vmm::{BAR, CHANNEL, Job, PAGE_REQUESTS, Vmm, WITH_PASID, WRITABLE};

const TRANSLATE: u32 = 3;
const READ: u32 = 5;
const WRITE: u32 = 6;

fn job(command: u32, address: u64, length: u32) -> Job {
    Job { command: command | WITH_PASID, pasid: 5, address, length, pattern: 0xfeed }
}

#[test]
fn a_translation_request_says_what_is_granted() {
    let mut vmm = Vmm::new();
    vmm.enable();
    vmm.map(3, 5);
    // Read and write of 4 KiB, read alone, nothing.
    assert_eq!(vmm.job(job(TRANSLATE | WRITABLE, 0x1008, 0)), 0);
    assert_eq!((vmm.figure(0x28), vmm.figure(0x30)), (0x10_1008, 0x1003));
    assert_eq!(vmm.job(job(TRANSLATE | WRITABLE, 0x3000, 0)), 0);
    assert_eq!((vmm.figure(0x28), vmm.figure(0x30)), (0x10_3000, 0x1001));
    vmm.map(4, 0);
    assert_eq!(vmm.job(job(TRANSLATE, 0x4000, 0)), 5);
    assert_eq!(vmm.register(0x10), 2);
    vmm.end();
}

#[test]
fn translations_are_kept_until_they_are_invalidated() {
    let mut vmm = Vmm::new();
    vmm.enable();
    assert_eq!(vmm.job(job(WRITE, 0x2000, 0x1000)), 0);
    assert_eq!(vmm.load(0x10_2000), 0xfeed);
    // The table says otherwise, and nobody has said so to the device.
    vmm.map(2, 0);
    assert_eq!(vmm.job(job(WRITE, 0x2000, 8)), 0);
    vmm.invalidate_page(2);
    assert_eq!(vmm.register(0x10), 0);
    assert_eq!(vmm.job(job(WRITE, 0x2000, 8)), 5);
    vmm.end();
}

#[test]
fn a_page_request_is_answered_and_the_access_done() {
    let mut vmm = Vmm::new();
    vmm.enable();
    vmm.map(6, 0);
    vmm.start(job(WRITE | PAGE_REQUESTS, 0x6010, 8));
    vmm.until("a page is requested", |vmm| vmm.unit_register(0xc8) == 0x20);
    // Type 1, PP, RID 28, PASID 5; address, LPIG, W and R, group 0.
    assert_eq!([vmm.load(0xa000), vmm.load(0xa008)], [0x5_0028_0101, 0x6007]);
    vmm.map(6, 7);
    vmm.set_register(0xc0, &0x20_u64.to_le_bytes());
    // Type 9, success, to RID 28 and PASID 5; LPIG, group 0.
    vmm.invalidate(&[[0x19 | 0x28 << 16 | 5 << 32, 4]]);
    assert_eq!(vmm.finish(), 0);
    assert_eq!(vmm.load(0x10_6010), 0xfeed);
    assert_eq!((vmm.figure(0x48), vmm.register(0x20), vmm.register(0x28)), (1, 1, 1));
    vmm.end();
}

/// RC of the response: RESULT and CODE.
#[test]
fn a_page_request_that_comes_to_nothing_is_told() {
    for (code, result) in [(1, 0x106), (0xf, 7)] {
        let mut vmm = Vmm::new();
        vmm.enable();
        vmm.map(6, 0);
        vmm.start(job(READ | PAGE_REQUESTS, 0x6000, 8));
        vmm.until("a page is requested", |vmm| vmm.unit_register(0xc8) == 0x20);
        vmm.invalidate(&[[0x19 | code << 12 | 0x28 << 16 | 5 << 32, 4]]);
        assert_eq!(vmm.finish(), result, "response {code:x}");
        vmm.end();
    }
}

/// A driver that has stopped its device may take the PASID away: no page request is under way then.
#[test]
fn a_job_that_is_stopped_ends_when_its_response_has_come() {
    let mut vmm = Vmm::new();
    vmm.enable();
    vmm.map(6, 0);
    vmm.start(job(READ | PAGE_REQUESTS, 0x6000, 8));
    vmm.until("a page is requested", |vmm| vmm.unit_register(0xc8) == 0x20);
    vmm.endpoint.region_write(BAR, CHANNEL + 0x0c, &1_u32.to_le_bytes()).unwrap();
    std::thread::sleep(std::time::Duration::from_millis(50));
    assert_eq!(vmm.register(CHANNEL + 4), 1);
    vmm.invalidate(&[[0x19 | 0x28 << 16 | 5 << 32, 4]]);
    assert_eq!(vmm.finish(), 9);
    // No second request, though the page is not there.
    assert_eq!(vmm.register(0x20), 1);
    vmm.end();
}

#[test]
fn a_reset_does_not_wait_for_a_response() {
    let mut vmm = Vmm::new();
    vmm.enable();
    vmm.map(6, 0);
    vmm.start(job(READ | PAGE_REQUESTS, 0x6000, 8));
    vmm.until("a page is requested", |vmm| vmm.unit_register(0xc8) == 0x20);
    let start = std::time::Instant::now();
    vmm.endpoint.reset().unwrap();
    assert!(start.elapsed() < std::time::Duration::from_secs(5));
    vmm.end();
}
