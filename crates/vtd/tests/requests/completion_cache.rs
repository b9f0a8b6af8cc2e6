//! Translation requests use and fill the IOTLB as untranslated ones do, and never get more from it than the tables give.

use vtd::{Access, TranslationRequest as Ask};

use crate::guest::{pasid_iotlb, translate};
use crate::machine::{ALL, CAP, FIRST, FRAME, Machine, place};

fn machine(bits: u64) -> Machine {
    let mut machine = Machine::scalable(CAP, ALL, &[0x41, 5, FIRST + 0x1000]);
    machine.map(FIRST, 0x5000, 1, FRAME | bits, 7);
    machine.guest.enable_queue();
    machine.guest.command(0x8400_0000);
    machine
}

/// Translations found in the IOTLB.
fn hits(machine: &Machine) -> u64 {
    machine.guest.unit.counts().caches.translation_hits
}

// feature: 1.translation requests (ATS): cached, invalidated and waited for as DMA is
#[test]
fn one_fills_what_the_other_finds() {
    let filled = machine(7);
    assert_eq!(filled.told(Some(1), 0x5000, Ask::READ_WRITE), "400000 1000 rw");
    assert_eq!(hits(&filled), 0);
    for access in [Access::READ, Access::WRITE] {
        assert_eq!(translate(&filled.dma(Some(1)), 0x5123, access), Ok(FRAME + 0x123));
    }
    assert_eq!(filled.told(Some(1), 0x5000, Ask::READ), "400000 1000 r");
    assert_eq!(hits(&filled), 3);
    let found = machine(7);
    assert_eq!(found.access(Some(1), 0x5000, Access::WRITE), Ok(FRAME));
    assert_eq!(found.told(Some(1), 0x5000, Ask::READ_WRITE), "400000 1000 rw");
    assert_eq!(hits(&found), 1);
}

#[test]
fn a_completion_without_write_does_not_lead_to_one_that_has_it_without_d() {
    let machine = machine(7);
    let leaf = place(FIRST, 1, 0x5000);
    assert_eq!(machine.told(Some(1), 0x5000, Ask::READ), "400000 1000 r");
    assert_eq!(machine.guest.get(leaf), FRAME | 0x27);
    assert_eq!(machine.told(Some(1), 0x5000, Ask::READ_WRITE), "400000 1000 rw");
    assert_eq!(machine.guest.get(leaf), FRAME | 0x67);
}

// feature: 1.translation requests (ATS): cached, invalidated and waited for as DMA is
#[test]
fn what_an_invalidation_drops_is_asked_of_the_tables_again() {
    let mut machine = machine(7);
    assert_eq!(machine.told(Some(1), 0x5000, Ask::READ_WRITE), "400000 1000 rw");
    machine.map(FIRST, 0x5000, 1, FRAME + 0x1000 | 5, 7);
    assert!(machine.guest.invalidate(&[pasid_iotlb(5, 1)]));
    assert_eq!(machine.told(Some(1), 0x5000, Ask::READ_WRITE), "401000 1000 r");
    // A permission that is added needs no invalidation: a lack is looked at again.
    machine.map(FIRST, 0x5000, 1, FRAME + 0x1000 | 7, 7);
    assert_eq!(machine.told(Some(1), 0x5000, Ask::READ_WRITE), "401000 1000 rw");
}

// feature: 1.translation requests (ATS): cached, invalidated and waited for as DMA is
#[test]
fn the_guard_of_a_translation_request_holds_up_a_wait() {
    let mut machine = machine(7);
    let dma = machine.dma(Some(1));
    let guard = dma.guard();
    let iova = vtd::spec::Iova(0x5000);
    let completion = guard.translation_request(iova, Ask::READ).unwrap();
    assert!(completion.granted.read);
    assert!(!machine.guest.invalidate(&[pasid_iotlb(5, 1)]));
    drop(guard);
    assert!(machine.guest.is_idle());
    assert_eq!(machine.guest.get(crate::guest::STATUS), 1);
}
