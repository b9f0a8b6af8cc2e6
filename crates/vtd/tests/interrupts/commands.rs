//! SIRTP, IRE, CFI and IRTA.

use std::sync::Arc;

use vtd::ResetKind;
use vtd::spec::{Capabilities, SourceId};

use crate::guest::{CAP, ECAP, Guest};
use crate::machine::*;

// feature: 6.interrupt table: latched by SIRTP (IRTA)
#[test]
fn the_table_is_latched() {
    let guest = on(|_| {});
    put_entry(&guest, 3, entry(0x31));
    guest.put(0xb030, &entry(0x41));
    assert_eq!(vector(&guest, 3), Ok(0x31));
    // The write alone changes nothing, size and EIME neither.
    guest.write(0xb8, 8, 0xb800);
    command(&guest, 0);
    assert_eq!(vector(&guest, 3), Ok(0x31));
    command(&guest, SIRTP);
    assert_eq!(guest.read(0x1c, 4), 0x0700_0000);
    assert_eq!(vector(&guest, 3), Err(0x21), "two entries now");
    guest.write(0xb8, 8, 0xb007);
    command(&guest, SIRTP);
    assert_eq!(vector(&guest, 3), Ok(0x41));
}

// feature: 6.interrupt entry cache: dropped by SIRTP (CAP.ESIRTPS)
/// (Without ESIRTPS too: more may always be dropped.)
#[test]
fn sirtp_drops_the_interrupt_entry_cache() {
    for cap in [CAP, CAP | 1 << 62] {
        let mut guest = Guest::made(Capabilities::new(cap, ECAP_IR).unwrap(), |_| {});
        guest.put(TABLE, &[0; 512]);
        guest.enable_queue();
        set_table(&guest, TABLE | 7);
        command(&guest, IRE);
        put_entry(&guest, 3, entry(0x31));
        assert_eq!(vector(&guest, 3), Ok(0x31));
        put_entry(&guest, 3, entry(0x32));
        assert_eq!(vector(&guest, 3), Ok(0x31), "cached");
        command(&guest, SIRTP);
        assert_eq!(vector(&guest, 3), Ok(0x32));
        // As do changes of IRE.
        put_entry(&guest, 3, entry(0x33));
        guest.command(0x0400_0000);
        guest.command(0x0400_0000 | IRE);
        assert_eq!(vector(&guest, 3), Ok(0x33));
    }
}

// feature: 8.caches dropped by SRTP (CAP.ESRTPS)
/// (Without ESRTPS too: more may always be dropped.)
#[test]
fn srtp_drops_every_cache_of_translation() {
    for cap in [CAP, CAP & !(1 << 63)] {
        let mut guest = Guest::made(Capabilities::new(cap, ECAP).unwrap(), |_| {});
        guest.enable();
        guest.put_context(3, 0);
        guest.put_entry(3, 0, &crate::guest::first_stage(0x10_0000, 5));
        guest.map_first_stage(0x10_0000, 0x5000, 0x7000, 7);
        let device = guest.emulate(3);
        let handle = guest.unit.dma(device, None).unwrap();
        let found = || crate::guest::translate(&handle, 0x5000, vtd::Access::READ);
        assert_eq!(found(), Ok(0x7000));
        // Page table, PASID-table entry, context entry.
        type Change = fn(&Guest);
        let steps: [(Change, u64); 3] = [
            (|guest| guest.map_first_stage(0x10_0000, 0x5000, 0x8000, 7), 0x8000),
            (|guest| guest.put_entry(3, 0, &crate::guest::pass_through(5)), 0x5000),
            (|guest| guest.put(0x2000 + 0x18 * 32, &[0]), 0),
        ];
        let mut before = 0x7000;
        for (change, after) in steps {
            change(&guest);
            assert_eq!(found(), Ok(before), "cached");
            guest.set_root(0x1400);
            match after {
                0 => assert_eq!(crate::guest::fault_of(&handle, 0x5000), 0x41),
                after => assert_eq!(found(), Ok(after)),
            }
            before = after;
        }
    }
}

// feature: 6.commands and their status (IRE, IRES, CFI, CFIS)
#[test]
fn states_follow_what_is_asked() {
    let guest = on(|_| {});
    put_entry(&guest, 3, entry(0x31));
    for (asked, status) in [
        (0, 0x0100_0000),
        (CFI, 0x0180_0000),
        (IRE | CFI, 0x0380_0000),
        (IRE, 0x0300_0000),
        (IRE, 0x0300_0000),
    ] {
        guest.command(asked);
        assert_eq!(guest.read(0x1c, 4), status, "{asked:x}");
        let expected = if asked & IRE != 0 { 0x31 } else { 0 };
        assert_eq!(vector(&guest, 3), Ok(expected), "{asked:x}");
    }
    // All at once, and the queue with them.
    let guest = off(|_| {});
    guest.put(TABLE, &entry(0x51));
    guest.write(0x90, 8, 0x8800);
    guest.write(0xb8, 8, TABLE | 7);
    guest.command(0x0400_0000 | SIRTP | IRE | CFI);
    assert_eq!(guest.read(0x1c, 4), 0x0780_0000);
    assert_eq!(vector(&guest, 0), Ok(0x51));
    // Without ECAP.IR nothing of it exists.
    let guest = Guest::new();
    guest.write(0xb8, 8, TABLE | 7);
    guest.command(SIRTP | IRE | CFI);
    assert_eq!((guest.read(0x1c, 4), guest.read(0xb8, 8)), (0, 0));
}

// feature: 6.interrupt table: extended destinations (EIME, ECAP.EIM)
#[test]
fn eime_without_eim_is_ignored() {
    let ecap = ECAP_IR & !(1 << 4);
    let guest = Guest::made(Capabilities::new(CAP, ecap).unwrap(), |_| {});
    guest.put(TABLE, &entry(0x31));
    set_table(&guest, TABLE | 0x807);
    assert_eq!(guest.read(0xb8, 8), TABLE | 7);
    guest.command(IRE | CFI);
    // Destinations have 8 bits, and CFI counts.
    assert_eq!(remap(&guest, request(0), 0), Ok((0xfee0_1000, 0x31)));
    assert_eq!(remap(&guest, 0xfee0_0000, 7), Ok((0xfee0_0000, 7)));
}

// feature: 6.listener: after a wait nobody gets an old interrupt
/// An interrupt that is being delivered holds back what contradicts it.
#[test]
fn a_delivery_holds_back_status_and_waits() {
    let mut guest = on(|_| {});
    put_entry(&guest, 3, entry(0x31));
    let unit = guest.unit.clone();
    let source = vtd::spec::SourceId(REQUESTER);
    unit.deliver_interrupt(source, request(3), 0, |interrupt| {
        assert_eq!(interrupt.vector, 0x31);
        assert!(!guest.invalidate(&[interrupts(3, 0)]));
        command(&guest, SIRTP);
        assert_eq!(guest.read(0x1c, 4), 0x0600_0000, "IRTPS waits");
        guest.write(0x18, 4, 0x0400_0000);
        assert_eq!(guest.read(0x1c, 4), 0x0600_0000, "IRES too");
        // Others see what is already.
        assert_eq!(vector(&guest, 3), Ok(0));
    })
    .unwrap();
    let _left = guest.unit.run();
    assert_eq!(guest.read(0x1c, 4), 0x0500_0000);
    assert_eq!(guest.get(crate::guest::STATUS), 1);
}

// feature: 6.reset turns remapping off
#[test]
fn a_reset_turns_remapping_off() {
    for kind in [ResetKind::PowerOn, ResetKind::Warm] {
        let guest = on(|_| {});
        put_entry(&guest, 3, entry(0x31));
        assert_eq!(vector(&guest, 3), Ok(0x31));
        guest.unit.reset(kind);
        let _left = guest.unit.run();
        assert_eq!((guest.read(0x1c, 4), guest.read(0xb8, 8)), (0, 0));
        assert_eq!(vector(&guest, 3), Ok(0));
        // What was latched is gone, and so is what was cached.
        put_entry(&guest, 3, entry(0x32));
        command(&guest, IRE);
        assert_eq!(vector(&guest, 3), Err(0x23));
        set_table(&guest, TABLE | 7);
        assert_eq!(vector(&guest, 3), Ok(0x32));
    }
}

/// IRTPS is that of the SIRTP written last, even if one before it is over when that has not begun.
#[test]
fn an_earlier_sirtp_does_not_complete_a_later_one() {
    let log = Arc::new(Log::default());
    let mut guest = on(|config| config.interrupt_listener = Some(Arc::clone(&log) as _));
    let unit = guest.unit.clone();
    let kept = guest.read(0x1c, 4) & KEPT;
    put_entry(&guest, 3, entry(0x31));
    let delivered = unit.deliver_interrupt(SourceId(REQUESTER), request(3), 0, |_| {
        // It waits for this delivery.
        command(&guest, SIRTP);
        assert_eq!(guest.read(0x1c, 4) & SIRTP, 0);
        // The listener is to be told of an invalidation first, which a write does not do.
        guest.ring(&[INTERRUPTS_GLOBAL]);
        guest.write(0x18, 4, SIRTP | kept);
    });
    assert!(delivered.is_ok());
    guest.write(0x18, 4, kept);
    assert_eq!(guest.read(0x1c, 4) & SIRTP, 0);
    assert!(guest.is_idle());
    assert_eq!(guest.read(0x1c, 4) & SIRTP, SIRTP);
}
