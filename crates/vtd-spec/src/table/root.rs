//! Root entries: 16 bytes for each bus.

use super::ADDRESS;
use crate::{Capabilities, Entry, FaultReason, Gpa, Malformed, SourceId};

/// Which half of a scalable-mode root entry serves a source-id: the quadword and its context table's first devfn.
///
/// The lower table holds devfn 00 to 7F, the upper one 80 to FF.
#[must_use]
pub const fn context_half(source_id: SourceId) -> u64 {
    (source_id.devfn() >> 7) as u64
}

/// A root entry of legacy mode (qw0; qw1 is reserved).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LegacyRootEntry {
    /// The context table: 256 entries of 16 bytes.
    pub context_table: Gpa,
}

impl LegacyRootEntry {
    /// Decodes the 16 bytes of an entry.
    #[must_use]
    pub fn decode(raw: [u64; 2], caps: &Capabilities) -> Entry<Self> {
        let [low, high] = raw;
        match decode_pointer(low, caps, FaultReason::LegacyRootReserved) {
            Entry::Present(_) if high != 0 => {
                malformed(FaultReason::LegacyRootReserved, "reserved 127:64")
            }
            entry => entry.map(|context_table| Self { context_table }),
        }
    }

    /// The 16 bytes of this entry.
    #[must_use]
    pub const fn encode(&self) -> [u64; 2] {
        [self.context_table.0 & ADDRESS | 1, 0]
    }
}

/// One quadword of a scalable-mode root entry: LP or UP, and a context table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RootHalf {
    /// The context table: 128 entries of 32 bytes.
    pub context_table: Gpa,
}

impl RootHalf {
    /// Decodes one quadword of an entry. The other half has no say.
    #[must_use]
    pub fn decode(raw: u64, caps: &Capabilities) -> Entry<Self> {
        decode_pointer(raw, caps, FaultReason::RootReserved)
            .map(|context_table| Self { context_table })
    }

    /// The quadword.
    #[must_use]
    pub const fn encode(&self) -> u64 {
        self.context_table.0 & ADDRESS | 1
    }
}

fn decode_pointer(raw: u64, caps: &Capabilities, reason: FaultReason) -> Entry<Gpa> {
    if raw & 1 == 0 {
        return Entry::NotPresent { fpd: false };
    }
    if raw & 0xffe != 0 {
        return malformed(reason, "reserved 11:1");
    }
    if raw & caps.reserved_pointer_bits() != 0 {
        return malformed(reason, "context table beyond the host address width");
    }
    Entry::Present(Gpa(raw & ADDRESS))
}

const fn malformed<T>(reason: FaultReason, field: &'static str) -> Entry<T> {
    Entry::Malformed(Malformed { fpd: false, domain: None, reason, field })
}
