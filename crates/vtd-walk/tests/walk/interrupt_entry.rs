//! Reading an interrupt remapping entry that changes meanwhile.

use std::sync::Mutex;

use vtd_memory::{AccessError, GuestMemory};
use vtd_spec::register::InterruptTableAddress;
use vtd_spec::{Capabilities, Gpa};
use vtd_walk::read_interrupt_entry;

/// Memory in which each read of an entry gives the next of some copies, and the last for ever.
struct Changing(Mutex<Vec<[u64; 2]>>);

impl GuestMemory for Changing {
    fn load_u64(&self, gpa: Gpa) -> Result<u64, AccessError> {
        Err(AccessError::not_backed(gpa, 8))
    }

    fn load_qwords(&self, gpa: Gpa, out: &mut [u64]) -> Result<(), AccessError> {
        assert_eq!(gpa, Gpa(0xa030));
        let mut copies = self.0.lock().unwrap();
        let copy = if copies.len() > 1 { copies.remove(0) } else { copies[0] };
        out.copy_from_slice(&copy);
        Ok(())
    }

    fn compare_exchange_u64(
        &self,
        gpa: Gpa,
        _: u64,
        _: u64,
    ) -> Result<Result<u64, u64>, AccessError> {
        Err(AccessError::not_backed(gpa, 8))
    }

    fn store_u32_release(&self, gpa: Gpa, _: u32) -> Result<(), AccessError> {
        Err(AccessError::not_backed(gpa, 4))
    }

    fn store_qwords_release(&self, gpa: Gpa, _: &[u64]) -> Result<(), AccessError> {
        Err(AccessError::not_backed(gpa, 8))
    }

    fn with_snapshot(&self, walk: &mut dyn FnMut(&dyn GuestMemory)) {
        walk(self);
    }
}

// feature: 6.entries: one that changes while it is read
#[test]
fn two_copies_have_to_agree() {
    let caps = Capabilities::new(0x81d2_008c_222f_0686, 0x0001_8998_0000_0f46).unwrap();
    let table = InterruptTableAddress::from_bits(0xa007);
    let [a, b] = [[0x31_0001, 0x4_0018], [0x32_0001, 0x4_0019]];
    // The old entry's vector with the new one's requester.
    let torn = [a[0], b[1]];
    let rows = [
        // copies, then the vector or the code
        (vec![a], Ok(0x31)),
        (vec![torn, b], Ok(0x32)),
        (vec![a, torn, b], Ok(0x32)),
        (vec![a, b, a, b], Err(0x22)),
        (vec![torn, a, torn, b], Err(0x22)),
        (vec![a, [0, 0]], Err(0x22)),
    ];
    for (copies, expected) in rows {
        let memory = Changing(Mutex::new(copies.clone()));
        let found = read_interrupt_entry(&memory, &caps, table, 3);
        let found = found.map(|entry| entry.vector).map_err(|fault| fault.reason.code());
        assert_eq!(found, expected, "{copies:x?}");
    }
}

#[test]
fn a_fault_names_its_field() {
    // With CAP.PI, or the form itself would be refused.
    let caps = Capabilities::new(0x89d2_008c_222f_0686, 0x0001_8998_0000_0f46).unwrap();
    let caps = caps.with_host_address_width(39).unwrap();
    // (IRTA, the entry; code, field)
    let rows = [
        (0xa007, [0, 0], 0x22, ""),
        (0xa007, [0x8001, 0], 0x24, "IM: posted interrupts"),
        (0xa007, [0x31_0001 | 1 << 40, 1 << 20], 0x24, "reserved 127:84"),
        (0x80_0000_a007, [0x31_0001, 0], 0x23, "IRTA beyond the host address width"),
    ];
    for (table, entry, code, field) in rows {
        let table = InterruptTableAddress::from_bits(table);
        let fault = read_interrupt_entry(&Changing(Mutex::new(vec![entry])), &caps, table, 3);
        let fault = fault.unwrap_err();
        assert_eq!((fault.reason.code(), fault.field), (code, field), "{entry:x?}");
    }
}
