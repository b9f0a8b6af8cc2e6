//! The allocator that asks nobody.
#![cfg(test)]
#![cfg(feature = "std")]

use vtd_host::{HostErrorKind, LocalPasidAllocator, PasidAllocator, Reservation};
use vtd_spec::Pasid;

fn pasid(number: u32) -> Pasid {
    Pasid::new(number).unwrap()
}

// feature: 5.virtual commands: an allocator of its own, where the VMM gives none
#[test]
fn the_lowest_free_pasid_comes_first_and_0_never() {
    let allocator = LocalPasidAllocator::new();
    let allocate = |end| allocator.allocate(end).map(Pasid::get).map_err(|error| error.kind);
    assert_eq!(allocate(1), Err(HostErrorKind::NoSpace));
    assert_eq!([allocate(4), allocate(4), allocate(4)], [Ok(1), Ok(2), Ok(3)]);
    assert_eq!(allocate(4), Err(HostErrorKind::NoSpace));
    assert_eq!(allocator.reserve(pasid(4)).unwrap(), Reservation::Made);
    assert_eq!(allocator.reserve(pasid(4)).unwrap(), Reservation::HeldAlready);
    assert_eq!(allocator.reserve(pasid(6)).unwrap(), Reservation::Made);
    assert_eq!([allocate(16), allocate(16)], [Ok(5), Ok(7)]);
    for freed in [6, 2] {
        allocator.free(pasid(freed)).unwrap();
        assert_eq!(allocator.free(pasid(freed)).unwrap_err().kind, HostErrorKind::Refused);
    }
    assert_eq!([allocate(16), allocate(16), allocate(16)], [Ok(2), Ok(6), Ok(8)]);
    assert_eq!(allocator.free(Pasid::ZERO).unwrap_err().kind, HostErrorKind::Refused);
    assert_eq!(allocator.reserve(Pasid::ZERO).unwrap_err().kind, HostErrorKind::Refused);
}

#[test]
fn all_that_there_are() {
    let allocator = LocalPasidAllocator::new();
    for number in 1..Pasid::END {
        assert_eq!(allocator.allocate(Pasid::END).unwrap(), pasid(number));
    }
    assert_eq!(allocator.allocate(Pasid::END).unwrap_err().kind, HostErrorKind::NoSpace);
    allocator.free(pasid(0xf_ffff)).unwrap();
    assert_eq!(allocator.allocate(Pasid::END).unwrap(), pasid(0xf_ffff));
}
