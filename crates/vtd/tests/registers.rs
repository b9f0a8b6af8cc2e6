//! The register page.
#![cfg(test)]

mod guest;

use guest::{CAP, ECAP, FAULT_DATA, Guest, INVALIDATION_DATA, Numbers, fault_of, translate};
use vtd::spec::Capabilities;
use vtd::{Access, DmaHandle, ResetKind, Step};

/// ECAP with interrupt remapping and page requests besides.
const ECAP_WIDE: u64 = ECAP | 1 << 3 | 1 << 29;

#[test]
fn power_on_values() {
    let guest = Guest::new();
    let wide = Guest::made(Capabilities::new(CAP, ECAP_WIDE).unwrap(), |_| {});
    let table = [
        (0x000, 4, 0x10),
        (0x000, 8, 0x10),
        (0x008, 8, CAP),
        (0x008, 4, CAP & 0xffff_ffff),
        (0x00c, 4, CAP >> 32),
        (0x018, 4, 0),
        (0x01c, 4, 0),
        (0x020, 8, 0),
        (0x028, 8, 0),
        (0x034, 4, 0),
        (0x038, 4, 0x8000_0000),
        (0x03c, 4, 0),
        (0x040, 8, 0),
        (0x058, 8, 0),
        (0x080, 8, 0),
        (0x088, 8, 0),
        (0x090, 8, 0),
        (0x09c, 4, 0),
        (0x0a0, 4, 0x8000_0000),
        (0x0a4, 4, 0),
        (0x0a8, 8, 0),
        (0x0b0, 8, 0),
        (0x0b8, 8, 0),
        (0x0c0, 8, 0),
        (0x0c8, 8, 0),
        (0x0d0, 8, 0),
        (0x0dc, 4, 0),
        (0x0f0, 8, 0),
        (0x0f8, 8, 0),
        (0x220, 8, 0),
        (0x228, 8, 0),
    ];
    for (offset, size, value) in table {
        assert_eq!(guest.read(offset, size), value, "{offset:x}");
        assert_eq!(wide.read(offset, size), value, "{offset:x}");
    }
    assert_eq!(guest.read(0x10, 8), ECAP);
    assert_eq!(wide.read(0x10, 8), ECAP_WIDE);
    // PECTL exists where page requests do.
    assert_eq!(guest.read(0xe0, 4), 0);
    assert_eq!(wide.read(0xe0, 4), 0x8000_0000);
}

fn page(guest: &Guest) -> Vec<u64> {
    (0..0x1000).step_by(4).map(|offset| guest.read(offset, 4)).collect()
}

#[test]
fn accesses_of_odd_size_or_alignment_do_nothing() {
    let mut guest = Guest::new();
    guest.enable();
    let before = page(&guest);
    for offset in 0..0x1008 {
        for size in (0..=16).chain([0x7f, 0x80, 0xff]) {
            let aligned = matches!(size, 4 | 8) && offset % u64::from(size) == 0;
            if !aligned {
                guest.write(offset, size, u64::MAX);
                assert_eq!(guest.read(offset, size), 0, "{offset:x} {size}");
            }
        }
    }
    assert_eq!(page(&guest), before);
}

#[test]
fn every_aligned_access_is_harmless() {
    let values = [0, u64::MAX, 0xaaaa_aaaa_5555_5555, 0x8000_0000_8000_0000, 0x1400];
    let mut numbers = Numbers(7);
    for ecap in [ECAP, ECAP_WIDE] {
        let guest = Guest::made(Capabilities::new(CAP, ecap).unwrap(), |_| {});
        let places = (0..0x1010).step_by(4).chain([u64::MAX - 7, u64::MAX - 3, 1 << 32]);
        for offset in places {
            for size in [4_u8, 8] {
                for value in values.into_iter().chain([numbers.next()]) {
                    guest.write(offset, size, value);
                    let _any = guest.read(offset, size);
                }
            }
        }
        let _left = guest.unit.run();
        assert_eq!(guest.read(0x08, 8), CAP);
        assert_eq!(guest.read(0x10, 8), ecap);
    }
}

#[test]
fn eight_bytes_reach_two_registers_of_four() {
    let guest = Guest::new();
    let table = [
        // register pair, written, read
        (0x38, 0x1234_5678_8000_0000_u64, 0x1234_5678_8000_0000),
        (0x40, 0x9abc_def0_fee0_0003, 0x9abc_def0_fee0_0000),
        (0xa0, 0x8765_4321_0000_0000, 0x8765_4321_0000_0000),
        (0xa8, 0x0000_0001_fee0_1000, 0x0000_0001_fee0_1000),
        // GCMD reads 0, and GSTS is read-only.
        (0x18, 0xffff_ffff_0400_0000, 0x0400_0000_0000_0000),
        // FSTS and ICS are upper halves, with nothing to clear here.
        (0x30, u64::MAX, 0),
        (0x98, u64::MAX, 0),
    ];
    for (offset, written, read) in table {
        guest.write(offset, 8, written);
        assert_eq!(guest.read(offset, 8), read, "{offset:x}");
        assert_eq!(guest.read(offset, 4), read & 0xffff_ffff, "{offset:x}");
        assert_eq!(guest.read(offset + 4, 4), read >> 32, "{offset:x}");
    }
}

#[test]
fn registers_of_eight_bytes_are_written_by_halves() {
    let guest = Guest::made(Capabilities::new(CAP, ECAP_WIDE).unwrap(), |_| {});
    let table = [
        // register, written, what of it stays
        (0x20, 0x1234_5678_9abc_d7ff_u64, 0x1234_5678_9abc_d400),
        (0x28, 0x0000_0003_1234_5678, 0x0000_0003_1234_5678),
        (0x88, u64::MAX, 0x7_fff0),
        (0x90, 0x1234_5678_9abc_dfff, 0x1234_5678_9abc_d807),
        (0xb8, 0x1234_5678_9abc_dfff, 0x1234_5678_9abc_d80f),
        (0xc0, u64::MAX, 0x7_ffe0),
        (0xc8, u64::MAX, 0x7_ffe0),
        (0xd0, 0x1234_5678_9abc_dfff, 0x1234_5678_9abc_d007),
        (0x80, u64::MAX, 0),
        (0xb0, u64::MAX, 0),
        (0x08, u64::MAX, CAP),
        (0x10, u64::MAX, ECAP_WIDE),
    ];
    for (offset, written, kept) in table {
        let [low, high] = [written & 0xffff_ffff, written >> 32];
        guest.write(offset + 4, 4, high);
        guest.write(offset, 4, low);
        assert_eq!(guest.read(offset, 8), kept, "{offset:x} by halves");
        guest.write(offset, 8, 0);
        guest.write(offset, 8, written);
        assert_eq!(guest.read(offset, 8), kept, "{offset:x} at once");
        // One half leaves the other as it is.
        guest.write(offset, 4, 0);
        assert_eq!(guest.read(offset + 4, 4), kept >> 32, "{offset:x}");
    }
}

/// An emulated device with no context entry: every request faults 41.
fn faulting(guest: &Guest) -> DmaHandle {
    let device = guest.emulate(3);
    guest.unit.dma(device, None).unwrap()
}

const RECORD: u64 = 1 << 63 | 1 << 62 | 0x41 << 32 | 0x18;

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

#[test]
fn fault_event_rules() {
    let mut guest = Guest::new();
    guest.enable();
    let handle = faulting(&guest);
    let clear_record = |guest: &Guest| guest.write(0x22c, 4, 0x8000_0000);
    // Unmasked: sent when the first cause comes up, IP stays 0.
    fault_of(&handle, 0x1000);
    assert_eq!(guest.interrupts(), [FAULT_DATA]);
    assert_eq!(guest.read(0x38, 4), 0);
    assert_eq!(guest.read(0x34, 4), 2);
    // A second cause (PFO) sends nothing while the first is there.
    fault_of(&handle, 0x2000);
    assert_eq!(guest.interrupts(), [0; 0]);
    assert_eq!(guest.read(0x34, 4), 3);
    // Nor does a new fault while PFO is left, all records being free.
    clear_record(&guest);
    assert_eq!(guest.read(0x34, 4), 1);
    fault_of(&handle, 0x3000);
    assert_eq!(guest.interrupts(), [0; 0]);
    assert_eq!(guest.read(0x34, 4), 1);
    guest.write(0x34, 4, 1);
    assert_eq!(guest.read(0x34, 4), 0);
    // Masked: IP holds it.
    guest.write(0x38, 4, 0x8000_0000);
    fault_of(&handle, 0x4000);
    assert_eq!(guest.read(0x38, 4), 0xc000_0000);
    assert_eq!(guest.interrupts(), [0; 0]);
    // IP is read-only, and cleared by sending.
    guest.write(0x38, 4, 0x8000_0000);
    assert_eq!(guest.read(0x38, 4), 0xc000_0000);
    guest.write(0x38, 4, 0x4000_0000);
    assert_eq!(guest.interrupts(), [FAULT_DATA]);
    assert_eq!(guest.read(0x38, 4), 0);
    clear_record(&guest);
    // Held, then its cause goes: nothing is sent.
    guest.write(0x38, 4, 0x8000_0000);
    fault_of(&handle, 0x5000);
    clear_record(&guest);
    assert_eq!(guest.read(0x38, 4), 0x8000_0000);
    guest.write(0x38, 4, 0);
    assert_eq!(guest.interrupts(), [0; 0]);
    // Held with two causes: the last one to go clears IP.
    guest.write(0x38, 4, 0x8000_0000);
    fault_of(&handle, 0x6000);
    fault_of(&handle, 0x7000);
    clear_record(&guest);
    assert_eq!(guest.read(0x38, 4), 0xc000_0000);
    guest.write(0x34, 4, 1);
    assert_eq!(guest.read(0x38, 4), 0x8000_0000);
    // IQE is a cause as well: type 0 is no descriptor.
    guest.ring(&[[0; 4]]);
    assert_eq!(guest.read(0x34, 4), 0x10);
    assert_eq!(guest.read(0x38, 4), 0xc000_0000);
    guest.write(0x38, 4, 0);
    assert_eq!(guest.interrupts(), [FAULT_DATA]);
    // A record beside IQE is no new event.
    fault_of(&handle, 0x8000);
    assert_eq!(guest.interrupts(), [0; 0]);
    assert_eq!(guest.read(0x34, 4), 0x12);
}

#[test]
fn fault_status_is_written_with_ones() {
    let mut guest = Guest::new();
    guest.enable();
    let handle = faulting(&guest);
    fault_of(&handle, 0x1000);
    fault_of(&handle, 0x2000);
    guest.ring(&[[0; 4]]);
    assert_eq!(guest.read(0x34, 4), 0x13);
    for (written, left) in [(0, 0x13), (0x02, 0x13), (0xff00, 0x13), (0xec, 0x13), (0x01, 0x12)] {
        guest.write(0x34, 4, written);
        assert_eq!(guest.read(0x34, 4), left, "{written:x}");
    }
    // The descriptor is still there, so clearing IQE sets it again.
    guest.write(0x34, 4, 0x10);
    assert_eq!(guest.read(0x34, 4), 0x12);
    guest.put(guest::QUEUE, &[0x11]);
    guest.write(0x34, 4, 0x10);
    assert_eq!(guest.read(0x34, 4), 0x02);
}

#[test]
fn records_are_used_in_rotation() {
    for nfr in [0_u64, 7, 255] {
        let records = nfr + 1;
        let capabilities = Capabilities::new(CAP | nfr << 40, ECAP).unwrap();
        let mut guest = Guest::made(capabilities, |_| {});
        guest.enable();
        let handle = faulting(&guest);
        let place = |n: u64| 0x220 + 16 * (n % records);
        let clear = |guest: &Guest, n| guest.write(place(n) + 8, 8, 1 << 63);
        for n in 0..records {
            fault_of(&handle, (n + 1) << 12);
        }
        for n in 0..records {
            assert_eq!(guest.read(place(n), 8), (n + 1) << 12);
            assert_eq!(guest.read(place(n) + 8, 8), RECORD);
            assert_eq!(guest.read(place(n) + 12, 4), RECORD >> 32);
        }
        assert_eq!(guest.read(0x34, 4), 2, "FRI names the first record");
        assert_eq!(guest.unit.register_page_size(), if nfr == 255 { 0x2000 } else { 0x1000 });
        assert_eq!(guest.read(place(records - 1) + 16, 8), 0, "behind the last record");
        // The next one in turn is occupied: lost, with PFO.
        fault_of(&handle, 0xf_f000);
        assert_eq!(guest.read(0x34, 4), 3);
        assert_eq!(guest.read(place(0), 8), 1 << 12);
        // While PFO is set all is lost, free records or not.
        clear(&guest, 0);
        fault_of(&handle, 0xf_e000);
        assert_eq!((guest.read(place(0), 8), guest.read(place(0) + 8, 8)), (0, 0));
        guest.write(0x34, 4, 1);
        fault_of(&handle, 0xf_d000);
        assert_eq!(guest.read(place(0), 8), 0xf_d000);
        // In rotation: the one after it is the next, even if others are free.
        if records > 2 {
            clear(&guest, 0);
            clear(&guest, 2);
            fault_of(&handle, 0xf_c000);
            assert_eq!(guest.read(0x34, 4) & 1, 1, "record 1 was occupied");
            guest.write(0x34, 4, 1);
        }
        for n in 0..records {
            clear(&guest, n);
        }
        assert_eq!(guest.read(0x34, 4) & 0xff, 0);
        // FRI is latched anew when a record becomes pending while none was.
        if records > 2 {
            for first in [1, 2, 3] {
                fault_of(&handle, 0x1000);
                fault_of(&handle, 0x2000);
                let pending = guest.read(0x34, 4);
                assert_eq!(pending >> 8, (2 * first - 1) % records, "{pending:x}");
                clear(&guest, 2 * first - 1);
                assert_eq!(guest.read(0x34, 4), pending, "PPF is still 1");
                clear(&guest, 2 * first);
            }
        }
    }
}

#[test]
fn records_are_read_only_but_for_f() {
    let mut guest = Guest::new();
    guest.enable();
    let handle = faulting(&guest);
    fault_of(&handle, 0x1000);
    for (offset, size, value) in [
        (0x220, 4, u64::MAX),
        (0x224, 4, u64::MAX),
        (0x228, 4, u64::MAX),
        (0x22c, 4, 0x7fff_ffff),
        (0x220, 8, u64::MAX),
        (0x228, 8, !(1 << 63)),
    ] {
        guest.write(offset, size, value);
        assert_eq!((guest.read(0x220, 8), guest.read(0x228, 8)), (0x1000, RECORD), "{offset:x}");
    }
    guest.write(0x22c, 4, 0x8000_0000);
    assert_eq!(guest.read(0x22c, 4) >> 31, 0);
}

#[test]
fn a_record_holds_pasid_and_access() {
    let mut guest = Guest::new();
    guest.enable();
    guest.put_context(3, 0);
    let device = guest.emulate(3);
    let table = [
        // PASID, access, address, qw0, qw1
        (None, Access::WRITE, 0xfff, 0, 1_u64 << 63 | 0x59 << 32 | 0x18),
        (
            Some(9),
            Access::READ,
            0x7_f123,
            0x7_f000,
            3 << 62 | 9 << 40 | 0x59 << 32 | 1 << 31 | 0x18,
        ),
        // Beyond the directory entry that is there, with all 20 bits.
        (
            Some(0x1fff),
            Access::WRITE,
            0x1000,
            0x1000,
            2 << 62 | 0x1fff << 40 | 0x51 << 32 | 1 << 31 | 0x18,
        ),
        (
            Some(0xf_ffff),
            Access::READ.executing().with_privilege(),
            0x1000,
            0x1000,
            3 << 62 | 0xf_ffff << 40 | 0x46 << 32 | 7 << 29 | 0x18,
        ),
    ];
    for (pasid, access, address, low, high) in table {
        let handle = guest.unit.dma(device, pasid.map(guest::pasid)).unwrap();
        assert!(translate(&handle, address, access).is_err());
        assert_eq!(guest.read(0x220, 8), low);
        assert_eq!(guest.read(0x228, 8), high, "{pasid:x?} {:x}", guest.read(0x228, 8));
        guest.write(0x228, 8, 1 << 63);
    }
}

#[test]
fn iqa_is_latched_when_the_queue_goes_on() {
    let mut guest = Guest::new();
    guest.enable();
    assert!(guest.invalidate(&[]));
    // Another base, another width: not before QIE goes off and on.
    guest.write(0x90, 8, 0xa000);
    assert!(guest.invalidate(&[guest::PASID_GLOBAL]));
    assert!(guest.invalidate(&[guest::PASID_GLOBAL]));
    guest.command(0x8000_0000);
    guest.put(0xa000, &[0x77_0000_0025, guest::STATUS]);
    guest.write(0x88, 8, 0x10);
    guest.command(0x8400_0000);
    assert_eq!(guest.get(guest::STATUS), 0x77);
    assert_eq!(guest.read(0x80, 8), 0x10);
}

#[test]
fn iqercd_keeps_its_value_until_the_next_error() {
    let mut guest = Guest::new();
    guest.enable();
    guest.ring(&[[0; 4]]);
    assert_eq!(guest.read(0xb0, 8), 3);
    guest.put(guest::QUEUE, &[0x11]);
    guest.write(0x34, 4, 0x10);
    assert!(guest.invalidate(&[]));
    assert_eq!(guest.read(0xb0, 8), 3);
    guest.ring(&[[0x01, 0, 0, 0]]);
    assert_eq!(guest.read(0xb0, 8), 4);
}

#[test]
fn invalidation_event_rules() {
    let mut guest = Guest::new();
    guest.enable();
    let interrupt = [0x15, 0, 0, 0];
    guest.ring(&[interrupt]);
    assert_eq!(guest.interrupts(), [INVALIDATION_DATA]);
    assert_eq!((guest.read(0x9c, 4), guest.read(0xa0, 4)), (1, 0));
    // IWC is set already: no new event.
    guest.ring(&[interrupt, interrupt]);
    assert_eq!(guest.interrupts(), [0; 0]);
    // Only a one clears it.
    for (written, left) in [(0, 1), (0xffff_fffe, 1), (1, 0)] {
        guest.write(0x9c, 4, written);
        assert_eq!(guest.read(0x9c, 4), left);
    }
    // Masked: held, sent when the mask goes.
    guest.write(0xa0, 4, 0x8000_0000);
    guest.ring(&[interrupt]);
    assert_eq!((guest.read(0x9c, 4), guest.read(0xa0, 4)), (1, 0xc000_0000));
    guest.write(0xa0, 4, 0);
    assert_eq!(guest.interrupts(), [INVALIDATION_DATA]);
    assert_eq!(guest.read(0xa0, 4), 0);
    guest.write(0x9c, 4, 1);
    // Held, then IWC is cleared: nothing is sent.
    guest.write(0xa0, 4, 0x8000_0000);
    guest.ring(&[interrupt]);
    guest.write(0x9c, 4, 1);
    assert_eq!(guest.read(0xa0, 4), 0x8000_0000);
    guest.write(0xa0, 4, 0);
    assert_eq!(guest.interrupts(), [0; 0]);
}

/// Legacy mode, queue off: device 00:03.0 has a second-stage table at 10000 under domain 5.
fn legacy(version: u32) -> (Guest, DmaHandle) {
    let guest = Guest::made(guest::caps(), |config| config.version = version);
    guest.put(0x1000, &[0x2001, 0]);
    guest.put(0x2000 + 0x18 * 16, &[0x1_0001, 5 << 8 | 2]);
    guest.map_second_stage(0x1_0000, 0x5000, 0x7000, 3);
    guest.set_root(0x1000);
    guest.command(0x8000_0000);
    let device = guest.emulate(3);
    let handle = guest.unit.dma(device, None).unwrap();
    assert_eq!(translate(&handle, 0x5000, Access::READ), Ok(0x7000));
    (guest, handle)
}

#[test]
fn register_based_invalidation_in_legacy_mode() {
    let context = |request: u64| (0x28, request);
    let iotlb = |request: u64| (0xf8, request);
    let table = [
        // register, written, read afterwards, whether the cached translation goes
        (context(0xa000_0000_0000_0000_u64), 0x2800_0000_0000_0000_u64, true),
        (context(0xc000_0000_0000_0005), 0x5000_0000_0000_0005, true),
        (context(0xe000_0000_0018_0005), 0x7800_0000_0018_0005, true),
        // Another device, and a reserved granularity.
        (context(0xe000_0000_0020_0005), 0x7800_0000_0020_0005, false),
        (context(0x8000_0000_0000_0000), 0, false),
        (iotlb(0x9000_0000_0000_0000), 0x1200_0000_0000_0000, true),
        (iotlb(0xa000_0005_0000_0000), 0x2400_0005_0000_0000, true),
        (iotlb(0xa000_0006_0000_0000), 0x2400_0006_0000_0000, false),
        (iotlb(0xb000_0005_0000_0000), 0x3600_0005_0000_0000, true),
        (iotlb(0xb000_0006_0000_0000), 0x3600_0006_0000_0000, false),
        (iotlb(0x8000_0000_0000_0000), 0, false),
    ];
    for ((register, written), read, goes) in table {
        let (guest, handle) = legacy(0x10);
        // IVA: the page at 5000, AM 0.
        guest.write(0xf0, 8, 0x5000);
        if register == 0x28 {
            guest.put(0x2000 + 0x18 * 16, &[0x2_0001]);
            guest.map_second_stage(0x2_0000, 0x5000, 0x9000, 3);
        } else {
            guest.map_second_stage(0x1_0000, 0x5000, 0x9000, 3);
        }
        guest.write(register, 8, written);
        assert!(guest.is_idle());
        assert_eq!(guest.read(register, 8), read, "{written:x}");
        let leads_to = if goes { 0x9000 } else { 0x7000 };
        assert_eq!(translate(&handle, 0x5000, Access::READ), Ok(leads_to), "{written:x}");
    }
}

#[test]
fn register_based_page_selective_invalidation() {
    let table = [
        // IVA, whether the page at 5000 goes, IAIG
        (0x5000_u64, true, 3_u64),
        (0x6000, false, 3),
        (0x4001, true, 3),
        (0x0003, true, 3),
        (0x8003, false, 3),
        (0x5040, true, 3),
        (0x12, true, 3),
        // AM above MAMV (12) does nothing and says so.
        (0x13, false, 0),
        (0x3f, false, 0),
    ];
    for (address, goes, actual) in table {
        let (guest, handle) = legacy(0x10);
        guest.map_second_stage(0x1_0000, 0x5000, 0x9000, 3);
        // By halves, the command last.
        guest.write(0xf0, 4, address);
        guest.write(0xf8, 4, 0);
        guest.write(0xfc, 4, 0xb000_0005);
        assert_eq!(guest.read(0xfc, 4) >> 25 & 3, actual, "{address:x}");
        let leads_to = if goes { 0x9000 } else { 0x7000 };
        assert_eq!(translate(&handle, 0x5000, Access::READ), Ok(leads_to), "{address:x}");
    }
}

#[test]
fn register_based_invalidation_waits_for_guards() {
    let (guest, handle) = legacy(0x10);
    for (register, written, read) in [
        (0x28, 0xa000_0000_0000_0000, 0x2800_0000_0000_0000_u64),
        (0xf8, 0x9000_0000_0000_0000, 0x1200_0000_0000_0000),
    ] {
        let guard = handle.guard();
        guest.write(register, 8, written);
        assert_eq!(guest.unit.run(), Step::Waiting);
        assert_eq!(guest.read(register, 8), written);
        drop(guard);
        assert_eq!(guest.unit.run(), Step::Idle);
        assert_eq!(guest.read(register, 8), read);
    }
}

#[test]
fn register_based_invalidation_does_not_exist_elsewhere() {
    let mut scalable = Guest::new();
    scalable.enable();
    let (major_six, handle) = legacy(0x60);
    // In scalable mode the registers are there and do nothing; from major version 6 on they are not.
    for (guest, ccmd, iotlb) in
        [(&scalable, 0x2000_0000_0000_0000, 0x1000_0000_0000_0000), (&major_six, 0, 0)]
    {
        guest.map_second_stage(0x1_0000, 0x5000, 0x9000, 3);
        guest.write(0x28, 8, 0xa000_0000_0000_0000);
        guest.write(0xf8, 8, 0x9000_0000_0000_0000);
        assert!(guest.is_idle());
        // Not left busy, and nothing was done.
        assert_eq!(guest.read(0x28, 8), ccmd);
        assert_eq!(guest.read(0xf8, 8), iotlb);
    }
    assert_eq!(translate(&handle, 0x5000, Access::READ), Ok(0x7000));
}

#[test]
fn resets() {
    for kind in [ResetKind::Warm, ResetKind::PowerOn] {
        let capabilities = Capabilities::new(CAP | 7 << 40, ECAP).unwrap();
        let mut guest = Guest::made(capabilities, |_| {});
        let fresh = page(&guest);
        guest.enable();
        let handle = faulting(&guest);
        for n in 1..=3 {
            fault_of(&handle, n << 12);
        }
        guest.write(0x228, 8, 1 << 63);
        guest.write(0x38, 4, 0x8000_0000);
        guest.ring(&[[0x15, 0, 0, 0], [0; 4]]);
        guest.write(0xf0, 8, 0x5000);
        assert_eq!(guest.read(0x34, 4), 0x12);
        guest.unit.reset(kind);
        assert!(guest.is_idle());
        assert!(guest.effects().is_empty(), "interrupts of before mean nothing");
        let survives = |offset| offset == 0x34 || (0x220..0x2a0).contains(&offset);
        for (offset, before) in (0..).step_by(4).zip(&fresh) {
            if kind == ResetKind::PowerOn || !survives(offset) {
                assert_eq!(guest.read(offset, 4), *before, "{kind:?} {offset:x}");
            }
        }
        if kind == ResetKind::Warm {
            assert_eq!(guest.read(0x34, 4), 0x12);
            let records: Vec<_> = (0..4).map(|n| guest.read(0x220 + 16 * n, 8)).collect();
            assert_eq!(records, [0, 0x2000, 0x3000, 0]);
            assert_eq!(guest.read(0x238, 8), RECORD);
        }
        // Untranslated again.
        assert_eq!(translate(&handle, 0x5000, Access::READ), Ok(0x5000));
        // And everything can be set up again.
        guest.write(0x34, 4, 0x10);
        guest.enable();
        assert!(guest.invalidate(&[guest::CONTEXT_GLOBAL]));
        fault_of(&handle, 0x9000);
        let place = if kind == ResetKind::Warm { 0x250 } else { 0x220 };
        assert_eq!(guest.read(place, 8), 0x9000, "the rotation goes on, or begins anew");
    }
}
