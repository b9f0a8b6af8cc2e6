//! Registers against raw values.

use std::fmt::Debug;

use vtd_spec::descriptor::{AddressMask, ContextCacheInvalidation, FunctionMask, IotlbScope};
use vtd_spec::register::*;
use vtd_spec::{DomainId, Gpa, Iova, Pasid, SourceId};

/// Each row both ways, and each bit alone: it comes back if it has a meaning, and vanishes if not.
fn check32<T: Copy + PartialEq + Debug>(
    from_bits: fn(u32) -> T,
    bits: fn(T) -> u32,
    meaningful: u32,
    rows: &[(u32, T)],
) {
    for (raw, value) in rows {
        assert_eq!(from_bits(*raw), *value, "{raw:#x}");
        assert_eq!(bits(*value), *raw, "{value:?}");
    }
    for raw in (0..32).map(|bit| 1 << bit).chain([0, u32::MAX]) {
        assert_eq!(bits(from_bits(raw)), raw & meaningful, "{raw:#x}");
    }
}

/// As [`check32`], for 8-byte registers.
fn check64<T: Copy + PartialEq + Debug>(
    from_bits: fn(u64) -> T,
    bits: fn(T) -> u64,
    meaningful: u64,
    rows: &[(u64, T)],
) {
    for (raw, value) in rows {
        assert_eq!(from_bits(*raw), *value, "{raw:#x}");
        assert_eq!(bits(*value), *raw, "{value:?}");
    }
    for raw in (0..64).map(|bit| 1 << bit).chain([0]) {
        assert_eq!(bits(from_bits(raw)), raw & meaningful, "{raw:#x}");
    }
}

#[test]
fn offsets() {
    let rows = [
        (offset::VER, 0x000),
        (offset::CAP, 0x008),
        (offset::ECAP, 0x010),
        (offset::GCMD, 0x018),
        (offset::GSTS, 0x01c),
        (offset::RTADDR, 0x020),
        (offset::CCMD, 0x028),
        (offset::FSTS, 0x034),
        (offset::FECTL, 0x038),
        (offset::FEDATA, 0x03c),
        (offset::FEADDR, 0x040),
        (offset::FEUADDR, 0x044),
        (offset::AFLOG, 0x058),
        (offset::PMEN, 0x064),
        (offset::PLMBASE, 0x068),
        (offset::PLMLIMIT, 0x06c),
        (offset::PHMBASE, 0x070),
        (offset::PHMLIMIT, 0x078),
        (offset::IQH, 0x080),
        (offset::IQT, 0x088),
        (offset::IQA, 0x090),
        (offset::ICS, 0x09c),
        (offset::IECTL, 0x0a0),
        (offset::IEDATA, 0x0a4),
        (offset::IEADDR, 0x0a8),
        (offset::IEUADDR, 0x0ac),
        (offset::IQERCD, 0x0b0),
        (offset::IRTA, 0x0b8),
        (offset::PQH, 0x0c0),
        (offset::PQT, 0x0c8),
        (offset::PQA, 0x0d0),
        (offset::PRS, 0x0dc),
        (offset::PECTL, 0x0e0),
        (offset::PEDATA, 0x0e4),
        (offset::PEADDR, 0x0e8),
        (offset::PEUADDR, 0x0ec),
        (offset::VCMD, 0xe00),
        (offset::VCRSP, 0xe10),
        (offset::VCCAP, 0xe30),
    ];
    for (offset, expected) in rows {
        assert_eq!(offset, expected);
    }
}

#[test]
fn version() {
    let rows = [(0x10, Version { major: 1, minor: 0 }), (0x60, Version { major: 6, minor: 0 })];
    check32(Version::from_bits, Version::bits, 0xff, &rows);
    assert_eq!(Version { major: 1, minor: 0 }.to_string(), "1.0");
}

#[test]
fn global_command() {
    let none = GlobalCommand::default();
    let rows = [
        (0x8000_0000, GlobalCommand { te: true, ..none }),
        (0x4000_0000, GlobalCommand { srtp: true, ..none }),
        (0x2000_0000, GlobalCommand { sfl: true, ..none }),
        (0x1000_0000, GlobalCommand { eafl: true, ..none }),
        (0x0800_0000, GlobalCommand { wbf: true, ..none }),
        (0x0400_0000, GlobalCommand { qie: true, ..none }),
        (0x0200_0000, GlobalCommand { ire: true, ..none }),
        (0x0100_0000, GlobalCommand { sirtp: true, ..none }),
        (0x0080_0000, GlobalCommand { cfi: true, ..none }),
    ];
    check32(GlobalCommand::from_bits, GlobalCommand::bits, 0xff80_0000, &rows);
}

#[test]
fn global_status() {
    let none = GlobalStatus::default();
    let rows = [
        (0x8000_0000, GlobalStatus { tes: true, ..none }),
        (0x4000_0000, GlobalStatus { rtps: true, ..none }),
        (0x2000_0000, GlobalStatus { fls: true, ..none }),
        (0x1000_0000, GlobalStatus { afls: true, ..none }),
        (0x0800_0000, GlobalStatus { wbfs: true, ..none }),
        (0x0400_0000, GlobalStatus { qies: true, ..none }),
        (0x0200_0000, GlobalStatus { ires: true, ..none }),
        (0x0100_0000, GlobalStatus { irtps: true, ..none }),
        (0x0080_0000, GlobalStatus { cfis: true, ..none }),
    ];
    check32(GlobalStatus::from_bits, GlobalStatus::bits, 0xff80_0000, &rows);
}

#[test]
fn root_table_address() {
    let base = Gpa(0x1b9_6000);
    let rows = [
        (0x01b9_6000, RootTableAddress { mode: TableMode::Legacy, base }),
        (0x01b9_6400, RootTableAddress { mode: TableMode::Scalable, base }),
        (0x01b9_6800, RootTableAddress { mode: TableMode::Reserved, base }),
        (0x01b9_6c00, RootTableAddress { mode: TableMode::Abort, base }),
    ];
    check64(RootTableAddress::from_bits, RootTableAddress::bits, 0xffff_ffff_ffff_fc00, &rows);
}

#[test]
fn context_command() {
    let none = ContextCommand::default();
    let device = ContextCommand {
        requested: 3,
        function_mask: FunctionMask::Bits2To0,
        source_id: SourceId(0x0018),
        domain: DomainId(0x5a),
        ..none
    };
    let rows = [
        (0x8000_0000_0000_0000, ContextCommand { invalidate: true, ..none }),
        (0x2000_0000_0000_0000, ContextCommand { requested: 1, ..none }),
        (0x0800_0000_0000_0000, ContextCommand { actual: 1, ..none }),
        (0x6000_0003_0018_005a, device),
    ];
    check64(ContextCommand::from_bits, ContextCommand::bits, 0xf800_0003_ffff_ffff, &rows);

    let domain = DomainId(0x5a);
    let rows = [
        (0x0000_0003_0018_005a, None),
        (0x2000_0003_0018_005a, Some(ContextCacheInvalidation::Global)),
        (0x4000_0003_0018_005a, Some(ContextCacheInvalidation::Domain(domain))),
        (
            0x6000_0002_0018_005a,
            Some(ContextCacheInvalidation::Device {
                domain,
                source_id: SourceId(0x18),
                function_mask: FunctionMask::Bits2To1,
            }),
        ),
    ];
    for (raw, invalidation) in rows {
        assert_eq!(ContextCommand::from_bits(raw).invalidation(), invalidation, "{raw:#x}");
    }
}

#[test]
fn iotlb_command() {
    let none = IotlbCommand::default();
    let rows = [
        (0x8000_0000_0000_0000, IotlbCommand { invalidate: true, ..none }),
        (0x1000_0000_0000_0000, IotlbCommand { requested: 1, ..none }),
        (0x3000_0000_0000_0000, IotlbCommand { requested: 3, ..none }),
        (0x0200_0000_0000_0000, IotlbCommand { actual: 1, ..none }),
        (0x0002_0000_0000_0000, IotlbCommand { drain_reads: true, ..none }),
        (0x0001_0000_0000_0000, IotlbCommand { drain_writes: true, ..none }),
        (0x0000_00a5_0000_0000, IotlbCommand { domain: DomainId(0xa5), ..none }),
    ];
    check64(IotlbCommand::from_bits, IotlbCommand::bits, 0xb603_ffff_0000_0000, &rows);

    let pages = AddressMask { address: Iova(0x1234_5000), mask: 9, leaf_only: true };
    let address = InvalidateAddress { pages };
    let rows = [(0x1234_5049, address)];
    check64(InvalidateAddress::from_bits, InvalidateAddress::bits, 0xffff_ffff_ffff_f07f, &rows);

    let domain = DomainId(0xa5);
    let rows = [
        (0x0002_00a5_0000_0000, None),
        (0x1002_00a5_0000_0000, Some(IotlbScope::Global)),
        (0x2002_00a5_0000_0000, Some(IotlbScope::Domain(domain))),
        (0x3002_00a5_0000_0000, Some(IotlbScope::Pages { domain, pages })),
    ];
    for (raw, scope) in rows {
        let invalidation = IotlbCommand::from_bits(raw).invalidation(address);
        assert_eq!(invalidation.map(|i| i.scope), scope, "{raw:#x}");
        assert!(invalidation.is_none_or(|i| i.drain_reads && !i.drain_writes));
    }
}

#[test]
fn fault_status() {
    let none = FaultStatus::default();
    let rows = [
        (0x0001, FaultStatus { overflow: true, ..none }),
        (0x0002, FaultStatus { pending: true, ..none }),
        (0x0004, FaultStatus { log_overflow: true, ..none }),
        (0x0008, FaultStatus { log_pending: true, ..none }),
        (0x0010, FaultStatus { queue_error: true, ..none }),
        (0x0020, FaultStatus { completion_error: true, ..none }),
        (0x0040, FaultStatus { time_out: true, ..none }),
        (0xa500, FaultStatus { first_record: 0xa5, ..none }),
    ];
    check32(FaultStatus::from_bits, FaultStatus::bits, 0xff7f, &rows);
}

#[test]
fn event_control() {
    let rows = [
        (0x8000_0000, EventControl { mask: true, pending: false }),
        (0x4000_0000, EventControl { mask: false, pending: true }),
    ];
    check32(EventControl::from_bits, EventControl::bits, 0xc000_0000, &rows);
    assert_eq!(EventControl::default().bits(), 0x8000_0000, "masked after reset");
}

#[test]
fn queue_address() {
    let base = Gpa(0x1bf_c000);
    let rows = [
        (0x01bf_c001, QueueAddress { base, wide: false, size_order: 1 }),
        (0x01bf_c801, QueueAddress { base, wide: true, size_order: 1 }),
        (0x01bf_c807, QueueAddress { base, wide: true, size_order: 7 }),
    ];
    check64(QueueAddress::from_bits, QueueAddress::bits, 0xffff_ffff_ffff_f807, &rows);

    // Raw value, bytes, bytes of a descriptor, descriptors.
    let rows = [
        (0x000, 0x1000, 16, 256),
        (0x001, 0x2000, 16, 512),
        (0x007, 0x8_0000, 16, 32_768),
        (0x800, 0x1000, 32, 128),
        (0x801, 0x2000, 32, 256),
        (0x807, 0x8_0000, 32, 16_384),
    ];
    for (raw, bytes, descriptor, count) in rows {
        let queue = QueueAddress::from_bits(raw);
        assert_eq!(
            (queue.bytes(), queue.descriptor_bytes(), queue.descriptor_count()),
            (bytes, descriptor, count),
            "{raw:#x}"
        );
    }
}

#[test]
fn queue_pointer() {
    let rows = [(0x7_fff0, QueuePointer { byte_offset: 0x7_fff0 })];
    check64(QueuePointer::from_bits, QueuePointer::bits, 0x7_fff0, &rows);
}

#[test]
fn invalidation_completion() {
    let rows = [(1, InvalidationCompletion { complete: true })];
    check32(InvalidationCompletion::from_bits, InvalidationCompletion::bits, 1, &rows);
}

#[test]
fn queue_error() {
    let none = QueueError::default();
    let rows = [
        (0, QueueErrorInfo::NoInformation),
        (1, QueueErrorInfo::InvalidTail),
        (2, QueueErrorInfo::FetchFailed),
        (3, QueueErrorInfo::InvalidType),
        (4, QueueErrorInfo::ReservedField),
        (5, QueueErrorInfo::InvalidWidth),
        (6, QueueErrorInfo::UnalignedTail),
        (7, QueueErrorInfo::InvalidTableMode),
    ];
    for (raw, info) in rows {
        assert_eq!(QueueError::from_bits(raw), QueueError { info, ..none });
        assert_eq!(QueueError { info, ..none }.bits(), raw);
        let code = info.code();
        assert_eq!((u64::from(code), QueueErrorInfo::from_code(code)), (raw, Some(info)));
    }
    for raw in 8..16 {
        assert_eq!(QueueError::from_bits(raw.into()), none);
        assert_eq!(QueueErrorInfo::from_code(raw), None);
    }
    let rows = [
        (0x0000_0018_0000_0000, QueueError { time_out_source: SourceId(0x18), ..none }),
        (0x0018_0000_0000_0000, QueueError { completion_source: SourceId(0x18), ..none }),
    ];
    check64(QueueError::from_bits, QueueError::bits, 0xffff_ffff_0000_0007, &rows);
    assert_eq!(QueueErrorInfo::InvalidType.to_string(), "invalid descriptor type (3)");
}

#[test]
fn interrupt_table_address() {
    let base = Gpa(0x10_0000);
    let rows = [
        (0x10_0007, InterruptTableAddress { base, extended_mode: false, size_order: 7 }),
        (0x10_080f, InterruptTableAddress { base, extended_mode: true, size_order: 15 }),
    ];
    check64(
        InterruptTableAddress::from_bits,
        InterruptTableAddress::bits,
        0xffff_ffff_ffff_f80f,
        &rows,
    );
    for (raw, count) in [(0, 2), (7, 256), (15, 65_536)] {
        assert_eq!(InterruptTableAddress::from_bits(raw).entry_count(), count);
    }
}

#[test]
fn page_request_queue() {
    let rows = [(0x5000_0003, PageRequestQueueAddress { base: Gpa(0x5000_0000), size_order: 3 })];
    check64(
        PageRequestQueueAddress::from_bits,
        PageRequestQueueAddress::bits,
        0xffff_ffff_ffff_f007,
        &rows,
    );
    for (raw, bytes, count) in [(0, 0x1000, 128), (3, 0x8000, 1024), (7, 0x8_0000, 16_384)] {
        let queue = PageRequestQueueAddress::from_bits(raw);
        assert_eq!((queue.bytes(), queue.entry_count()), (bytes, count));
    }

    let rows = [(0x7_ffe0, PageRequestQueuePointer { byte_offset: 0x7_ffe0 })];
    check64(PageRequestQueuePointer::from_bits, PageRequestQueuePointer::bits, 0x7_ffe0, &rows);

    let rows = [
        (1, PageRequestStatus { pending: true, overflow: false }),
        (2, PageRequestStatus { pending: false, overflow: true }),
    ];
    check32(PageRequestStatus::from_bits, PageRequestStatus::bits, 3, &rows);
}

#[test]
fn protected_memory() {
    let rows = [
        (0x8000_0000, ProtectedMemoryEnable { enable: true, status: false }),
        (0x0000_0001, ProtectedMemoryEnable { enable: false, status: true }),
    ];
    check32(ProtectedMemoryEnable::from_bits, ProtectedMemoryEnable::bits, 0x8000_0001, &rows);
}

// feature: 5.virtual commands: registers (VCCAP, VCMD, VCRSP)
#[test]
fn virtual_commands() {
    let pasid = Pasid::new(0xa_bcde).unwrap();
    let rows = [
        (0x0000_0000_0000_0001, VirtualCommand::AllocatePasid),
        (0x0000_000a_bcde_0002, VirtualCommand::FreePasid(pasid)),
        (0x0000_0000_0000_0000, VirtualCommand::Unknown(0)),
        (0x0000_0000_0000_00ff, VirtualCommand::Unknown(0xff)),
    ];
    for (raw, command) in rows {
        assert_eq!(VirtualCommand::from_bits(raw), command, "{raw:#x}");
        assert_eq!(command.bits(), raw, "{command:?}");
    }
    let rows = [(0xffff_fff0_0000_ff02, VirtualCommand::FreePasid(Pasid::ZERO))];
    for (raw, command) in rows {
        assert_eq!(VirtualCommand::from_bits(raw), command, "{raw:#x}");
    }

    let none = VirtualCommandResponse::default();
    let rows = [
        (0x0000_0000_0000_0001, VirtualCommandResponse { in_progress: true, ..none }),
        (0x0000_0000_0000_0020, VirtualCommandResponse { status: 16, ..none }),
        (0x0000_000a_bcde_0000, VirtualCommandResponse { pasid, ..none }),
    ];
    check64(
        VirtualCommandResponse::from_bits,
        VirtualCommandResponse::bits,
        0x0000_000f_ffff_00ff,
        &rows,
    );
    assert_eq!(VirtualCommandResponse::SUCCESS, 0);
    assert_eq!(VirtualCommandResponse::PASID_REFUSED, 16);

    let rows = [(1, VirtualCommandCapability { pasid_allocation: true })];
    check64(VirtualCommandCapability::from_bits, VirtualCommandCapability::bits, 1, &rows);
}
