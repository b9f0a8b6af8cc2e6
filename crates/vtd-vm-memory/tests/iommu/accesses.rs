//! What an access comes to: requests, pieces of memory, errors.

use vm_memory::iommu::Iommu;
use vm_memory::{Bytes, GuestAddress, GuestMemory, GuestMemoryError, IommuMemory, Permissions};
use vtd::spec::{Gpa, Iova};
use vtd_vm_memory::{Dma, DmaIommu, Guard, GuardIommu};

use crate::guest::{FIRST_STAGE, Guest, SECOND_STAGE, get, leaf, map_page, put};

/// The pieces of an access, and the text of its error.
fn pieces(
    iommu: &impl Iommu,
    iova: u64,
    length: usize,
    access: Permissions,
) -> (Vec<(u64, usize)>, String) {
    match iommu.translate(GuestAddress(iova), length, access) {
        Ok(found) => (found.map(|piece| (piece.base.0, piece.length)).collect(), String::new()),
        Err(error) => (Vec::new(), error.to_string()),
    }
}

#[test]
fn an_access_is_a_request_of_each_page() {
    use Permissions::{No, Read, ReadWrite, Write};
    let guest = Guest::enabled();
    for (iova, page, flags) in [
        (0x5000, 0x30_0000, 3),
        (0x6000, 0x30_1000, 3),
        // Over the border of two regions, read only, write only, and the first page again.
        (0x7000, 0x3f_f000, 3),
        (0x8000, 0x40_0000, 1),
        (0x9000, 0x30_4000, 2),
        (0xa000, 0x30_0000, 3),
        (0xb000, 0x30_0000, 3),
    ] {
        map_page(&guest.map, SECOND_STAGE, iova, page, flags);
    }
    let iommu = DmaIommu::new(guest.dma(Some(1)));
    type Row = (Permissions, u64, usize, &'static [(u64, usize)], &'static str);
    let table: [Row; 22] = [
        (Read, 0x5000, 1, &[(0x30_0000, 1)], ""),
        (Write, 0x5fff, 1, &[(0x30_0fff, 1)], ""),
        (ReadWrite, 0x5ffc, 8, &[(0x30_0ffc, 8)], ""),
        (Read, 0x5800, 0x3000, &[(0x30_0800, 0x1800), (0x3f_f000, 0x1800)], ""),
        (Read, 0x7ff8, 0x10, &[(0x3f_fff8, 0x10)], ""),
        // A page twice in a row stays two pieces.
        (Write, 0xaff8, 0x10, &[(0x30_0ff8, 8), (0x30_0000, 8)], ""),
        // What is not permitted.
        (Write, 0x8000, 1, &[], "write at 0x8000"),
        (ReadWrite, 0x8000, 1, &[], "write at 0x8000"),
        (Read, 0x8000, 1, &[(0x40_0000, 1)], ""),
        (Read, 0x9000, 1, &[], "read at 0x9000"),
        (ReadWrite, 0x9000, 1, &[], "read at 0x9000"),
        (Write, 0x9000, 1, &[(0x30_4000, 1)], ""),
        // Whether it is mapped.
        (No, 0x8000, 0x2000, &[(0x40_0000, 0x1000), (0x30_4000, 0x1000)], ""),
        (No, 0x4fff, 1, &[], "read of no bytes at 0x4fff"),
        // In the middle, and behind the last page.
        (Write, 0x7800, 0x1800, &[], "write at 0x8000"),
        (Write, 0xb123, 0xedd, &[(0x30_0123, 0xedd)], ""),
        (Write, 0xb123, 0xede, &[], "write at 0xc000"),
        // No bytes, no request.
        (Read, 0xc000, 0, &[], ""),
        (Write, 0xfee0_0000, 0, &[], ""),
        (ReadWrite, u64::MAX, 0, &[], ""),
        // An address that the table cannot have.
        (Read, 0x0001_0000_0000_0000, 8, &[], "read at 0x1000000000000"),
        (Read, 0xffff_ffff_ffff_fff0, 8, &[], "read at 0xfffffffffffffff0"),
    ];
    for (access, iova, length, expected, error) in table {
        let (found, text) = pieces(&iommu, iova, length, access);
        assert_eq!(found, expected, "{access:?} {iova:x} {length:x}");
        assert!(text.contains(error) && text.is_empty() == error.is_empty(), "{text}");
        assert_eq!(guest.take_fault().is_some(), !error.is_empty(), "{access:?} {iova:x}");
        // In a guard that is open already it is the same.
        let dma = guest.dma(Some(1));
        let guard = dma.guard();
        assert_eq!(pieces(&GuardIommu::new(&guard), iova, length, access), (found, text));
        let _again = guest.take_fault();
    }
}

#[test]
fn what_no_request_can_be_made_of_is_refused() {
    let guest = Guest::enabled();
    map_page(&guest.map, FIRST_STAGE, 0x5000, 0x30_0000, 7);
    let dma = guest.dma(None);
    let table = [
        (DmaIommu::new(dma.clone()), 0x5000, 0x10_0001, "more than the 1048576 bytes"),
        (DmaIommu::new(dma.clone()), 0x5000, usize::MAX, "more than the 1048576 bytes"),
        (DmaIommu::new(dma.clone()).with_longest(16), 0x5000, 17, "more than the 16 bytes"),
        (DmaIommu::new(dma.clone()).with_longest(0), 0x5000, 1, "more than the 0 bytes"),
        (DmaIommu::new(dma.clone()), u64::MAX, 1, "leaves the 64-bit address space"),
        (DmaIommu::new(dma.clone()), u64::MAX - 7, 8, "leaves the 64-bit address space"),
        (DmaIommu::new(dma.clone()), u64::MAX - 7, 16, "leaves the 64-bit address space"),
        (
            DmaIommu::new(dma.clone()).with_longest(usize::MAX),
            0x5000,
            usize::MAX,
            "leaves the 64-bit address space",
        ),
    ];
    for (iommu, iova, length, expected) in table {
        for access in [Permissions::No, Permissions::Read, Permissions::ReadWrite] {
            let (found, text) = pieces(&iommu, iova, length, access);
            assert!(found.is_empty() && text.contains(expected), "{text}");
        }
        let guard = iommu.dma().guard();
        if !expected.contains("than the 16") && !expected.contains("than the 0") {
            let (_, text) = pieces(
                &GuardIommu::new(&guard).with_longest(length.min(0x10_0000)),
                iova,
                length,
                Permissions::Read,
            );
            assert!(!text.is_empty());
        }
    }
    assert_eq!(guest.take_fault(), None);
    // As long as it may be.
    assert_eq!(
        pieces(&DmaIommu::new(dma).with_longest(16), 0x5000, 16, Permissions::Read).0,
        [(0x30_0000, 16)]
    );
}

#[test]
fn an_error_says_what_and_why() {
    let guest = Guest::enabled();
    map_page(&guest.map, FIRST_STAGE, 0x5000, 0x30_0000, 7);
    let memory = guest.device_memory(None);
    let error = memory.write_slice(&[0; 16], GuestAddress(0x5ff8)).unwrap_err();
    assert!(matches!(error, GuestMemoryError::IommuError(_)));
    assert_eq!(
        error.to_string(),
        "IOMMU failed to translate guest address: Cannot translate I/O virtual address range 0x5ff8+16: \
         write at 0x6000: blocked: first-stage entry not present (71)"
    );
    assert_eq!(guest.take_fault(), Some((0x71, 0x6000)));
    // Nothing was written.
    assert_eq!(get(&guest.map, 0x30_0ff8), 0);
}

#[test]
fn interrupt_requests_are_refused() {
    // Off: addresses are the guest's, yet these are none.
    let guest = Guest::new();
    let iommu = DmaIommu::new(guest.dma(None));
    for (access, iova, length, expected) in [
        (Permissions::Write, 0xfedf_fff8, 8, ""),
        (
            Permissions::Write,
            0xfedf_fff8,
            16,
            "write at 0xfee00000: an interrupt request, not a DMA",
        ),
        (
            Permissions::Write,
            0xfee0_0000,
            4,
            "write at 0xfee00000: an interrupt request, not a DMA",
        ),
        (Permissions::Read, 0xfeef_fffc, 4, "read at 0xfeeffffc: an interrupt request, not a DMA"),
        (Permissions::Write, 0xfef0_0000, 4, ""),
    ] {
        let (found, text) = pieces(&iommu, iova, length, access);
        assert_eq!(found.is_empty(), !expected.is_empty(), "{iova:x}");
        assert!(text.ends_with(expected), "{text}");
    }
    // On, in a page of 1 GiB around them.
    let guest = Guest::enabled();
    put(&guest.map, FIRST_STAGE, &[FIRST_STAGE + 0x1007]);
    put(&guest.map, FIRST_STAGE + 0x1018, &[0x87]);
    let iommu = DmaIommu::new(guest.dma(None));
    for (access, iova, expected) in [
        (Permissions::Write, 0xfedf_f000, "write at 0xfee00000: an interrupt request, not a DMA"),
        (
            Permissions::Read,
            0xfedf_f000,
            "read at 0xfee00000: blocked: address in the interrupt range (87)",
        ),
        (Permissions::Write, 0xfedf_e000, ""),
        (Permissions::Write, 0xfef0_0000, ""),
    ] {
        let (found, text) = pieces(&iommu, iova, 0x2000, access);
        assert_eq!(found.is_empty(), !expected.is_empty(), "{iova:x}");
        assert!(text.ends_with(expected), "{text}");
    }
}

#[test]
fn bytes_go_where_the_tables_lead() {
    let guest = Guest::enabled();
    map_page(&guest.map, FIRST_STAGE, 0x5000, 0x3f_f000, 7);
    map_page(&guest.map, FIRST_STAGE, 0x6000, 0x30_0000, 7);
    map_page(&guest.map, FIRST_STAGE, 0x7000, 0x900_0000, 7);
    let memory = guest.device_memory(None);
    let bytes: Vec<u8> = (1..=16).collect();
    // Reading sets the accessed bit, writing the dirty bit too.
    let mut back = [0xee; 16];
    memory.read_slice(&mut back, GuestAddress(0x5ff8)).unwrap();
    assert_eq!(back, [0; 16]);
    assert_eq!(get(&guest.map, leaf(FIRST_STAGE, 0x5000)), 0x3f_f027);
    memory.write_slice(&bytes, GuestAddress(0x5ff8)).unwrap();
    assert_eq!(get(&guest.map, leaf(FIRST_STAGE, 0x5000)), 0x3f_f067);
    assert_eq!(get(&guest.map, leaf(FIRST_STAGE, 0x6000)), 0x30_0067);
    assert_eq!(get(&guest.map, 0x3f_fff8), 0x0807_0605_0403_0201);
    assert_eq!(get(&guest.map, 0x30_0000), 0x100f_0e0d_0c0b_0a09);
    memory.read_slice(&mut back, GuestAddress(0x5ff8)).unwrap();
    assert_eq!(back, bytes[..]);

    // One object, and none that lies in two pages.
    memory.store(0x1234_u16, GuestAddress(0x6010), std::sync::atomic::Ordering::Release).unwrap();
    assert_eq!(get(&guest.map, 0x30_0010), 0x1234);
    assert_eq!(
        memory.load::<u16>(GuestAddress(0x6010), std::sync::atomic::Ordering::Acquire).unwrap(),
        0x1234
    );
    memory.store(1_u64, GuestAddress(0x5ffc), std::sync::atomic::Ordering::Release).unwrap_err();

    // A translation that leads to no memory is the VMM's to tell.
    assert!(memory.check_range(GuestAddress(0x5000), 0x2000, Permissions::Write));
    assert!(!memory.check_range(GuestAddress(0x6000), 0x2000, Permissions::Write));
    memory.write_slice(&[1; 8], GuestAddress(0x7000)).unwrap_err();
    assert_eq!(guest.take_fault(), None);
    assert!(!memory.check_range(GuestAddress(0x8000), 1, Permissions::No));
    assert_eq!(guest.take_fault(), Some((0x71, 0x8000)));
}

#[test]
fn a_device_that_is_released_reaches_nothing() {
    let guest = Guest::new();
    let dma = guest.dma(None);
    let memory = IommuMemory::new(guest.map.clone(), DmaIommu::new(dma.clone()), true, ());
    memory.write_slice(&[1; 8], GuestAddress(0x30_0000)).unwrap();
    guest.unit.release(dma.device()).unwrap();
    let error = memory.write_slice(&[2; 8], GuestAddress(0x30_0000)).unwrap_err();
    assert!(error.to_string().ends_with("the device has been released"), "{error}");
    assert_eq!(get(&guest.map, 0x30_0000), 0x0101_0101_0101_0101);
}

/// A VMM's own, around another one.
#[derive(Debug)]
struct Counted<D>(D, std::sync::atomic::AtomicU32);

impl<D: Dma> Dma for Counted<D> {
    type Guard<'d>
        = D::Guard<'d>
    where
        Self: 'd;

    fn guard(&self) -> D::Guard<'_> {
        self.1.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        self.0.guard()
    }
}

#[test]
fn a_vmm_can_have_a_dma_of_its_own() {
    let guest = Guest::new();
    let iommu = DmaIommu::new(Counted(guest.dma(None), 0.into()));
    let memory = IommuMemory::new(guest.map.clone(), iommu, true, ());
    memory.write_slice(&[1; 8], GuestAddress(0x30_0000)).unwrap();
    memory.write_slice(&[1; 8], GuestAddress(0x30_0ffc)).unwrap();
    assert_eq!(memory.iommu().dma().1.load(std::sync::atomic::Ordering::Relaxed), 2);
    let guard = memory.iommu().dma().guard();
    let borrowed = &guard;
    let found = Guard::translate(&borrowed, Iova(0x1234), vtd::Access::READ).unwrap();
    assert_eq!(found.address(), Gpa(0x1234));
}
