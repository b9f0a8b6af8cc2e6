//! Requester to scalable-mode context entry, root 1000.

use vtd_spec::register::RootTableAddress;
use vtd_spec::table::ContextEntry;
use vtd_spec::{Capabilities, Gpa, SourceId};
use vtd_walk::{Fault, RootTable, read_context};

use crate::guest::{FEWEST_CAP, FEWEST_ECAP, Guest, bits, caps, fewest, most};

fn read(guest: &Guest, caps: &Capabilities, source_id: u16) -> Result<ContextEntry, Fault> {
    read_context(guest, caps, Gpa(0x1000), SourceId(source_id))
}

fn code(guest: &Guest, caps: &Capabilities, source_id: u16) -> Option<u8> {
    read(guest, caps, source_id).err().map(|fault| fault.reason.code())
}

// feature: 1.root table, lower and upper half (RTADDR, TTM 1)
#[test]
fn both_halves_of_the_root_lead_to_their_tables() {
    // (source-id, root qword, context table, context entry)
    let rows = [
        (0x0000, 0x1000, 0x2000, 0x2000),
        (0x007f, 0x1000, 0x2000, 0x2fe0),
        (0x0080, 0x1008, 0x3000, 0x3000),
        (0x00ff, 0x1008, 0x3000, 0x3fe0),
        (0x1218, 0x1120, 0x2000, 0x2300),
        (0x1298, 0x1128, 0x3000, 0x3300),
        (0xffff, 0x1ff8, 0x3000, 0x3fe0),
    ];
    for (source_id, root, table, entry) in rows {
        let guest =
            Guest::new(&[(root, table | 1), (entry, 0x5000 | 0xe1d), (entry + 8, 0x1_2345)]);
        let context = read(&guest, &most(), source_id).unwrap();
        assert_eq!(context.directory, Gpa(0x5000), "{source_id:x}");
        assert_eq!(context.rid_pasid.get(), 0x1_2345);
        assert_eq!(context.pasid_end(), 1 << 20);
        assert!(context.pasids && context.device_tlb && context.page_requests);
        assert!(!context.fpd && !context.rid_privileged);
        assert_eq!(guest.take_reads(), [root, entry], "each entry once");
        // Without RPS the field is taken as 0.
        let without = caps(FEWEST_CAP, FEWEST_ECAP | 1 << 40 | 1 << 29 | 4, 48);
        assert_eq!(read(&guest, &without, source_id).unwrap().rid_pasid.get(), 0);
    }
}

// feature: 2.fault codes: root and context entries
#[test]
fn known_failure_09_each_root_and_context_fault_has_its_scalable_code() {
    // (root qword, context qwords, code, FPD, recorded)
    type Row = (Option<u64>, &'static [u64], u8, bool, bool);
    let rows: &[Row] = &[
        (None, &[], 0x38, false, true),
        (Some(0), &[], 0x39, false, true),
        (Some(2), &[], 0x39, false, true),
        (Some(0x2003), &[], 0x3a, false, true),
        // No memory at the context table.
        (Some(0x8001), &[], 0x40, false, true),
        (Some(0x2001), &[0], 0x41, false, true),
        (Some(0x2001), &[2], 0x41, true, false),
        (Some(0x2001), &[0xffff_ffff_ffff_fffc, 0xffff, 1, 1], 0x41, false, true),
        (Some(0x2001), &[0x21], 0x42, false, true),
        (Some(0x2001), &[0x23], 0x42, true, false),
    ];
    for (root, context, code, fpd, recorded) in rows {
        let guest = Guest::new(&[(0x2fe0, 0)]);
        guest.write(&root.map(|root| (0x1120, root)).into_iter().collect::<Vec<_>>());
        for (place, value) in (0x2300..).step_by(8).zip(*context) {
            guest.write(&[(place, *value)]);
        }
        let fault = read(&guest, &most(), 0x1218).unwrap_err();
        assert_eq!(
            (fault.reason.code(), fault.fpd, fault.is_recorded()),
            (*code, *fpd, *recorded),
            "{root:x?} {context:x?}"
        );
    }
}

// feature: 2.fault codes: root and context entries
#[test]
fn known_failure_07_every_reserved_bit_of_a_root_half_faults_3a() {
    for (caps, reserved) in [(fewest(), 0xffff_0000_0000_0ffe), (most(), 0xfff0_0000_0000_0ffe_u64)]
    {
        for (source_id, place) in [(0x1218, 0x1120), (0x1298, 0x1128)] {
            for bit in 1..64 {
                // A changed address leads to where no memory is.
                let guest = Guest::new(&[(place, 0x2001 ^ 1 << bit)]);
                let expected = if reserved >> bit & 1 == 1 { 0x3a } else { 0x40 };
                assert_eq!(code(&guest, &caps, source_id), Some(expected), "bit {bit}");
                // The other half has no say.
                let guest = Guest::new(&[(place, 0x2001), (place ^ 8, 1 << bit | 1), (0x2300, 1)]);
                assert_eq!(code(&guest, &caps, source_id), None);
            }
        }
    }
}

// feature: 2.fault codes: root and context entries
#[test]
fn known_failure_07_every_reserved_bit_of_a_context_entry_faults_42() {
    let only = |ecap: u64| caps(FEWEST_CAP, FEWEST_ECAP | ecap, 48);
    const HIGH: u64 = 0xffff_ffff_ffff_ffff;
    // Bits 2 to 4 are DTE, PASIDE and PRE; RID_PRIV is bit 20 of qw1.
    let rows = [
        (fewest(), [0xffff_0000_0000_01fc, 0xffff_ffff_fff0_0000, HIGH, HIGH]),
        (only(1 << 2), [0xffff_0000_0000_01f8, 0xffff_ffff_fff0_0000, HIGH, HIGH]),
        (only(1 << 40), [0xffff_0000_0000_01f4, 0xffff_ffff_fff0_0000, HIGH, HIGH]),
        (only(1 << 40 | 1 << 29 | 4), [0xffff_0000_0000_01e0, 0xffff_ffff_fff0_0000, HIGH, HIGH]),
        (only(1 << 49), [0xffff_0000_0000_01fc, 0xffff_ffff_fff0_0000, HIGH, HIGH]),
        (only(1 << 53), [0xffff_0000_0000_01fc, 0xffff_ffff_ffe0_0000, HIGH, HIGH]),
        (most(), [0xfff0_0000_0000_01e0, 0xffff_ffff_ffe0_0000, HIGH, HIGH]),
        (
            caps(FEWEST_CAP, FEWEST_ECAP, 36),
            [0xffff_fff0_0000_01fc, 0xffff_ffff_fff0_0000, HIGH, HIGH],
        ),
    ];
    for (caps, reserved) in rows {
        for (word, reserved) in (0..).zip(reserved) {
            for bit in 0..64 {
                let entry = 0x2300 + word * 8;
                let good = if word == 0 { 0x5001 } else { 0 };
                let guest =
                    Guest::new(&[(0x1120, 0x2001), (0x2300, 0x5001), (entry, good ^ 1 << bit)]);
                let expected = match (word, bit) {
                    (0, 0) => Some(0x41),
                    _ if reserved >> bit & 1 == 1 => Some(0x42),
                    // PRE without DTE.
                    (0, 4) => Some(0x43),
                    _ => None,
                };
                assert_eq!(code(&guest, &caps, 0x1218), expected, "{caps:?} qw{word} bit {bit}");
            }
        }
        // Each together with FPD is still seen as such.
        for bit in bits(reserved[0]) {
            let guest = Guest::new(&[(0x1120, 0x2001), (0x2300, 0x5003 | 1 << bit)]);
            assert!(read(&guest, &caps, 0x1218).unwrap_err().fpd);
        }
    }
}

#[test]
fn pdts_gives_the_end_of_the_pasids() {
    for (pdts, end) in
        [(0, 0x2000), (1, 0x4000), (2, 0x8000), (3, 0x1_0000), (4, 0x2_0000), (7, 0x10_0000)]
    {
        let guest = Guest::new(&[(0x1120, 0x2001), (0x2300, 0x5001 | pdts << 9)]);
        assert_eq!(read(&guest, &most(), 0x1218).unwrap().pasid_end(), end);
    }
}

// feature: 1.root table, lower and upper half (RTADDR, TTM 1)
#[test]
fn the_root_table_means_what_its_mode_and_the_capabilities_say() {
    let adms = caps(FEWEST_CAP, FEWEST_ECAP | 1 << 52, 48);
    let legacy = caps(FEWEST_CAP, 0xf42, 48);
    let rows = [
        (0x7000, fewest(), RootTable::Legacy(Gpa(0x7000))),
        (0x7400, fewest(), RootTable::Scalable(Gpa(0x7000))),
        (0x7400, legacy, RootTable::Unusable),
        (0x7800, adms, RootTable::Unusable),
        (0x7c00, adms, RootTable::Abort),
        (0x7c00, fewest(), RootTable::Unusable),
    ];
    for (register, caps, expected) in rows {
        assert_eq!(RootTable::new(RootTableAddress::from_bits(register), &caps), expected);
    }
}
