//! What becomes of an interrupt request.

use thiserror::Error;
use vtd_spec::{InterruptDelivery, InterruptRemappingEntry};
use vtd_walk::Fault;

use crate::InterruptMessage;

/// The interrupt that a request comes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct RemappedInterrupt {
    /// The index of the interrupt remapping entry that it came through; `None` for a message that passed unchanged. Who keeps
    /// the result has to ask again when an [`InterruptListener`](crate::InterruptListener) is told of this index, or of all.
    pub index: Option<u16>,
    /// The vector.
    pub vector: u8,
    /// The delivery mode, coded as in a message: 0 fixed, 1 lowest priority, 2 SMI, 4 NMI, 5 INIT, 7 ExtINT.
    pub delivery_mode: u8,
    /// Level rather than edge triggered.
    pub level_triggered: bool,
    /// The destination is logical rather than physical.
    pub logical_destination: bool,
    /// The APIC id or logical destination: 32 bits with IRTA.EIME=1, else 8.
    pub destination: u32,
    /// RH: one of several processors is chosen.
    pub redirection_hint: bool,
    message: InterruptMessage,
}

/// Why an interrupt request is blocked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum InterruptError {
    /// The request faults, and nothing may be delivered.
    #[error("blocked: {0}")]
    Fault(Fault),
    /// The address lies outside FEE0_0000 to FEEF_FFFF: the write is a DMA.
    #[error("not an interrupt request")]
    NotAnInterrupt,
}

impl From<Fault> for InterruptError {
    fn from(fault: Fault) -> Self {
        Self::Fault(fault)
    }
}

impl RemappedInterrupt {
    /// The interrupt as a message: what was written, where it passed unchanged, else what a local APIC takes.
    ///
    /// The message has the destination's bits 7:0 in address 19:12, RH in address 3, the destination mode in address 2, the
    /// vector in data 7:0, the delivery mode in data 10:8 and the trigger mode in data 15, with the level asserted (data 14) where it is
    /// level triggered. **Bits 31:8 of the destination are in address 63:40**, where KVM (with its x2APIC API enabled) and other
    /// hypervisors look for them; they are 0 unless IRTA.EIME is 1.
    #[must_use]
    pub fn message(&self) -> InterruptMessage {
        self.message
    }

    /// A message that is not remapped.
    pub(crate) fn unchanged(address: u64, data: u32) -> Self {
        let [vector, modes, ..] = data.to_le_bytes();
        let [_, low, high, ..] = address.to_le_bytes();
        Self {
            index: None,
            vector,
            delivery_mode: modes & 7,
            level_triggered: modes >> 7 == 1,
            logical_destination: address >> 2 & 1 == 1,
            destination: u32::from(high << 4 | low >> 4),
            redirection_hint: address >> 3 & 1 == 1,
            message: InterruptMessage { address, data },
        }
    }

    /// What an entry delivers; `None` for the posted form.
    pub(crate) fn through(index: u16, entry: &InterruptRemappingEntry) -> Option<Self> {
        let InterruptDelivery::Remapped {
            logical_destination,
            redirection_hint,
            level_triggered,
            delivery_mode,
            destination,
        } = entry.delivery
        else {
            return None;
        };
        let wide = u64::from(destination);
        let address = 0xfee0_0000
            | (wide & 0xff) << 12
            | wide >> 8 << 40
            | u64::from(redirection_hint) << 3
            | u64::from(logical_destination) << 2;
        // Assert goes with level: an edge has no level.
        let data = u32::from(entry.vector)
            | u32::from(delivery_mode) << 8
            | u32::from(level_triggered) << 14
            | u32::from(level_triggered) << 15;
        Some(Self {
            index: Some(index),
            vector: entry.vector,
            delivery_mode,
            level_triggered,
            logical_destination,
            destination,
            redirection_hint,
            message: InterruptMessage { address, data },
        })
    }
}
