//! What waits for a device's answer, and what goes on.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use vtd::{Access, Step, Wake};

use crate::guest::card::{Card, device_tlb};
use crate::guest::{Guest, STATUS, first_stage, pasid, pasid_selective, translate, wait};

const IQH: u64 = 0x80;

// feature: 3.device TLBs: waits behind them follow
#[test]
fn a_wait_completes_behind_every_answer() {
    // The order in which three invalidations of two devices are answered.
    for order in [[0, 1, 2], [0, 2, 1], [1, 0, 2], [1, 2, 0], [2, 0, 1], [2, 1, 0]] {
        let (card, other) = (Card::slow(), Card::slow());
        let mut guest = Guest::with_cards(|_| {});
        let (device, second) = (guest.plug(3, &card), guest.plug(4, &other));
        let asked = [device_tlb(3, 0x1000), device_tlb(4, 0x2000), device_tlb(3, 0x3000)];
        assert!(!guest.invalidate(&asked));
        assert_eq!(guest.unit.run(), Step::Waiting);
        let (mine, others) = (card.take_ids(), other.take_ids());
        let outstanding = [(device, mine[0]), (second, others[0]), (device, mine[1])];
        for (answers, next) in order.into_iter().enumerate() {
            assert_eq!(guest.get(STATUS), 0, "{order:?} after {answers}");
            assert_eq!(guest.read(IQH, 8), 0x60, "IQH is at the wait");
            let (device, id) = outstanding[next];
            guest.unit.device_tlb_invalidated(device, id).unwrap();
            let _left = guest.unit.run();
        }
        assert_eq!((guest.get(STATUS), guest.read(IQH, 8)), (1, 0x80), "{order:?}");
        assert!(guest.is_idle());
    }
}

// feature: 3.device TLBs: waits behind them follow
#[test]
fn a_wait_without_a_status_waits_too() {
    // IF, FN, and both with SW.
    for qw0 in [0x15, 0x45, 0x75_u64] {
        let card = Card::slow();
        let mut guest = Guest::with_cards(|_| {});
        let device = guest.plug(3, &card);
        guest.ring(&[device_tlb(3, 0x1000), [qw0, STATUS, 0, 0], [0x12, 0, 0, 0]]);
        assert_eq!(guest.unit.run(), Step::Waiting);
        assert_eq!((guest.read(IQH, 8), guest.interrupts()), (0x20, vec![]), "{qw0:x}");
        guest.unit.device_tlb_invalidated(device, card.take_ids()[0]).unwrap();
        assert!(guest.is_idle());
        let interrupts = if qw0 & 0x10 == 0 { vec![] } else { vec![0x22] };
        assert_eq!((guest.read(IQH, 8), guest.interrupts()), (0x60, interrupts), "{qw0:x}");
    }
}

#[test]
fn other_descriptors_go_on_meanwhile() {
    let card = Card::slow();
    let mut guest = Guest::with_cards(|_| {});
    guest.plug(3, &card);
    let other = guest.emulate(4);
    guest.map_first_stage(0x10_0000, 0x5000, 0xa000, 7);
    guest.put_entry(4, 5, &first_stage(0x10_0000, 1));
    let dma = guest.unit.dma(other, Some(pasid(5))).unwrap();
    assert_eq!(translate(&dma, 0x5000, Access::READ), Ok(0xa000));
    guest.put_entry(4, 5, &[0]);
    guest.ring(&[device_tlb(3, 0x1000), pasid_selective(1, 5), wait(9)]);
    assert_eq!(guest.unit.run(), Step::Waiting);
    assert!(translate(&dma, 0x5000, Access::READ).is_err(), "the second descriptor is done");
    assert_eq!((guest.read(IQH, 8), guest.get(STATUS)), (0x40, 0));
}

// feature: 3.device TLBs: bounded number of invalidations outstanding
/// 32 of a device; what comes behind them is fetched as answers come in.
#[test]
fn the_outstanding_invalidations_of_a_device_are_bounded() {
    let (card, other) = (Card::slow(), Card::slow());
    let mut guest = Guest::with_cards(|_| {});
    let device = guest.plug(3, &card);
    guest.plug(4, &other);
    let asked: Vec<_> = (0..40).map(|page| device_tlb(3, page << 12)).collect();
    guest.ring(&asked);
    guest.ring(&[device_tlb(4, 0x1000), wait(7)]);
    assert_eq!(guest.unit.run(), Step::Waiting);
    let mut ids = card.take_ids();
    assert_eq!((ids.len(), guest.read(IQH, 8)), (32, 32 * 32));
    assert_eq!(guest.unit.run(), Step::Waiting, "and stays so");
    assert_eq!(guest.unit.counts().descriptors, 32);
    for answered in 0..40 {
        assert_eq!(guest.get(STATUS), 0);
        guest.unit.device_tlb_invalidated(device, ids[answered]).unwrap();
        let _left = guest.unit.run();
        ids.extend(card.take_ids());
        assert_eq!(ids.len(), 40.min(33 + answered));
    }
    let unit = guest.unit.clone();
    unit.device_tlb_invalidated(unit.devices()[1].id, other.take_ids()[0]).unwrap();
    assert!(guest.is_idle());
    assert_eq!(guest.get(STATUS), 7);
}

// feature: 3.device TLBs: bounded number of invalidations outstanding
#[test]
fn the_outstanding_invalidations_of_a_unit_are_bounded() {
    let cards: Vec<_> = (0..40).map(|_| Card::slow()).collect();
    let mut guest = Guest::with_cards(|_| {});
    for (card, place) in cards.iter().zip(0x100..) {
        let source_id = vtd::spec::SourceId(place);
        guest.unit.attach_endpoint(source_id, Arc::clone(card) as _).unwrap();
    }
    for card in 0..40_u64 {
        for page in 0..32 {
            guest.ring(&[[3 | (0x100 + card) << 32, page << 12, 0, 0]]);
            assert_eq!(guest.unit.run(), Step::Waiting);
        }
    }
    let told: usize = cards.iter().map(|card| card.take_ids().len()).sum();
    assert_eq!((told, guest.unit.counts().descriptors), (1024, 1024));
}

// feature: 3.device TLBs: waits behind them follow
/// What a device is given inside a guard may enter its device TLB late: it is told to drop it after that, and nobody else waits.
#[test]
fn a_device_is_told_when_its_guards_are_closed() {
    let (card, other) = (Card::slow(), Card::slow());
    let mut guest = Guest::with_cards(|_| {});
    let device = guest.plug(3, &card);
    guest.plug(4, &other);
    let handle = guest.unit.dma(device, None).unwrap();
    let guard = handle.guard();
    guest.ring(&[pasid_selective(1, 5), device_tlb(3, 0x1000), device_tlb(4, 0x2000), wait(9)]);
    assert_eq!(guest.unit.run(), Step::Waiting);
    assert_eq!((card.take_ids().len(), other.take_ids().len()), (0, 1), "the guard is open");
    // One that is opened later is not waited for.
    let later = handle.guard();
    drop(guard);
    assert_eq!(guest.unit.run(), Step::Waiting);
    assert_eq!((card.take_ids().len(), other.take_ids().len()), (1, 0));
    drop(later);
}

#[derive(Default)]
struct Wakes(AtomicU64);

impl Wake for Wakes {
    fn wake(&self) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

/// A device may take a minute to answer, and the others' requests are as many as they are.
#[test]
fn requests_wake_nobody_while_a_device_is_waited_for() {
    let (card, wakes) = (Card::slow(), Arc::new(Wakes::default()));
    let mut guest = Guest::with_cards(|config| config.wake = Some(Arc::clone(&wakes) as _));
    let device = guest.plug(3, &card);
    let other = guest.emulate(4);
    let handle = guest.unit.dma(other, None).unwrap();
    let held = handle.guard();
    assert!(!guest.invalidate(&[device_tlb(3, 0x1000)]));
    let woken = || wakes.0.swap(0, Ordering::SeqCst);
    let _before = woken();
    // This one has to be closed before the wait completes.
    drop(held);
    assert_eq!(woken(), 1);
    assert_eq!(guest.unit.run(), Step::Waiting);
    for _ in 0..100 {
        drop(handle.guard());
        let _left = guest.unit.run();
    }
    assert_eq!(woken(), 0);
    guest.unit.device_tlb_invalidated(device, card.take_ids()[0]).unwrap();
    assert_eq!(woken(), 1);
    assert!(guest.is_idle());
    assert_eq!(guest.get(STATUS), 1);
}
