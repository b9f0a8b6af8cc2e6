//! One operation of a program: eight bytes, all of which are one.

/// What a guest or a device does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Operation {
    /// A page-table entry gets another value.
    Page { second: bool, table: u8, index: u8, kind: u8, flags: u16 },
    /// A PASID-table entry is written as a whole.
    PasidEntry { device: u8, pasid: u8, kind: u8, domain: u8, tables: u8, flags: u8 },
    /// A context entry.
    Context { device: u8, kind: u8, flags: u8, table: u8 },
    /// A root or directory entry.
    Above { directory: bool, index: u8, kind: u8 },
    /// An invalidation descriptor, with a wait behind it.
    Descriptor { kind: u8, granularity: u8, domain: u8, pasid: u8, device: u8, am: u8, address: u8 },
    /// A descriptor of any bits.
    Raw { kind: u8, bit: u8, second_bit: u8 },
    /// An untranslated request.
    Dma { device: u8, pasid: u8, access: u8, indexes: [u8; 4] },
    /// A translation request.
    Translate { device: u8, pasid: u8, access: u8, indexes: [u8; 4] },
    /// A page is read, moved, invalidated by a range around it, and asked for again.
    Move { pasid: u8, index: u8, am: u8, target: u8, access: u8 },
    /// A translated request.
    Translated { device: u8, pasid: u8, address: u8 },
    /// A page request.
    PageRequest { device: u8, pasid: u8, bits: u8, indexes: [u8; 4] },
    /// An interrupt request.
    Interrupt { device: u8, handle: u8, data: u8, flags: u8 },
    /// An interrupt remapping entry.
    InterruptEntry { index: u8, kind: u8, flags: u8, source: u8 },
    /// GCMD, with another root table or not.
    Command { kind: u8, root: u8 },
    /// CCMD or IOTLB.
    Registers { iotlb: bool, granularity: u8, domain: u8, device: u8, am: u8, address: u8 },
}

impl Operation {
    pub(super) fn decode(bytes: &[u8]) -> Self {
        let mut raw = [0; 8];
        for (place, byte) in raw.iter_mut().zip(bytes) {
            *place = *byte;
        }
        let [op, a, b, c, d, e, f, g] = raw;
        match op % 32 {
            0..=5 => Self::Page {
                second: op & 1 == 1,
                table: a,
                index: b,
                kind: c,
                flags: u16::from_le_bytes([d, e]),
            },
            6..=8 => {
                Self::PasidEntry { device: a, pasid: b, kind: c, domain: d, tables: e, flags: f }
            }
            9 => Self::Context { device: a, kind: b, flags: c, table: d },
            10 => Self::Above { directory: a & 1 == 1, index: b, kind: c },
            11..=15 => Self::Descriptor {
                kind: a,
                granularity: b,
                domain: c,
                pasid: d,
                device: e,
                am: f,
                address: g,
            },
            16 => Self::Raw { kind: a, bit: b, second_bit: c },
            17..=22 => Self::Dma { device: a, pasid: b, access: c, indexes: [d, e, f, g] },
            23..=24 => Self::Translate { device: a, pasid: b, access: c, indexes: [d, e, f, g] },
            25 => Self::Translated { device: a, pasid: b, address: c },
            26 => Self::PageRequest { device: a, pasid: b, bits: c, indexes: [d, e, f, g] },
            27 => Self::Move { pasid: a, index: b, am: c, target: d, access: e },
            28 => Self::Interrupt { device: a, handle: b, data: c, flags: d },
            29 => Self::InterruptEntry { index: a, kind: b, flags: c, source: d },
            30 => Self::Command { kind: a, root: b },
            _ => Self::Registers {
                iotlb: a & 1 == 1,
                granularity: b,
                domain: c,
                device: d,
                am: e,
                address: f,
            },
        }
    }
}
