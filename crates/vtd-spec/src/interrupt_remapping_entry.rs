//! Interrupt remapping entries: 16 bytes for each interrupt index.

use crate::descriptor::FunctionMask;
use crate::{Capabilities, Entry, FaultReason, Gpa, Malformed, SourceId};

/// A present interrupt remapping entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct InterruptRemappingEntry {
    /// FPD: qualified faults of this entry are not recorded.
    pub fpd: bool,
    /// V: the vector.
    pub vector: u8,
    /// SVT, SQ and SID: who may use the entry.
    pub source: SourceValidation,
    /// IM: how the interrupt is delivered.
    pub delivery: InterruptDelivery,
}

/// Which requesters an entry accepts (SVT).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum SourceValidation {
    /// SVT 0: all.
    Any,
    /// SVT 1: those whose source-id matches.
    SourceId {
        /// SID.
        source_id: SourceId,
        /// SQ.
        function_mask: FunctionMask,
    },
    /// SVT 2: those of some buses.
    Buses {
        /// SID 15:8.
        first: u8,
        /// SID 7:0; this bus is included.
        last: u8,
    },
    /// SVT 3: none, as it is reserved; the requester gets [`FaultReason::InterruptSourceRefused`].
    Reserved,
}

/// How an interrupt reaches the processor.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum InterruptDelivery {
    /// IM 0: as a message to a local APIC.
    Remapped {
        /// DM: the destination is logical rather than physical.
        logical_destination: bool,
        /// RH: one of several processors is chosen.
        redirection_hint: bool,
        /// TM: level rather than edge triggered.
        level_triggered: bool,
        /// DLM, coded as in a message; 3 bits, higher ones are not encoded.
        delivery_mode: u8,
        /// DST: 32 bits with EIME=1, else 8.
        destination: u32,
    },
    /// IM 1: through a posted interrupt descriptor; needs CAP.PI.
    Posted {
        /// URG: the processor is notified at once.
        urgent: bool,
        /// The descriptor, 64-byte aligned.
        descriptor: Gpa,
    },
}

impl SourceValidation {
    /// Whether a request of this source-id may use the entry.
    #[must_use]
    pub const fn accepts(self, requester: SourceId) -> bool {
        match self {
            Self::Any => true,
            Self::SourceId { source_id, function_mask } => {
                function_mask.matches(source_id, requester)
            }
            Self::Buses { first, last } => first <= requester.bus() && requester.bus() <= last,
            Self::Reserved => false,
        }
    }

    const fn from_bits(qw1: u64) -> Self {
        let source_id = SourceId((qw1 & 0xffff) as u16);
        match qw1 >> 18 & 3 {
            0 => Self::Any,
            1 => Self::SourceId {
                source_id,
                function_mask: FunctionMask::from_bits((qw1 >> 16 & 3) as u8),
            },
            2 => Self::Buses { first: source_id.bus(), last: source_id.devfn() },
            _ => Self::Reserved,
        }
    }

    const fn bits(self) -> u64 {
        match self {
            Self::Any => 0,
            Self::SourceId { source_id, function_mask } => {
                1 << 18 | (function_mask.bits() as u64) << 16 | source_id.0 as u64
            }
            Self::Buses { first, last } => 2 << 18 | (first as u64) << 8 | last as u64,
            Self::Reserved => 3 << 18,
        }
    }
}

impl InterruptRemappingEntry {
    /// Decodes an entry of a table whose IRTA.EIME is `extended_mode`.
    ///
    /// A reserved bit is [`FaultReason::InterruptEntryReserved`], as is IM without CAP.PI. Whether the requester may use a
    /// present entry is left to [`accepts`](Self::accepts).
    #[must_use]
    pub const fn decode(raw: [u64; 2], extended_mode: bool, caps: &Capabilities) -> Entry<Self> {
        let [qw0, qw1] = raw;
        let fpd = qw0 >> 1 & 1 == 1;
        if qw0 & 1 == 0 {
            return Entry::NotPresent { fpd };
        }
        let delivery = if qw0 >> 15 & 1 == 1 {
            decode_posted(qw0, qw1, caps)
        } else {
            decode_remapped(qw0, qw1, extended_mode)
        };
        match delivery {
            Ok(delivery) => Entry::Present(Self {
                fpd,
                vector: (qw0 >> 16 & 0xff) as u8,
                source: SourceValidation::from_bits(qw1),
                delivery,
            }),
            Err(field) => Entry::Malformed(Malformed {
                fpd,
                domain: None,
                reason: FaultReason::InterruptEntryReserved,
                field,
            }),
        }
    }

    /// The 16 bytes of this entry in a table whose IRTA.EIME is `extended_mode`.
    #[must_use]
    pub const fn encode(&self, extended_mode: bool) -> [u64; 2] {
        let qw0 = 1 | (self.fpd as u64) << 1 | (self.vector as u64) << 16;
        let qw1 = self.source.bits();
        match self.delivery {
            InterruptDelivery::Remapped {
                logical_destination,
                redirection_hint,
                level_triggered,
                delivery_mode,
                destination,
            } => {
                let destination = if extended_mode {
                    (destination as u64) << 32
                } else {
                    (destination as u64 & 0xff) << 40
                };
                let mode = (logical_destination as u64) << 2
                    | (redirection_hint as u64) << 3
                    | (level_triggered as u64) << 4
                    | (delivery_mode as u64 & 7) << 5;
                [qw0 | mode | destination, qw1]
            }
            InterruptDelivery::Posted { urgent, descriptor } => {
                let low = (descriptor.0 & 0xffff_ffc0) << 32;
                let high = descriptor.0 & 0xffff_ffff_0000_0000;
                [qw0 | (urgent as u64) << 14 | 1 << 15 | low, qw1 | high]
            }
        }
    }

    /// Whether a request of this source-id may use the entry.
    #[must_use]
    pub const fn accepts(&self, requester: SourceId) -> bool {
        self.source.accepts(requester)
    }
}

/// The remapped form, or the field that is reserved and set.
const fn decode_remapped(
    qw0: u64,
    qw1: u64,
    extended_mode: bool,
) -> Result<InterruptDelivery, &'static str> {
    if qw0 & 0x7000 != 0 {
        return Err("reserved 14:12");
    }
    if qw0 & 0xff00_0000 != 0 {
        return Err("reserved 31:24");
    }
    if !extended_mode && qw0 & 0xffff_00ff_0000_0000 != 0 {
        return Err("DST beyond 8 bits without EIME");
    }
    if qw1 >> 20 != 0 {
        return Err("reserved 127:84");
    }
    let destination = if extended_mode { qw0 >> 32 } else { qw0 >> 40 & 0xff };
    Ok(InterruptDelivery::Remapped {
        logical_destination: qw0 >> 2 & 1 == 1,
        redirection_hint: qw0 >> 3 & 1 == 1,
        level_triggered: qw0 >> 4 & 1 == 1,
        delivery_mode: (qw0 >> 5 & 7) as u8,
        destination: (destination & 0xffff_ffff) as u32,
    })
}

/// The posted form: URG 14, descriptor address 31:6 in qw0 63:38 and 63:32 in qw1 63:32.
const fn decode_posted(
    qw0: u64,
    qw1: u64,
    caps: &Capabilities,
) -> Result<InterruptDelivery, &'static str> {
    if !caps.posted_interrupts() {
        return Err("IM without CAP.PI");
    }
    if qw0 & 0x30fc != 0 {
        return Err("reserved 13:12 and 7:2");
    }
    if qw0 & 0x3f_ff00_0000 != 0 {
        return Err("reserved 37:24");
    }
    if qw1 & 0xfff0_0000 != 0 {
        return Err("reserved 95:84");
    }
    let descriptor = Gpa(qw1 & 0xffff_ffff_0000_0000 | qw0 >> 32 & 0xffff_ffc0);
    if descriptor.0 & caps.reserved_pointer_bits() != 0 {
        return Err("posted interrupt descriptor beyond the host address width");
    }
    Ok(InterruptDelivery::Posted { urgent: qw0 >> 14 & 1 == 1, descriptor })
}
