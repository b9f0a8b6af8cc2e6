//! Row 18: a guest that does anything at all.

use vtd::spec::Iova;
use vtd::{Access, Quotas, ResetKind};

use crate::guest::{Guest, Shape};
use crate::raw::*;

/// A small generator of numbers: the same ones in each run.
struct Numbers(u64);

impl Numbers {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[usize::try_from(self.next() % from.len() as u64).unwrap()]
    }
}

/// Fields of a descriptor that are not reserved, by type: qw0 and qw1.
const FIELDS: [(u64, [u64; 2]); 9] = [
    (1, [0x0003_ffff_ffff_0e30, 0]),
    (2, [0xffff_00f0, 0xffff_ffff_ffff_f07f]),
    (3, [0xfff0_ffff_001f_f000, 0xffff_ffff_ffff_f001]),
    (4, [0xffff_f800_0010, 0]),
    (5, [0xffff_ffff_0000_00f0, 0xffff_ffff_ffff_fffc]),
    (6, [0x000f_ffff_ffff_0030, 0xffff_ffff_ffff_f07f]),
    (7, [0x000f_ffff_ffff_0030, 0]),
    (8, [0xffff_ffff_ffff_f1f0, 0xffff_ffff_ffff_f801]),
    (9, [0x000f_ffff_ffff_f010, 0xffc]),
];

const EVERYTHING: u64 = ECAP
    | ECAP_IR
    | ECAP_SC
    | ECAP_PRS
    | ECAP_ERS
    | ECAP_SRS
    | ECAP_EAFS
    | ECAP_DIT
    | ECAP_PDS
    | ECAP_SSADS
    | ECAP_ADMS
    | ECAP_RPRIVS;

// feature: 3.bounded work and memory, whatever the guest writes
/// Every field of every descriptor with every bit set, each type on a unit that has the feature.
#[test]
fn known_failure_18_no_descriptor_field_is_asserted_on() {
    let guest = Guest::of(Shape { ecap: EVERYTHING, ..Shape::default() });
    guest.set_pasid(5, first_stage(FIRST_A, 7));
    let _emulated = guest.emulated();
    let _assigned = guest.assigned_at(0x20);
    for (kind, [low, high]) in FIELDS {
        for bit in 0..64 {
            for (qw0, qw1) in [(low, high), (1 << bit, 0), (low & 0x30 | 1 << bit, high)] {
                // The status of a wait may go anywhere, but not over the guest's own tables.
                let qw1 = if kind == 5 { STATUS | 0x800 } else { qw1 };
                guest.ring(&[[kind | qw0, qw1 ^ (1 << bit & high), 0, 0]]);
                guest.run();
                guest.write32(FSTS, IQE);
            }
        }
    }
}

// feature: 3.bounded work and memory, whatever the guest writes
#[test]
fn known_failure_18_nothing_that_a_guest_does_ends_the_process() {
    for seed in 1..=12 {
        let mut numbers = Numbers(0x9e37_79b9_7f4a_7c15_u64.wrapping_mul(seed));
        let quotas = Quotas { per_device: 8, per_unit: 12, ..Quotas::default() };
        let ecap = if seed % 3 == 0 { ECAP } else { EVERYTHING };
        let guest = Guest::of(Shape { cap: CAP | FIVE_LEVELS, ecap, quotas, ..Shape::default() });
        let emulated = guest.emulated();
        let assigned = guest.assigned_at(0x20);
        let places = [ROOT, LOWER_CONTEXTS, DIRECTORY, PASIDS, FIRST_A, FIRST_B, SECOND];
        let pasids = [0, 1, 5, 0x3f, 0x40, 0x1fff, 0x2000, 0xf_ffff];
        for _ in 0..1500 {
            match numbers.next() % 10 {
                0 => {
                    let offset = numbers.next() % 0x300;
                    let size = numbers.pick(&[1, 2, 4, 8]);
                    guest.unit.write(
                        offset / u64::from(size) * u64::from(size),
                        size,
                        numbers.next(),
                    );
                }
                1 => {
                    // The commands that matter most.
                    guest.write64(RTADDR, ROOT | numbers.pick(&[0, 0x400, 0x800, 0xc00]));
                    let command = numbers.pick(&[TE | QIE, QIE, TE, TE | QIE | SRTP, 0]);
                    guest.write32(GCMD, command);
                }
                2 => {
                    guest.write64(IQA, QUEUE | numbers.next() & 0x807);
                    guest.write64(IQT, numbers.next() & 0x1fff);
                }
                3..=5 => {
                    let (kind, [low, high]) = numbers.pick(&FIELDS);
                    // Waits write only where the tables are not.
                    let high = if kind == 5 { 0x3fc } else { high };
                    let place = if kind == 5 { STATUS } else { 0 };
                    let qw0 = kind | numbers.next() & low;
                    guest.ring(&[[qw0, place | numbers.next() & high, 0, 0]]);
                }
                6 => {
                    let place = numbers.pick(&places) + numbers.next() % 64 * 8;
                    let to = numbers.pick(&places) | numbers.next() & 0xfff;
                    let other = numbers.next();
                    guest.ram.put(place, &[numbers.pick(&[0, to, to | 1, other])]);
                }
                7 => {
                    let entry = numbers.pick(&[
                        first_stage(FIRST_A, 7),
                        second_stage(SECOND, 8),
                        pass_through(7),
                        ABSENT,
                    ]);
                    guest.set_pasid(numbers.next() % 64, entry);
                    guest.set_context(0x20, [DIRECTORY | numbers.next() & 0xe09, 0, 0, 0]);
                    guest.write32(FSTS, IQE | 1);
                }
                8 => {
                    let pasid = Some(numbers.pick(&pasids)).filter(|pasid| *pasid != 1);
                    let other = numbers.next();
                    let address = numbers.pick(&[PAGE, 0xfee0_0000, other]);
                    let access = numbers.pick(&[
                        Access::READ,
                        Access::WRITE,
                        Access::READ.executing(),
                        Access::WRITE.with_privilege(),
                    ]);
                    emulated.handle(pasid).with_guard(|guard| {
                        let _any = guard.translate_range(Iova(address), 0x3000, access, |_| {});
                    });
                }
                _ if numbers.next().is_multiple_of(50) => guest.unit.reset(ResetKind::Warm),
                _ => guest.unit.retry(assigned.id).unwrap(),
            }
            let _left = guest.unit.step(3000);
        }
        assert!(assigned.bound_pasids() <= 8, "seed {seed}: the quota holds");
        let illegal = guest.host.inner().call_counts().refused;
        assert_eq!(illegal, 0, "seed {seed}: no call of the host was illegal");
    }
}
