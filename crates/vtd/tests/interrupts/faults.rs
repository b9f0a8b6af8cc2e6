//! The fault codes of interrupt remapping, their records, and FPD.

use vtd::spec::{Capabilities, SourceId};

use crate::guest::{CAP, Guest};
use crate::machine::*;

/// IRTA, the entry of index 3, the request, then the code, the index in the record, and whether FPD (in the entry) suppresses it.
struct Row(u64, [u64; 2], (u64, u32), u8, u64, bool);

const ROWS: [Row; 14] = [
    // 20: reserved field in the request, data 31:16, whatever SHV is.
    Row(TABLE | 7, [0x0031_0001, 0], (0xfee0_0070, 0x1_0000), 0x20, 3, false),
    Row(TABLE | 7, [0x0031_0001, 0], (0xfee0_0058, 0x8000_0001), 0x20, 3, false),
    // 21: index beyond the table: of 256 entries, of 2, and where handle and sub-handle add up to more than 16 bits.
    Row(TABLE | 7, [0x0031_0001, 0], (0xfee0_2010, 0), 0x21, 0x100, false),
    Row(TABLE, [0x0031_0001, 0], (0xfee0_0050, 0), 0x21, 2, false),
    Row(TABLE | 0xf, [0x0031_0001, 0], (0xfeef_fffc, 4), 0x21, 3, false),
    // 22: not present.
    Row(TABLE | 7, [0x0031_0000, 0], (0xfee0_0070, 0), 0x22, 3, true),
    // 23: the table cannot be read: there is no memory, or no such address.
    Row(0x7f_f000_0007, [0x0031_0001, 0], (0xfee0_0070, 0), 0x23, 3, false),
    Row(0x8000_0000_0000_a007, [0x0031_0001, 0], (0xfee0_0070, 0), 0x23, 3, false),
    // 24: reserved field in the entry, and the posted form without CAP.PI.
    Row(TABLE | 7, [0x0031_1001, 0], (0xfee0_0070, 0), 0x24, 3, true),
    Row(TABLE | 7, [0x0031_8001, 0], (0xfee0_0070, 0), 0x24, 3, true),
    Row(TABLE | 7, [0x0031_0001, 1 << 20], (0xfee0_0070, 0), 0x24, 3, true),
    // 25: compatibility format.
    Row(TABLE | 7, [0x0031_0001, 0], (0xfee0_0000, 0x31), 0x25, 0, false),
    // 26: source-id check.
    Row(TABLE | 7, [0x0031_0001, 0x4_0019], (0xfee0_0070, 0), 0x26, 3, true),
    Row(TABLE | 7, [0x0031_0001, 0xc_0018], (0xfee0_0070, 0), 0x26, 3, true),
];

fn prepared(guest: &Guest, irta: u64, entry: [u64; 2], fpd: bool) {
    put_entry(guest, 3, [entry[0] | u64::from(fpd) << 1, entry[1]]);
    set_table(guest, irta);
    guest.unmask_events();
    guest.effects();
}

// feature: 6.faults: codes 20 to 26
#[test]
fn every_fault_code() {
    for Row(irta, entry, (address, data), code, index, _) in ROWS {
        let guest = on(|_| {});
        prepared(&guest, irta, entry, false);
        assert_eq!(remap(&guest, address, data), Err(code), "{irta:x} {address:x}");
        // F, no T1 (a write), AT 0, no PASID, no T2; FI holds the index in 63:48.
        let expected = [index << 48, 1 << 63 | u64::from(code) << 32 | u64::from(REQUESTER)];
        assert_eq!([guest.read(0x220, 8), guest.read(0x228, 8)], expected, "{code:x}");
        assert_eq!(guest.read(0x34, 4), 2, "PPF");
        assert_eq!(guest.interrupts(), [crate::guest::FAULT_DATA]);
    }
}

// feature: 6.faults: fault processing disable (FPD)
#[test]
fn fpd_suppresses_the_record_alone() {
    for Row(irta, entry, (address, data), code, _, suppressed) in ROWS {
        let guest = on(|_| {});
        prepared(&guest, irta, entry, true);
        assert_eq!(remap(&guest, address, data), Err(code), "{irta:x} {address:x}");
        assert_eq!(guest.read(0x22c, 4) >> 31 == 0, suppressed, "{code:x}");
        assert_eq!(guest.interrupts().is_empty(), suppressed);
        assert_eq!(guest.unit.counts().faults_suppressed, u64::from(suppressed));
    }
}

/// A route is looked up without a request: nothing is recorded.
#[test]
fn a_route_records_nothing() {
    for Row(irta, entry, (address, data), expected, ..) in ROWS {
        let guest = on(|_| {});
        prepared(&guest, irta, entry, false);
        let answer = guest.unit.route_interrupt(SourceId(REQUESTER), address, data);
        assert_eq!(code(answer.unwrap_err()), expected);
        assert_eq!((guest.read(0x34, 4), guest.effects().len()), (0, 0));
    }
}

// feature: 6.entries: posted form refused (24)
/// Posted interrupts do not exist here, so the posted form is refused even by a unit whose CAP says otherwise.
#[test]
fn the_posted_form_is_refused_whatever_cap_says() {
    let mut guest = Guest::made(Capabilities::new(CAP | 1 << 59, ECAP_IR).unwrap(), |_| {});
    guest.enable_queue();
    set_table(&guest, TABLE | 7);
    command(&guest, IRE);
    put_entry(&guest, 3, [0x0031_8001, 0]);
    for _ in 0..2 {
        assert_eq!(vector(&guest, 3), Err(0x24));
    }
}

// feature: 6.fail closed: remapping without a table blocks everything
/// Without SIRTP there is no table.
#[test]
fn remapping_without_a_table_blocks_everything() {
    let guest = off(|_| {});
    guest.put(0, &[0x0031_0001, 0]);
    guest.write(0xb8, 8, TABLE | 7);
    command(&guest, IRE);
    assert_eq!(vector(&guest, 0), Err(0x23));
    assert_eq!(remap(&guest, 0xfee0_0000, 0), Err(0x25));
}
