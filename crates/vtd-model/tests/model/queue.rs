//! Descriptors and the queue. Reference, "Invalidation descriptors".

use vtd_model::{
    Capabilities, Descriptor, DeviceTlb, DeviceTlbScope, Invalidation, PageGroupResponse, Pages,
    Queue, QueueStep, Wait, decode_descriptor,
};

use super::guest::{CAP, ECAP, Qwords};

const TYPE: u8 = 3;
const RESERVED: u8 = 4;
const WIDTH: u8 = 5;

fn decode(wide: bool, first: u64, second: u64) -> Result<Descriptor, u8> {
    decode_descriptor(Capabilities::new(CAP, ECAP), wide, [first, second, 0, 0])
}

fn pages(first: u64, last: u64) -> Pages {
    Pages { first, last, leaf_only: false }
}

#[test]
fn what_is_dropped() {
    use Invalidation as I;
    let device = I::ContextDevice { domain: 5, source_id: 0x18, function_mask: 3 };
    for (first, second, expected) in [
        (0x11, 0, I::ContextGlobal),
        (0x5_0021, 0, I::ContextDomain { domain: 5 }),
        (0x3_0018_0005_0031, 0, device),
        (0x12, 0, I::IotlbGlobal),
        (0x5_00e2, 0, I::IotlbDomain { domain: 5 }),
        (0x5_0032, 0x5000, I::IotlbPages { domain: 5, pages: pages(0x5000, 0x5fff) }),
        (0x5_0032, 0x5002, I::IotlbPages { domain: 5, pages: pages(0x4000, 0x7fff) }),
        (4, 0, I::InterruptGlobal),
        (0x3_1000_0014, 0, I::InterruptIndex { index: 3, mask: 2 }),
        (0x5_0007, 0, I::PasidDomain { domain: 5 }),
        (0xf_ffff_0005_0017, 0, I::Pasid { domain: 5, pasid: 0xf_ffff }),
        (0x37, 0, I::PasidGlobal),
        (0x1_0005_0026, 0, I::PasidIotlb { domain: 5, pasid: 1 }),
    ] {
        assert_eq!(decode(true, first, second), Ok(Descriptor::Invalidation(expected)));
    }
}

/// "Type 6 takes any AM from 0 to 63 … from AM 52 on it is everything"; AM of type 2 above MAMV is an error.
#[test]
fn address_masks() {
    for am in 0..64 {
        let raw = 0x7fff_ffff_f000 | am;
        let within = if am >= 52 { u64::MAX } else { (1_u64 << (12 + am)) - 1 };
        let expected = pages(0x7fff_ffff_f000 & !within, 0x7fff_ffff_f000 | within);
        let Ok(Descriptor::Invalidation(Invalidation::PasidIotlbPages { pages, .. })) =
            decode(true, 0x1_0005_0036, raw)
        else {
            panic!("AM {am}")
        };
        assert_eq!(pages, expected, "AM {am}");
        let type_2 = decode(true, 0x5_0032, raw);
        assert_eq!(type_2.is_ok(), am <= 18, "AM {am}, MAMV 18");
    }
}

/// The columns of reserved bits, one bit at a time.
#[test]
fn reserved_bits() {
    for (good, reserved, reserved_second) in [
        (0x11_u64, 0xfffc_0000_0000_f1c0_u64, u64::MAX),
        (0x12, 0xffff_ffff_0000_f100, 0xf80),
        (0x03, 0x000f_0000_ffe0_01f0, 0xffe),
        (0x04, 0xffff_0000_07ff_f1e0, u64::MAX),
        (0x25, 0xffff_f100, 3),
        (0x26, 0xfff0_0000_0000_f1c0, 0xf80),
        (0x37, 0xfff0_0000_0000_f1c0, u64::MAX),
        (0x08, 0, 0x7fe),
        (0x09, 0xfff0_0000_0000_01e0, 0xffff_ffff_ffff_f003),
    ] {
        for bit in (4..9).chain(12..64) {
            let result = decode(true, good | 1 << bit, 0);
            if reserved >> bit & 1 == 1 {
                assert_eq!(result, Err(RESERVED), "{good:x} bit {bit}");
            } else if bit > 5 {
                assert!(result.is_ok(), "{good:x} bit {bit}");
            }
        }
        for bit in 0..64 {
            let result = decode(true, good, 1 << bit);
            assert_eq!(result.is_err(), reserved_second >> bit & 1 == 1, "{good:x} qw1 {bit}");
        }
        let caps = Capabilities::new(CAP, ECAP);
        assert_eq!(decode_descriptor(caps, true, [good, 0, 1, 0]), Err(RESERVED));
        assert_eq!(decode_descriptor(caps, true, [good, 0, 0, 1 << 63]), Err(RESERVED));
    }
}

#[test]
fn refused() {
    for (name, ecap, wide, first, code) in [
        ("type 0", 0, true, 0, TYPE),
        ("type a", 0, true, 0xa, TYPE),
        ("the high part of the type", 0, true, 0x211, TYPE),
        ("3 without DT", 1 << 2, true, 3, TYPE),
        ("4 without IR", 1 << 3, true, 4, TYPE),
        ("8 without DT", 1 << 2, true, 8, TYPE),
        ("9 without PRS", 1 << 29, true, 9, TYPE),
        ("6 in 128 bits", 0, false, 0x26, WIDTH),
        ("7 in 128 bits", 0, false, 0x37, WIDTH),
        ("8 in 128 bits", 0, false, 8, WIDTH),
        ("9 in 128 bits", 0, false, 9, WIDTH),
        ("granularity 0 of type 1", 0, true, 1, RESERVED),
        ("granularity 0 of type 2", 0, true, 2, RESERVED),
        ("granularity 0 of type 6", 0, true, 6, RESERVED),
        ("granularity 1 of type 6", 0, true, 0x16, RESERVED),
        ("granularity 2 of type 7", 0, true, 0x27, RESERVED),
        ("an empty wait", 0, true, 5, RESERVED),
        ("PD without PDS", 1 << 42, true, 0xa5, RESERVED),
        ("PFSID without DIT", 1 << 41, true, 0x1003, RESERVED),
    ] {
        let caps = Capabilities::new(CAP, ECAP & !ecap);
        assert_eq!(decode_descriptor(caps, wide, [first, 0, 0, 0]), Err(code), "{name}");
    }
}

#[test]
fn waits_devices_and_responses() {
    let wait = Wait { status: Some((0x9000, 7)), interrupt: true, fence: true, drain: true };
    assert_eq!(decode(true, 0x7_0000_00f5, 0x9000), Ok(Descriptor::Wait(wait)));
    for (second, expected) in [
        (0x5000, pages(0x5000, 0x5fff)),
        (0x5001, pages(0x4000, 0x7fff)),
        (0x4001, pages(0x4000, 0x5fff)),
        (0x7fff_ffff_ffff_f001, pages(0, u64::MAX)),
    ] {
        let told =
            DeviceTlb { source_id: 0x18, scope: DeviceTlbScope::WithoutPasid, pages: expected };
        assert_eq!(decode(true, 0x18_0000_0003, second), Ok(Descriptor::DeviceTlb(told)));
    }
    for (second, scope) in [(0x5000, DeviceTlbScope::Pasid(1)), (0x5001, DeviceTlbScope::AllPasids)]
    {
        let told = DeviceTlb { source_id: 0x18, scope, pages: pages(0x5000, 0x5fff) };
        assert_eq!(decode(true, 0x1_0018_0008, second), Ok(Descriptor::DeviceTlb(told)));
    }
    for (rc, code) in [(0, 0), (1, 1), (2, 0xf), (0xf, 0xf)] {
        let answer = PageGroupResponse { source_id: 0x18, pasid: Some(1), group: 0x1ff, code };
        let decoded = decode(true, 0x1_0018_0019 | rc << 12, 0xffc);
        assert_eq!(decoded, Ok(Descriptor::PageGroupResponse(answer)));
    }
}

#[test]
fn one_descriptor_at_a_time() {
    let caps = Capabilities::new(CAP, ECAP);
    let mut memory = Qwords::default();
    memory.0.insert(0x8000, 0x11);
    memory.0.insert(0x8020, 0x27);
    let mut queue = Queue { enabled: true, address: 0x8800, tail: 0x40, ..Queue::default() };
    let first = queue.step(caps, &memory);
    assert_eq!(first, QueueStep::Descriptor(Descriptor::Invalidation(Invalidation::ContextGlobal)));
    assert_eq!(queue.head, 0x20);
    assert_eq!(queue.step(caps, &memory), QueueStep::Stopped { code: RESERVED });
    assert_eq!((queue.head, queue.error), (0x20, true), "IQH stays at it");
    assert_eq!(queue.step(caps, &memory), QueueStep::Idle);
    memory.0.insert(0x8020, 0x37);
    queue.error = false;
    assert!(matches!(queue.step(caps, &memory), QueueStep::Descriptor(_)));
    assert_eq!(queue.step(caps, &memory), QueueStep::Idle, "empty");
}

/// IQEI 1, 2, 5 and 6; the queue wraps at its end.
#[test]
fn tails() {
    let wide = Capabilities::new(CAP, ECAP);
    let memory = Qwords((0..0x400).map(|at| (0x8000 + 16 * at, 0x11)).collect());
    for (caps, address, tail, code) in [
        (wide, 0x8000, 0x1000, 1),
        (wide, 0x8800, 0x1000, 1),
        (wide, 0x8800, 0x10, 6),
        (wide, 0x100_0000_0000, 0x10, 2),
        (Capabilities::new(CAP, ECAP & !(1 << 43)), 0x8800, 0x20, 5),
    ] {
        let mut queue = Queue { enabled: true, address, tail, ..Queue::default() };
        assert_eq!(queue.step(caps, &memory), QueueStep::Stopped { code });
    }
    for (qs, last) in [(0, 0xff0), (1, 0x1ff0)] {
        let mut queue =
            Queue { enabled: true, address: 0x8000 | qs, head: last, ..Queue::default() };
        assert!(matches!(queue.step(wide, &memory), QueueStep::Descriptor(_)));
        assert_eq!(queue.head, 0);
    }
}
