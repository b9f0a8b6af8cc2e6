//! Page requests against raw values.

use vtd_spec::{Iova, PageRequest, PageRequestError, Pasid, SourceId};

/// A request by 01:03.0 for page 1234_5000, for nothing, in group 0.
const PLAIN: PageRequest = PageRequest {
    source_id: SourceId(0x0118),
    pasid: None,
    address: Iova(0x1234_5000),
    read: false,
    write: false,
    execute: false,
    privileged: false,
    last_in_group: false,
    group_index: 0,
};

// feature: 4.page requests: format of an entry
#[test]
fn raw_values() {
    let pasid = Some(Pasid::from_low_bits(0xa_bcde));
    let rows = [
        ([0x0118_0001, 0x1234_5000], PLAIN, "01:03.0 of 0x12345000, group 0"),
        (
            [0x000a_bcde_0118_0101, 0x1234_5000],
            PageRequest { pasid, ..PLAIN },
            "01:03.0 PASID abcde of 0x12345000, group 0",
        ),
        (
            [0x0118_0101, 0x1234_5000],
            PageRequest { pasid: Some(Pasid::ZERO), ..PLAIN },
            "01:03.0 PASID 0 of 0x12345000, group 0",
        ),
        (
            [0x0118_0001, 0x1234_5001],
            PageRequest { read: true, ..PLAIN },
            "01:03.0 read of 0x12345000, group 0",
        ),
        (
            [0x0118_0001, 0x1234_5002],
            PageRequest { write: true, ..PLAIN },
            "01:03.0 write of 0x12345000, group 0",
        ),
        (
            [0x0030_0000_0118_0001, 0x1234_5001],
            PageRequest { execute: true, privileged: true, read: true, ..PLAIN },
            "01:03.0 supervisor execute read of 0x12345000, group 0",
        ),
        (
            [0x0010_0000_0118_0001, 0x1234_5000],
            PageRequest { execute: true, ..PLAIN },
            "01:03.0 execute of 0x12345000, group 0",
        ),
        (
            [0x0118_0001, 0x1234_5ffd],
            PageRequest { read: true, last_in_group: true, group_index: 0x1ff, ..PLAIN },
            "01:03.0 read of 0x12345000, group 1ff, last",
        ),
        (
            [0x0118_0001, 0x1234_502c],
            PageRequest { last_in_group: true, group_index: 5, ..PLAIN },
            "01:03.0 stop marker, group 5",
        ),
    ];
    for ([qw0, qw1], request, text) in rows {
        let raw = [qw0, qw1, 0, 0];
        assert_eq!(request.encode(), raw, "{request:?}");
        assert_eq!(PageRequest::decode(raw), Ok(request), "{raw:x?}");
        assert_eq!(request.to_string(), text);
        assert_eq!(request.is_stop_marker(), text.contains("stop marker"));
    }
}

// feature: 4.page requests: format of an entry
#[test]
fn every_reserved_bit() {
    let reserved = [0xffc0_0000_0000_fe00_u64, 0, u64::MAX, u64::MAX];
    for (word, mask) in (0..4_u8).zip(reserved) {
        for bit in (0..64).map(|bit| 1_u64 << bit) {
            let mut raw = [0x0118_0001, 0x1234_5000, 0, 0];
            raw[usize::from(word)] ^= bit;
            let expected = if word == 0 && bit < 0x100 {
                Some(PageRequestError::Type(u8::try_from(1 ^ bit).unwrap()))
            } else if mask & bit != 0 {
                Some(PageRequestError::Reserved { word, bits: bit })
            } else {
                None
            };
            assert_eq!(PageRequest::decode(raw).err(), expected, "{raw:x?}");
        }
    }
    let errors = [
        (PageRequestError::Type(2), "queue entry of type 0x2: a page request has type 1"),
        (
            PageRequestError::Reserved { word: 0, bits: 0x200 },
            "page request with reserved bits 0x200 in qw0",
        ),
    ];
    for (error, text) in errors {
        assert_eq!(error.to_string(), text);
    }
}

#[test]
fn a_request_without_pasid_has_none_whatever_the_field_holds() {
    assert_eq!(PageRequest::decode([0x000a_bcde_0118_0001, 0x1234_5000, 0, 0]), Ok(PLAIN));
}
