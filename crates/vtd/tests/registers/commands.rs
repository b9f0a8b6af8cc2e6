//! GCMD and GSTS.

use vtd::spec::Capabilities;

use vtd::{Access, Step};

use crate::fault_recording::faulting;
use crate::guest::{self, CAP, Guest, fault_of, translate};
use crate::page::ECAP_WIDE;

// feature: 8.global commands and their status (GCMD, GSTS)
#[test]
fn one_shot_bits_act_once_and_the_others_hold() {
    let guest = Guest::new();
    guest.write(0x90, 8, 0x8800);
    guest.write(0x20, 8, 0x1400);
    let table = [
        // GCMD written, GSTS afterwards
        (0x0400_0000_u64, 0x0400_0000),
        (0x4400_0000, 0x4400_0000),
        // SRTP is one-shot: RTPS stays without it.
        (0x0400_0000, 0x4400_0000),
        (0x8400_0000, 0xc400_0000),
        (0xc400_0000, 0xc400_0000),
        // Without QIE in the command the queue goes off.
        (0x8000_0000, 0xc000_0000),
        (0x0000_0000, 0x4000_0000),
        (0x8400_0000, 0xc400_0000),
        // SFL, EAFL, WBF, IRE, SIRTP and CFI mean nothing without their capabilities.
        (0xbf80_0000, 0xc400_0000),
        // Reserved bits neither.
        (0x847f_ffff, 0xc400_0000),
    ];
    for (command, status) in table {
        guest.command(command);
        assert_eq!(guest.read(0x1c, 4), status, "{command:x}");
        assert_eq!(guest.read(0x18, 4), 0);
    }
    let wide = Guest::made(Capabilities::new(CAP, ECAP_WIDE).unwrap(), |_| {});
    let table = [
        (0x0100_0000, 0x0100_0000),
        (0x0200_0000, 0x0300_0000),
        (0x0280_0000, 0x0380_0000),
        (0x0000_0000, 0x0100_0000),
    ];
    for (command, status) in table {
        wide.command(command);
        assert_eq!(wide.read(0x1c, 4), status, "{command:x}");
    }
}

// feature: 8.global commands and their status (GCMD, GSTS)
#[test]
fn rtps_clears_when_srtp_is_written_and_sets_when_it_is_done() {
    let mut guest = Guest::new();
    guest.enable();
    let handle = faulting(&guest);
    let guard = handle.guard();
    guest.write(0x18, 4, 0xc400_0000);
    assert_eq!(guest.read(0x1c, 4), 0x8400_0000);
    assert_eq!(guest.unit.run(), Step::Waiting);
    assert_eq!(guest.read(0x1c, 4), 0x8400_0000);
    // A guard opened by now sees the new tables, and holds nothing up.
    let later = handle.guard();
    drop(guard);
    assert_eq!(guest.unit.run(), Step::Idle);
    assert_eq!(guest.read(0x1c, 4), 0xc400_0000);
    drop(later);
}

// feature: 8.global commands and their status (GCMD, GSTS)
#[test]
fn a_second_srtp_takes_the_place_of_the_first() {
    let mut guest = Guest::new();
    guest.enable();
    let handle = faulting(&guest);
    let first = handle.guard();
    guest.write(0x18, 4, 0xc400_0000);
    let second = handle.guard();
    guest.write(0x18, 4, 0xc400_0000);
    drop(first);
    // What the first one promised holds, but the second was asked for since.
    assert_eq!(guest.unit.run(), Step::Waiting);
    assert_eq!(guest.read(0x1c, 4), 0x8400_0000);
    drop(second);
    assert_eq!(guest.unit.run(), Step::Idle);
    assert_eq!(guest.read(0x1c, 4), 0xc400_0000);
}

// feature: 8.global commands and their status (GCMD, GSTS)
#[test]
fn tes_follows_the_last_command_when_no_guard_is_left() {
    let mut guest = Guest::new();
    guest.enable();
    let handle = faulting(&guest);
    let first = handle.guard();
    guest.command(0x0400_0000);
    assert_eq!(guest.read(0x1c, 4), 0xc400_0000);
    let second = handle.guard();
    guest.command(0x8400_0000);
    drop(first);
    let _left = guest.unit.run();
    assert_eq!(guest.read(0x1c, 4), 0xc400_0000);
    drop(second);
    assert!(guest.is_idle());
    assert_eq!(guest.read(0x1c, 4), 0xc400_0000);
    assert_eq!(fault_of(&handle, 0x1000), 0x41);
}

// feature: 8.global commands and their status (GCMD, GSTS)
#[test]
fn rtaddr_is_latched_by_srtp_alone() {
    let mut guest = Guest::new();
    guest.enable();
    guest.put_context(3, 0);
    guest.put_entry(3, 0, &guest::pass_through(1));
    let device = guest.emulate(3);
    let handle = guest.unit.dma(device, None).unwrap();
    assert_eq!(translate(&handle, 0x5123, Access::READ), Ok(0x5123));
    // An empty root table at 4000.
    guest.put(0x4000, &[0; 512]);
    guest.write(0x20, 8, 0x4400);
    assert!(guest.invalidate(&[guest::CONTEXT_GLOBAL]));
    assert_eq!(translate(&handle, 0x5123, Access::READ), Ok(0x5123));
    // Translation off and on takes the latched value too.
    guest.command(0x0400_0000);
    guest.command(0x8400_0000);
    assert_eq!(translate(&handle, 0x5123, Access::READ), Ok(0x5123));
    guest.command(0xc400_0000);
    assert_eq!(fault_of(&handle, 0x5123), 0x39);
}

// feature: 8.global commands and their status (GCMD, GSTS)
/// Commands that come together are all taken up, whatever else there is to do.
#[test]
fn commands_given_together_are_all_carried_out() {
    // A unit of version 1 in legacy mode: register-based invalidation exists. Without a step between them: QIE, then CCMD and
    // IOTLB, whose values then say what was done.
    let unit = Guest::new().unit;
    for (offset, size, value) in [
        (0x90, 8, 0x4000),
        (0x18, 4, 0x0400_0000),
        (0x28, 8, 0xa000_0000_0000_0000),
        (0xf8, 8, 0x9000_0000_0000_0000),
    ] {
        unit.write(offset, size, value);
    }
    assert_eq!(unit.read(0x1c, 4), 0x0400_0000);
    assert_eq!(unit.read(0x28, 8), 0x2800_0000_0000_0000, "global, done globally");
    assert_eq!(unit.read(0xf8, 8), 0x1200_0000_0000_0000);
}
