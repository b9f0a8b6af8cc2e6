//! The interrupt remapping table.

use vtd_memory::GuestMemory;
use vtd_spec::register::InterruptTableAddress;
use vtd_spec::{Capabilities, Entry, FaultReason, InterruptDelivery, InterruptRemappingEntry};

use crate::Fault;

/// How often an entry is read again until two copies agree.
const COPIES: u32 = 4;

/// Reads the entry of an index that lies within the table.
///
/// The two quadwords are read until two copies agree, since the guest may change them in between; an entry that never holds
/// still counts as absent. The posted form is refused as reserved whatever CAP.PI says: nothing here posts interrupts.
///
/// # Errors
/// 22, 23 and 24 of the reference's table.
pub fn read_interrupt_entry(
    memory: &dyn GuestMemory,
    caps: &Capabilities,
    table: InterruptTableAddress,
    index: u16,
) -> Result<InterruptRemappingEntry, Fault> {
    let unreadable = Fault::new(FaultReason::InterruptTableAccess);
    if table.base.0 & caps.reserved_pointer_bits() != 0 {
        return Err(Fault { field: "IRTA beyond the host address width", ..unreadable });
    }
    let place = table.base.checked_add(u64::from(index) * 16).ok_or(unreadable)?;
    let read = || {
        let mut raw = [0; 2];
        memory.load_qwords(place, &mut raw).map_err(|_| unreadable)?;
        Ok(raw)
    };
    let mut raw = read()?;
    for _ in 1..COPIES {
        let again = read()?;
        if again == raw {
            return decode(raw, table.extended_mode, caps);
        }
        raw = again;
    }
    Err(Fault::new(FaultReason::InterruptEntryNotPresent))
}

fn decode(
    raw: [u64; 2],
    extended_mode: bool,
    caps: &Capabilities,
) -> Result<InterruptRemappingEntry, Fault> {
    match InterruptRemappingEntry::decode(raw, extended_mode, caps) {
        Entry::NotPresent { fpd } => Err(Fault::under(FaultReason::InterruptEntryNotPresent, fpd)),
        Entry::Malformed(why) => {
            Err(Fault { field: why.field, ..Fault::under(why.reason, why.fpd) })
        }
        Entry::Present(entry) => match entry.delivery {
            InterruptDelivery::Remapped { .. } => Ok(entry),
            InterruptDelivery::Posted { .. } => {
                let fault = Fault::under(FaultReason::InterruptEntryReserved, entry.fpd);
                Err(Fault { field: "IM: posted interrupts", ..fault })
            }
        },
    }
}
