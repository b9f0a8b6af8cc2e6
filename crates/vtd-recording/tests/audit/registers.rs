//! How the guest learns what is done, and what decides on the tables: waits, the queue, the root table, translation, resets.

use crate::story::{CAP, IOTLB, PASID_CACHE, Story, context_cache, figures, pasid_iotlb};

const REQUEST: &str = "dma 00:03.0 5 r 5123 777000 fff rw";

/// A device uses page 5000, the guest takes it away, and something happens. What the audit finds of the same request then.
fn after(cap: u64, happens: impl FnOnce(&mut Story)) -> [u64; 4] {
    let mut story = Story::scalable_with(cap);
    story.line(REQUEST);
    story.set(0x10_3028, 0);
    happens(&mut story);
    story.line(REQUEST);
    figures(&story.audit())
}

const ALLOWED: [u64; 4] = [2, 1, 0, 0];
const FOUND: [u64; 4] = [2, 0, 1, 0];

#[test]
fn a_wait_that_interrupts() {
    let wait = [0x15, 0];
    let told = |story: &mut Story, value| {
        story.queue(pasid_iotlb(7, 5));
        story.queue(wait);
        story.ring();
        story.read(0x9c, 4, value);
    };
    assert_eq!(after(CAP, |story| told(story, 1)), FOUND);
    assert_eq!(after(CAP, |story| told(story, 0)), ALLOWED);
    // By 8 bytes that have it in their upper half.
    let wide = |story: &mut Story| {
        told(story, 0);
        story.read(0x98, 8, 1 << 32);
    };
    assert_eq!(after(CAP, wide), FOUND);
    // The interrupt of a wait before, which the guest has not cleared.
    let earlier = |story: &mut Story| {
        story.queue(wait);
        story.ring();
        story.read(0x9c, 4, 1);
        told(story, 1);
    };
    assert_eq!(after(CAP, earlier), ALLOWED);
    let cleared = |story: &mut Story| {
        story.queue(wait);
        story.ring();
        story.read(0x9c, 4, 1);
        story.write(0x9c, 4, 1);
        told(story, 1);
    };
    assert_eq!(after(CAP, cleared), FOUND);
}

#[test]
fn a_status_tells_of_its_own_wait() {
    let two = |story: &mut Story, before: bool| {
        let first = story.queue_wait();
        story.queue(pasid_iotlb(7, 5));
        let second = story.queue_wait();
        story.ring();
        story.status(if before { first } else { second });
    };
    assert_eq!(after(CAP, |story| two(story, true)), ALLOWED);
    // The first was never told of, as one that was aborted.
    assert_eq!(after(CAP, |story| two(story, false)), FOUND);
    let nobody = |story: &mut Story| {
        story.queue(pasid_iotlb(7, 5));
        let wait = story.queue_wait();
        story.ring();
        story.status(wait + 1);
        // That was nobody's, and this is the one.
        story.status(wait);
    };
    assert_eq!(after(CAP, nobody), ALLOWED, "a status of nobody is not looked for twice");
    let behind = |story: &mut Story| {
        let wait = story.queue_wait();
        story.queue(pasid_iotlb(7, 5));
        story.ring();
        story.status(wait);
    };
    assert_eq!(after(CAP, behind), ALLOWED);
    let not_rung = |story: &mut Story| {
        story.queue(pasid_iotlb(7, 5));
        let wait = story.queue_wait();
        story.status(wait);
    };
    assert_eq!(after(CAP, not_rung), ALLOWED);
}

#[test]
fn the_tail_is_written_piece_by_piece() {
    let happens = |story: &mut Story| {
        story.queue(pasid_iotlb(7, 5));
        story.write(0x8c, 4, 0);
        story.write(0x88, 4, 0x20);
        let wait = story.queue_wait();
        story.write(0x88, 4, 0x40);
        // Past the end, and at no descriptor: neither is a tail.
        story.write(0x88, 4, 0x1000);
        story.write(0x88, 4, 0x50);
        story.status(wait);
    };
    assert_eq!(after(CAP, happens), FOUND);
}

/// The queue goes round, and what it held before is still there.
#[test]
fn the_queue_goes_round() {
    let mut story = Story::scalable();
    for n in 0..200 {
        story.set(0x10_3028, 0x77_7067);
        story.line(REQUEST);
        story.set(0x10_3028, 0);
        story.line(REQUEST);
        story.invalidate(&[pasid_iotlb(7, 5)]);
        story.line(REQUEST);
        assert_eq!(figures(&story.audit()), [3 * n + 3, n + 1, n + 1, 0]);
    }
}

#[test]
fn a_descriptor_that_stopped_the_queue() {
    let happens = |story: &mut Story| {
        // Type 0; the guest then puts something else in its place.
        story.queue([0, 0]);
        story.ring();
        story.set(0x8000, 0x37);
        story.invalidate(&[pasid_iotlb(7, 5)]);
    };
    assert_eq!(after(CAP, happens), FOUND);
    // It stays there, and the unit knows what it means.
    let happens = |story: &mut Story| {
        story.queue([0xf, 0]);
        story.invalidate(&[pasid_iotlb(7, 5)]);
    };
    assert_eq!(after(CAP, happens), FOUND);
}

#[test]
fn a_queue_that_is_enabled_again() {
    let again = |story: &mut Story| {
        story.invalidate(&[PASID_CACHE]);
        story.write(0x18, 4, 0x8000_0000);
        // Elsewhere, and with the tail written before it is enabled.
        story.set_all(&[(0xa000, 0x26 | 7 << 16 | 5 << 32), (0xa008, 0)]);
        story.set_all(&[(0xa020, 0xff_0000_0025), (0xa028, 0x9000)]);
        story.write(0x90, 8, 0xa800);
        story.write(0x88, 8, 0x40);
        story.write(0x18, 4, 0x8400_0000);
        story.status(0xff);
    };
    assert_eq!(after(CAP, again), FOUND);
    // IQA counts when the queue is enabled, not before.
    let not_yet = |story: &mut Story| {
        story.set_all(&[(0xa000, 0x26 | 7 << 16 | 5 << 32), (0xa008, 0)]);
        story.set_all(&[(0xa020, 0xff_0000_0025), (0xa028, 0x9000)]);
        story.write(0x90, 8, 0xa800);
        story.write(0x88, 8, 0x40);
        story.status(0xff);
    };
    assert_eq!(after(CAP, not_yet), ALLOWED);
}

#[test]
fn a_root_table_that_is_set() {
    let set = |story: &mut Story, root| {
        story.write(0x20, 8, root);
        story.write(0x18, 4, 0xc400_0000);
        story.line(REQUEST);
        story.read(0x1c, 4, 0xc400_0000);
    };
    const NO_ESRTPS: u64 = CAP & !(1 << 63);
    // With ESRTPS the unit drops everything, also what a request has brought by way of the old table meanwhile.
    assert_eq!(after(CAP, |story| set(story, 0x6_0400)), [3, 1, 1, 0]);
    assert_eq!(after(CAP, |story| set(story, 0x1400)), [3, 1, 1, 0]);
    assert_eq!(after(NO_ESRTPS, |story| set(story, 0x1400)), [3, 2, 0, 0]);
    // It is told when RTPS is read as 1.
    let not_told = |story: &mut Story| {
        story.write(0x18, 4, 0xc400_0000);
        story.read(0x1c, 4, 0x8400_0000);
    };
    assert_eq!(after(CAP, not_told), ALLOWED);
    // An empty table: what led through the other may be held until the context cache is invalidated.
    assert_eq!(after(NO_ESRTPS, |story| set(story, 0x6_0400)), [3, 2, 0, 0]);
    let invalidated = |story: &mut Story| {
        set(story, 0x6_0400);
        story.invalidate(&[context_cache(0, 0)]);
    };
    assert_eq!(after(NO_ESRTPS, invalidated), [3, 1, 1, 0]);
    // The write of RTADDR alone changes nothing.
    let written = |story: &mut Story| {
        story.write(0x20, 8, 0x6_0400);
    };
    assert_eq!(after(CAP, written), ALLOWED);
}

#[test]
fn translation_that_is_switched() {
    let (passed, translated) =
        ("dma 00:03.0 - r 5123 5000 fff rw", "dma 00:03.0 - r 5123 777000 fff rw");
    let mut story = Story::scalable();
    story.line(passed);
    assert_eq!(figures(&story.audit()), [1, 0, 1, 0]);
    story.line(translated);
    story.write(0x18, 4, 0x400_0000);
    // The guest does not know yet.
    story.line(passed);
    story.line(translated);
    assert_eq!(figures(&story.audit()), [4, 1, 1, 0]);
    story.read(0x1c, 4, 0xc400_0000);
    story.line(translated);
    assert_eq!(figures(&story.audit()), [5, 2, 1, 0]);
    story.read(0x18, 8, 0x4400_0000 << 32);
    story.line(translated);
    story.line(passed);
    assert_eq!(figures(&story.audit()), [7, 2, 2, 0]);
    assert_eq!(story.audit().uses[1].tables, "requests are not translated");
    // A request with a PASID is blocked.
    story.line(REQUEST);
    assert_eq!(figures(&story.audit()), [8, 2, 3, 0]);
    story.write(0x18, 4, 0x8400_0000);
    story.line(passed);
    story.line(translated);
    assert_eq!(figures(&story.audit()), [10, 3, 3, 0]);
    story.read(0x1c, 4, 0xc400_0000);
    story.line(passed);
    story.line(translated);
    assert_eq!(figures(&story.audit()), [12, 3, 4, 0]);
}

#[test]
fn the_abort_mode() {
    let mut story = Story::new(CAP, crate::story::ECAP | 1 << 52);
    story.write(0x20, 8, 0x1c00);
    story.write(0x18, 4, 0xc000_0000);
    story.read(0x1c, 4, 0xc000_0000);
    story.line("dma 00:03.0 - r 5123 fault");
    story.line("dma 00:03.0 - r 5123 5000 fff rw");
    let report = story.audit();
    assert_eq!(figures(&report), [1, 0, 1, 0]);
    assert_eq!(report.uses[0].tables, "every request is blocked");
}

#[test]
fn a_reset() {
    let mut story = Story::scalable();
    story.line(REQUEST);
    story.line("reset");
    story.line("dma 00:03.0 - r 5123 5000 fff rw");
    assert_eq!(figures(&story.audit()), [2, 0, 0, 0]);
    story.line(REQUEST);
    assert_eq!(figures(&story.audit()), [3, 0, 1, 0]);
}

/// A guest that switches tables without end and never looks what came of it.
#[test]
fn too_many_modes_are_not_judged() {
    let mut story = Story::scalable();
    for n in 0..20 {
        story.write(0x20, 8, 0x10_0400 + (n << 12));
        story.write(0x18, 4, 0xc400_0000);
    }
    story.line(REQUEST);
    assert_eq!(figures(&story.audit()), [0, 0, 0, 1]);
    story.read(0x1c, 4, 0xc400_0000);
    story.line(REQUEST);
    assert_eq!(figures(&story.audit()), [1, 0, 1, 1]);
    story.invalidate(&[IOTLB]);
}
