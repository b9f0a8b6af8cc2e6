//! RID_PASID of any value, changed while it is bound.
#![cfg(test)]

mod guest;

use std::sync::Arc;

use guest::calls::{Calls, Host, held_by, host};
use guest::{CAP, ECAP, Guest, context_of, pasid, translate};
use vtd::spec::Capabilities;
use vtd::{Access, DmaError};

const DIRECTORY: u64 = 0x100_0000;
const TABLES: u64 = 0x200_0000;

/// A guest whose device 3 has a directory of 2^14 entries, PASIDE, and this RID_PASID.
fn guest(ecap: u64, rid_pasid: u64) -> (Guest, Host, Arc<Calls>) {
    let (machine, calls) = (host(), Arc::new(Calls::default()));
    let mut guest = Guest::made(Capabilities::new(CAP, ecap).unwrap(), |config| {
        config.host = Some(Arc::clone(&machine) as _);
        config.observer = Some(Arc::clone(&calls) as _);
    });
    for page in (DIRECTORY..DIRECTORY + 0x2_0000).step_by(0x1000) {
        guest.put(page, &[0; 512]);
    }
    set_rid_pasid(&guest, rid_pasid);
    guest.enable();
    (guest, machine, calls)
}

fn set_rid_pasid(guest: &Guest, rid_pasid: u64) {
    guest.put(0x2000 + 0x18 * 32, &[DIRECTORY | 7 << 9 | 9, rid_pasid, 0, 0]);
}

/// The first-stage table of a PASID.
fn table(pasid: u64) -> u64 {
    0x1_0000_0000 + pasid * 0x1_0000
}

/// The page that 5000 of a PASID leads to.
fn page(pasid: u64) -> u64 {
    0x10_0000_0000 + pasid * 0x1000
}

/// A first-stage entry of a PASID, domain 1, and its table.
fn put_pasid(guest: &Guest, pasid: u64) {
    let entries = TABLES + (pasid >> 6) * 0x1000;
    guest.put(DIRECTORY + (pasid >> 6) * 8, &[entries | 1]);
    guest.put(entries + (pasid & 0x3f) * 64, &[0x41, 1, table(pasid), 0, 0, 0, 0, 0]);
    guest.map_first_stage(table(pasid), 0x5000, page(pasid), 7);
}

const VALUES: [u64; 6] = [0, 1, 0x3f, 0x40, 0x8_0000, 0xf_ffff];

// feature: 7.bindings: RID_PASID of any value, changed while bound
#[test]
fn emulated() {
    for from in VALUES {
        for to in VALUES {
            let (mut guest, ..) = guest(ECAP, from);
            put_pasid(&guest, from);
            put_pasid(&guest, to);
            let device = guest.emulate(3);
            let rid = guest.unit.dma(device, None).unwrap();
            let number = u32::try_from(from).unwrap();
            let with_pasid = guest.unit.dma(device, Some(pasid(number))).unwrap();
            assert_eq!(translate(&rid, 0x5000, Access::READ), Ok(page(from)), "{from:x}");
            assert_eq!(translate(&with_pasid, 0x5000, Access::READ), Ok(page(from)), "{from:x}");
            set_rid_pasid(&guest, to);
            assert!(guest.invalidate(&[context_of(3)]));
            assert_eq!(translate(&rid, 0x5000, Access::READ), Ok(page(to)), "{from:x} {to:x}");
            assert_eq!(translate(&with_pasid, 0x5000, Access::READ), Ok(page(from)));
            // Its fault is one of a request without PASID.
            let failed = translate(&rid, 0x9000, Access::READ);
            assert!(matches!(failed, Err(DmaError::Fault(fault)) if fault.reason.code() == 0x71));
            assert_eq!(guest.read(0x228, 8), 0xc000_0071_0000_0018, "{to:x}");
        }
    }
}

// feature: 7.bindings: RID_PASID of any value, changed while bound
#[test]
fn assigned() {
    for from in VALUES {
        for to in VALUES.into_iter().filter(|to| *to != from) {
            let (mut guest, machine, calls) = guest(ECAP, from);
            put_pasid(&guest, from);
            put_pasid(&guest, to);
            guest.assign(3);
            let (t_from, t_to) = (table(from), table(to));
            assert_eq!(
                held_by(&machine),
                [format!("3 - fs4 {t_from:x}"), format!("3 {to:x} fs4 {t_to:x}")]
            );
            calls.take();
            set_rid_pasid(&guest, to);
            assert!(guest.invalidate(&[context_of(3)]));
            assert_eq!(
                calls.take(),
                [
                    format!("unbind 00:03.0 {to:x}"),
                    format!("replace 00:03.0 - fs4 {t_to:x} 1"),
                    format!("bind 00:03.0 {from:x} fs4 {t_from:x} 1"),
                ]
            );
            // An invalidation of the PASID that has become RID_PASID is one of slot Rid, and one of the other is not.
            guest.put(TABLES + (to >> 6) * 0x1000 + (to & 0x3f) * 64, &[0]);
            assert!(guest.invalidate(&[guest::pasid_selective(1, from)]));
            assert_eq!(calls.take(), [""; 0]);
            assert!(guest.invalidate(&[guest::pasid_selective(1, to)]));
            assert_eq!(calls.take(), ["unbind 00:03.0 -"], "{from:x} {to:x}");
            assert_eq!(held_by(&machine), [format!("3 {from:x} fs4 {t_from:x}")]);
        }
    }
}

// feature: 1.requests without PASID (RID_PASID, RID_PRIV)
#[test]
fn without_rps_it_is_0_whatever_it_says() {
    for rid_pasid in VALUES {
        let (guest, machine, _calls) = guest(ECAP & !(1 << 49), rid_pasid);
        put_pasid(&guest, 0);
        put_pasid(&guest, 7);
        let device = guest.emulate(3);
        let rid = guest.unit.dma(device, None).unwrap();
        assert_eq!(translate(&rid, 0x5000, Access::READ), Ok(page(0)), "{rid_pasid:x}");
        guest.unit.release(device).unwrap();
        assert!(guest.is_idle());
        guest.assign(3);
        let (zero, seven) = (table(0), table(7));
        assert_eq!(held_by(&machine), [format!("3 - fs4 {zero:x}"), format!("3 7 fs4 {seven:x}")]);
    }
}

// feature: 1.requests without PASID (RID_PASID, RID_PRIV)
#[test]
fn past_the_directory_it_faults() {
    let (mut guest, machine, _calls) = guest(ECAP, 0x40_00);
    put_pasid(&guest, 0x2000);
    // PDTS 0: 128 entries of the directory, 2000 PASIDs.
    for (rid_pasid, code) in [(0x1fff, 0x51), (0x2000, 0x46), (0xf_ffff, 0x46)] {
        guest.put(0x2000 + 0x18 * 32, &[DIRECTORY | 9, rid_pasid]);
        assert!(guest.invalidate(&[context_of(3)]));
        let device = guest.emulate(3);
        let rid = guest.unit.dma(device, None).unwrap();
        assert_eq!(guest::fault_of(&rid, 0x5000), code, "{rid_pasid:x}");
        guest.unit.release(device).unwrap();
        assert!(guest.is_idle());
        guest.assign(3);
        assert_eq!(held_by(&machine), [""; 0]);
        let assigned = guest.unit.devices()[0].id;
        guest.unit.release(assigned).unwrap();
        assert!(guest.is_idle());
    }
}
