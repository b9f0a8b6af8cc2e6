//! Supervisor requests, write protection, execute requests, and SMEP.

use vtd::Access;

use crate::guest::ECAP;
use crate::machine::{ALL, CAP, ERS, FIRST, FRAME, Machine, SRS};

const READ: Access = Access::READ;
const WRITE: Access = Access::WRITE;

/// Leaves: a user's page and a supervisor's, each writable and not, and with XD.
const PAGES: [(u64, u64); 5] =
    [(0x5000, 7), (0x6000, 5), (0x7000, 3), (0x8000, 1), (0x9000, 7 | 1 << 63)];

/// A unit whose PASID 1 has these flags in qw2.
fn machine(ecap: u64, flags: u64) -> Machine {
    let machine = Machine::scalable(CAP, ecap, &[0x41, 5, FIRST + 0x1000 | flags]);
    for (iova, bits) in PAGES {
        machine.map(FIRST, iova, 1, FRAME | bits, 7);
    }
    machine
}

/// The codes of one access to each page, 0 where it is served.
fn codes(machine: &Machine, access: Access) -> [u8; 5] {
    PAGES.map(|(iova, _)| {
        // Both the walk and what it may have cached.
        let codes = [0, 1].map(|_| machine.access(Some(1), iova, access).err().unwrap_or(0));
        assert_eq!(codes[0], codes[1], "{iova:x} {access:?}");
        codes[0]
    })
}

// feature: 1.supervisor requests and write protection (SRE, WPE)
#[test]
fn supervisor_requests_and_write_protection() {
    let (sre, wpe) = (1, 1 << 4);
    let privileged = READ.with_privilege();
    for (flags, access, expected) in [
        // User, user read-only, supervisor, supervisor read-only, user with XD.
        (sre, READ, [0, 0, 0x81, 0x81, 0]),
        (sre, WRITE, [0, 0x85, 0x81, 0x81, 0]),
        (sre, privileged, [0; 5]),
        (sre, WRITE.with_privilege(), [0; 5]),
        (sre | wpe, WRITE.with_privilege(), [0, 0x85, 0, 0x85, 0]),
        (sre | wpe, privileged, [0; 5]),
        (0, privileged, [0x5d; 5]),
        (wpe, WRITE, [0, 0x85, 0x81, 0x81, 0]),
    ] {
        assert_eq!(codes(&machine(ALL, flags), access), expected, "{flags:x} {access:?}");
    }
}

// feature: 1.requests to execute, and execute disable (ERE, NXE, XD)
#[test]
fn execute_requests_and_execute_disable() {
    let (ere, nxe) = (2, 1 << 5);
    let execute = READ.executing();
    for (ecap, flags, expected) in [
        (ALL, 0, [0x5c; 5]),
        (ALL, ere, [0, 0, 0x81, 0x81, 0]),
        (ALL, ere | nxe, [0, 0, 0x81, 0x81, 0x82]),
        (ALL, nxe, [0x5c; 5]),
        (ALL & !ERS, ere | nxe, [0x5c; 5]),
    ] {
        assert_eq!(codes(&machine(ecap, flags), execute), expected, "{ecap:x} {flags:x}");
    }
    // XD does not concern data.
    assert_eq!(codes(&machine(ALL, ere | nxe), READ), [0, 0, 0x81, 0x81, 0]);
}

// feature: 1.supervisor requests to execute what users may reach (SMEP)
#[test]
fn smep_keeps_supervisors_from_executing_pages_of_users() {
    let (sre, ere, smep) = (1, 2, 1 << 6);
    let fetch = READ.executing().with_privilege();
    for (ecap, flags, access, expected) in [
        (ALL, sre | ere, fetch, [0; 5]),
        (ALL, sre | ere | smep, fetch, [0x81, 0x81, 0, 0, 0x81]),
        // Reads and writes of supervisors, and fetches of users, are not its business.
        (ALL, sre | ere | smep, READ.with_privilege(), [0; 5]),
        (ALL, sre | ere | smep, READ.executing(), [0, 0, 0x81, 0x81, 0]),
        // Without the capabilities the bit is ignored, but so is what it would concern.
        (ALL & !ERS, sre | ere | smep, fetch, [0x5c; 5]),
        (ALL & !SRS, ere | smep, fetch, [0x5d; 5]),
        (ECAP, smep, READ, [0, 0, 0x81, 0x81, 0]),
    ] {
        assert_eq!(codes(&machine(ecap, flags), access), expected, "{ecap:x} {flags:x} {access:?}");
    }
}
