//! Addresses: the interrupt range, pages and ranges of them, and how they are shown.

use vtd_spec::descriptor::PageRange;
use vtd_spec::{Gpa, Iova};

#[test]
fn the_interrupt_range() {
    for (address, interrupt) in [
        (0, false),
        (0xfee, false),
        (0xfedf_ffff, false),
        (0xfee0_0000, true),
        (0xfee1_2345, true),
        (0xfeef_ffff, true),
        (0xfef0_0000, false),
        (0x1_fee0_0000, false),
        (0xfee0_0000_0000_0000, false),
        (u64::MAX, false),
    ] {
        assert_eq!(Gpa(address).is_interrupt(), interrupt, "{address:x}");
        assert_eq!(Iova(address).is_interrupt(), interrupt, "{address:x}");
    }
}

#[test]
fn pages_and_sums() {
    for (address, page) in
        [(0, 0), (0xfff, 0), (0x1000, 0x1000), (0x1_2345, 0x1_2000), (u64::MAX, !0xfff)]
    {
        assert_eq!((Gpa(address).page(), Iova(address).page()), (Gpa(page), Iova(page)));
    }
    for (address, bytes, sum) in [
        (0x1000, 0x234, Some(0x1234)),
        (u64::MAX - 7, 7, Some(u64::MAX)),
        (u64::MAX - 7, 8, None),
        (1, u64::MAX, None),
    ] {
        assert_eq!(Gpa(address).checked_add(bytes), sum.map(Gpa));
    }
}

#[test]
fn texts() {
    assert_eq!((Gpa(0xab).to_string(), Iova(0xcd).to_string()), ("0xab".into(), "0xcd".into()));
    assert_eq!(format!("{:?} {:?}", Gpa(0xab), Iova(0xcd)), "Gpa(0xab) Iova(0xcd)");
    assert_eq!(format!("{:x} {:#x} {:04x}", Gpa(0xab), Iova(0xcd), Gpa(1)), "ab 0xcd 0001");
}

#[test]
fn ranges_of_pages() {
    // address, order asked for, first page, last page, order
    for (address, asked, first, last, order) in [
        (0, 0, 0, 0, 0),
        (0x1234_5678, 0, 0x1_2345, 0x1_2345, 0),
        (0x1234_5678, 1, 0x1_2344, 0x1_2345, 1),
        (0x1234_5678, 9, 0x1_2200, 0x1_23ff, 9),
        (u64::MAX, 51, 0x8_0000_0000_0000, 0xf_ffff_ffff_ffff, 51),
        (u64::MAX, 52, 0, 0xf_ffff_ffff_ffff, 52),
        (0x5000, 63, 0, 0xf_ffff_ffff_ffff, 52),
    ] {
        let range = PageRange::around(Iova(address), asked);
        assert_eq!((range.first(), range.last(), range.order()), (first, last, order));
        assert_eq!((range.pages(), range.is_everything()), (last - first + 1, order == 52));
        assert_eq!(range.address(), Iova(first << 12));
    }
}
