//! Every reserved bit of every entry, for each capability that changes it. Reference, "Tables".

use vtd_model::{Access, Path, Request};

use super::guest::{CAP, ECAP, Guest, SOURCE};

/// An entry's qword, its reserved bits, and the code.
struct Row {
    name: &'static str,
    pasid: u32,
    address: u64,
    reserved: u64,
    code: u8,
}

const fn row(name: &'static str, pasid: u32, address: u64, reserved: u64, code: u8) -> Row {
    Row { name, pasid, address, reserved, code }
}

/// Bits 63:46: MGAW is 46 bits.
const BEYOND: u64 = 0xffff_c000_0000_0000;
const BEYOND_PAGE: u64 = BEYOND & 0x000f_ffff_ffff_f000;

/// Sets each bit of a qword alone: a reserved one gives the code, any other does not.
fn check(cap: u64, ecap: u64, row: &Row) {
    for bit in 0..64 {
        let mut guest = Guest::with(cap, ecap);
        let before = guest.get(row.address);
        guest.set(row.address, before | 1 << bit);
        if before >> bit & 1 == 1 {
            continue;
        }
        let code = guest.code(row.pasid);
        let is_reserved = row.reserved >> bit & 1 == 1;
        assert_eq!(code == row.code, is_reserved, "{} bit {bit}: code {code:x}", row.name);
    }
}

#[test]
fn with_every_capability() {
    for row in [
        row("root", 1, 0x1000, BEYOND | 0xffe, 0x3a),
        row("context qw0", 1, 0x2300, BEYOND | 0x1e0, 0x42),
        row("context qw1", 1, 0x2308, !0x1f_ffff, 0x42),
        row("context qw2", 1, 0x2310, !0, 0x42),
        row("context qw3", 1, 0x2318, !0, 0x42),
        row("directory", 1, 0x1_0000, BEYOND | 0xffc, 0x52),
        row("PASID entry qw0", 1, 0x1_1040, 0xc20, 0x5a),
        row("PASID entry qw1", 1, 0x1_1048, 0x7f_0000, 0x5a),
        row("PASID entry qw2", 1, 0x1_1050, BEYOND | 0xf00, 0x5a),
        row("PASID entry qw3", 1, 0x1_1058, !0, 0x5a),
        row("PASID entry qw7", 1, 0x1_1078, !0, 0x5a),
        row("second-stage PASID entry qw0", 2, 0x1_1080, BEYOND | 0xc20, 0x5a),
        row("second-stage PASID entry qw2", 2, 0x1_1090, 0xf00, 0x5a),
        row("pass-through PASID entry qw0", 4, 0x1_1100, 0xc20, 0x5a),
        row("first-stage level 4", 1, 0x2_0000, BEYOND_PAGE | 1 << 7, 0x72),
        row("first-stage level 1", 1, 0x2_3028, BEYOND_PAGE, 0x72),
        row("second-stage level 4", 2, 0x3_0000, BEYOND_PAGE | 0x880, 0x7a),
        // PS makes it a leaf whose address is not of 2 MiB.
        row("second-stage level 2", 2, 0x3_2000, BEYOND_PAGE | 0x880, 0x7a),
        row("second-stage level 1", 2, 0x3_3028, BEYOND_PAGE, 0x7a),
    ] {
        check(CAP, ECAP, &row);
    }
}

#[test]
fn without_a_capability() {
    for (name, cap, ecap, row) in [
        ("DT and PRS", 0, 1 << 29 | 1 << 2, row("", 1, 0x2300, BEYOND | 0x1f4, 0x42)),
        ("RPRIVS", 0, 1 << 53, row("", 1, 0x2308, !0xf_ffff, 0x42)),
        ("SSADS", 0, 1 << 45, row("", 1, 0x1_1040, 0xe20, 0x5a)),
        ("SMPWCS", 0, 1 << 48, row("", 1, 0x1_1048, 0xff_0000, 0x5a)),
        ("SC", 0, 1 << 7, row("", 1, 0x1_1048, 0x17f_0000, 0x5a)),
        ("SRS", 0, 1 << 31, row("", 1, 0x1_1050, BEYOND | 0xf01, 0x5a)),
        ("EAFS", 0, 1 << 34, row("", 1, 0x1_1050, BEYOND | 0xf80, 0x5a)),
        ("SC", 0, 1 << 7, row("", 2, 0x3_3028, BEYOND_PAGE | 0x800, 0x7a)),
        ("SSLPS", 3 << 34, 0, row("", 2, 0x3_2000, BEYOND_PAGE | 0x880, 0x7a)),
        ("FS1GP", 1 << 56, 0, row("", 1, 0x2_1000, BEYOND_PAGE | 0x80, 0x72)),
    ] {
        // A good guest of a unit without device TLBs and page requests says nothing of them.
        let row = Row { name, ..row };
        check(CAP & !cap, ECAP & !ecap, &row);
    }
}

/// "20:12 of a 2 MiB and 29:12 of a 1 GiB leaf" of the second stage, 20:13 and 29:13 of the first.
#[test]
fn large_pages() {
    for (name, pasid, entry, leaf, reserved, code) in [
        ("first 2 MiB", 1, 0x2_2000_u64, 0x60_0087_u64, 0x1f_e000_u64, 0x72),
        ("first 1 GiB", 1, 0x2_1000, 0x87, 0x3fff_e000, 0x72),
        ("second 2 MiB", 2, 0x3_2000, 0x60_0083, 0x1f_f000, 0x7a),
        ("second 1 GiB", 2, 0x3_1000, 0x83, 0x3fff_f000, 0x7a),
    ] {
        for bit in 12..52 {
            let mut guest = Guest::scalable();
            guest.set(entry, leaf | 1 << bit);
            if leaf >> bit & 1 == 1 {
                continue;
            }
            let is_reserved = (reserved | BEYOND_PAGE) >> bit & 1 == 1;
            assert_eq!(guest.code(pasid) == code, is_reserved, "{name}: bit {bit}");
        }
    }
}

/// The path names each qword that was read, in order.
#[test]
fn path() {
    let guest = Guest::scalable();
    let request =
        Request { source_id: SOURCE, pasid: Some(1), address: 0x5000, access: Access::READ };
    let mut path = Path::new();
    let _ = guest.unit.translate(&guest.memory, &request, &mut path);
    let expected: Vec<u64> = [0x1000, 0x2300, 0x2308, 0x2310, 0x2318, 0x1_0000]
        .into_iter()
        .chain((0..8).map(|index| 0x1_1040 + 8 * index))
        .chain([0x2_0000, 0x2_1000, 0x2_2000, 0x2_3028])
        .collect();
    let read: Vec<u64> = path.reads.iter().map(|read| read.address).collect();
    assert_eq!(read, expected);
}
