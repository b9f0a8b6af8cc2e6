//! Operations that are several steps of one story, about the same page, entry or device: noise alone rarely tells it.

use super::operation::{Bits, Edit, RequestOperation};
use super::pools::{DOMAINS, MASKS, PASIDS, SOURCES, count, mostly, unusual};
use super::record::RECORD;

/// From this number on a record is one of these.
pub(super) const FIRST_CODE: u8 = 192;

/// Several steps of one story.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Composite {
    /// A page is used, something on the way to it changes and is invalidated, and it is used again.
    Reuse(Reuse),
    /// An interrupt is sent, its entry changes and is invalidated, and it is sent again.
    InterruptReuse(InterruptReuse),
    /// An emulated device uses a page, gets another source-id, which has no context entry, and uses it again.
    RenumberedReuse {
        /// What it asks for.
        request: RequestOperation,
        /// The device whose source-id it gets, and which is released.
        new: u8,
    },
    /// What a PASID is bound to is replaced, while the host fails.
    FailingRebind {
        /// The edit that replaces it, of a PASID table.
        edit: Edit,
        /// Which PASID it belongs to.
        pasid: u8,
        /// Whether the old domain is invalidated; else the new one.
        old: bool,
        /// The how manieth call fails, from 1 on; 0: all of them.
        call: u8,
    },
    /// The unit is reset while descriptors are under way.
    ResetUnderWay {
        /// Bit 0: invalidations of device TLBs, some of which are answered later; 1: an entry changes, so that calls of the host are due;
        /// 2: power-on; 3: the guest has all on again.
        bits: Bits,
        /// The PASID whose entry changes.
        pasid: u8,
        /// How much work is done before.
        budget: u8,
    },
}

/// A page is used, something on the way to it changes and is invalidated, and it is used again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Reuse {
    /// What is asked for, of a device that the unit translates for.
    pub request: RequestOperation,
    /// Which qword on the way changes, from the last one back.
    pub entry: u8,
    /// How it changes: an element of [`CHANGES`](super::pools::CHANGES).
    pub change: u8,
    /// How it is invalidated.
    pub scope: Scope,
    /// The address mask, or the function mask.
    pub mask: u8,
    /// The domain that is invalidated: 0 that of the entry, else one of the pool, from 1 on.
    pub domain: u8,
    /// The kind of the PASID-table or context entry, where there is none.
    pub kind: u8,
    /// The domain of that entry.
    pub own: u8,
    /// Bit 0: that entry is written even where there is one; 1: with accessed and dirty bits of the second stage; 2: by a large page; 3: the
    /// page is written when it is used again; 4: another page is used before, which in a race it is
    /// without; 5: the page is not used before.
    pub bits: Bits,
    /// After how many reads of the first use the change and the invalidation come, from 1 on; 0: when it is over.
    pub race: u8,
}

/// What is invalidated after a change.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Scope {
    /// Type 6: the page, with its address mask.
    PasidPages,
    /// Type 6: the PASID.
    PasidIotlb,
    /// Type 2: the page of the second stage, with its address mask.
    Pages,
    /// Type 2: the domain.
    Domain,
    /// Type 2: everything.
    Iotlb,
    /// Type 7: the PASID of the domain.
    Pasid,
    /// Type 7: the domain.
    PasidsOfDomain,
    /// Type 7: everything.
    Pasids,
    /// Type 1: the device.
    Context,
    /// Type 1: the domain.
    ContextsOfDomain,
    /// Type 1: everything.
    Contexts,
    /// SRTP.
    Root,
    /// Translation off and on.
    Translation,
    /// A page request for the page.
    PageRequest,
    /// Nothing is.
    Nothing,
}

impl Scope {
    /// All of them, and again those that are about pages.
    const ALL: [Self; 16] = [
        Self::PasidPages,
        Self::PasidIotlb,
        Self::Pages,
        Self::Domain,
        Self::Iotlb,
        Self::Pasid,
        Self::PasidsOfDomain,
        Self::Pasids,
        Self::Context,
        Self::ContextsOfDomain,
        Self::Contexts,
        Self::Root,
        Self::Translation,
        Self::PageRequest,
        Self::Nothing,
        Self::PasidPages,
    ];

    fn decode(byte: u8) -> Self {
        Self::ALL.get(usize::from(byte % 16)).copied().unwrap_or(Self::Nothing)
    }

    /// In legacy mode there are no PASIDs.
    #[must_use]
    pub const fn in_legacy_mode(self) -> Self {
        match self {
            Self::PasidPages => Self::Pages,
            Self::PasidIotlb => Self::Domain,
            Self::Pasid => Self::Context,
            Self::PasidsOfDomain => Self::ContextsOfDomain,
            Self::Pasids => Self::Contexts,
            other => other,
        }
    }

    /// Whether descriptors do it.
    #[must_use]
    pub const fn is_queued(self) -> bool {
        !matches!(self, Self::Root | Self::Translation | Self::PageRequest)
    }
}

/// An interrupt is sent, its entry changes and is invalidated, and it is sent again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct InterruptReuse {
    /// The device.
    pub source: u8,
    /// Which entry, of eight.
    pub index: u8,
    /// How the entry changes: an element of [`CHANGES`](super::pools::CHANGES); bit 4: in its upper qword.
    pub change: u8,
    /// 0 the entries around it, 1 those from it on, 2 those behind it, 3 all, 4 SIRTP, 5 interrupt remapping off and on, 6 nothing.
    pub scope: u8,
    /// IM.
    pub mask: u8,
}

impl Reuse {
    fn decode(record: [u8; RECORD]) -> Self {
        let [_, a, b, c, d, e, entry, change, scope, mask, domain, kind, own, bits, race, _] =
            record;
        let request = RequestOperation::decode([a, b, c, d, e]);
        Self {
            // Page requests are something else.
            request: RequestOperation { kind: request.kind % 3, ..request },
            entry: entry % 32,
            change: change % 16,
            scope: Scope::decode(scope),
            mask: mask % count(&MASKS),
            domain: if domain < 192 { 0 } else { 1 + domain % count(&DOMAINS) },
            kind: kind % 8,
            own: own % count(&DOMAINS),
            bits: Bits(bits & 0x3f),
            race: race.saturating_sub(159).min(32),
        }
    }

    fn encode(&self) -> [u8; 14] {
        let Self { request, entry, change, scope, mask, domain, kind, own, bits, race } = *self;
        let [a, b, c, d, e] = request.encode();
        let domain = if domain == 0 { 0 } else { 191 + domain };
        let race = if race == 0 { 0 } else { 159 + race };
        [a, b, c, d, e, entry, change, scope as u8, mask, domain, kind, own, bits.0, race]
    }
}

impl Composite {
    /// What a record is whose first byte is [`FIRST_CODE`] or more.
    pub(super) fn decode(record: [u8; RECORD]) -> Self {
        let [code, a, b, c, d, e, f, g, h, i, j, k, ..] = record;
        match code {
            236..=243 => {
                let request = RequestOperation::decode([a, b, c, d, e]);
                Self::RenumberedReuse {
                    request: RequestOperation { kind: 0, ..request },
                    new: f % count(&SOURCES),
                }
            }
            244..=249 => Self::FailingRebind {
                edit: Edit::decode([3, b, c, d, e, f, g, h], i),
                pasid: mostly(j, 3, count(&PASIDS)),
                old: a & 1 == 1,
                call: k % 4,
            },
            250..=255 => Self::ResetUnderWay {
                bits: Bits(a & 0xf),
                pasid: mostly(b, 3, count(&PASIDS)),
                budget: c % 16,
            },
            224..=235 => Self::InterruptReuse(InterruptReuse {
                source: a % count(&SOURCES),
                index: b % 8,
                change: c % 32,
                scope: d % 7,
                mask: e % 4,
            }),
            _ => Self::Reuse(Reuse::decode(record)),
        }
    }

    /// Its bytes, the first of which is its code.
    pub(super) fn encode(&self) -> [u8; RECORD] {
        let mut record = [0; RECORD];
        let mut put = |code: u8, bytes: &[u8]| {
            for (to, from) in record.iter_mut().zip([&[code], bytes].concat()) {
                *to = from;
            }
        };
        match *self {
            Self::Reuse(reuse) => put(FIRST_CODE, &reuse.encode()),
            Self::InterruptReuse(InterruptReuse { source, index, change, scope, mask }) => {
                put(224, &[source, index, change, scope, mask]);
            }
            Self::RenumberedReuse { request, new } => {
                let [a, b, c, d, e] = request.encode();
                put(236, &[a, b, c, d, e, new]);
            }
            Self::FailingRebind { edit, pasid, old, call } => {
                let ([_, b, c, d, e, f, g, h], i) = edit.encode();
                put(244, &[old.into(), b, c, d, e, f, g, h, i, unusual(pasid, 3), call]);
            }
            Self::ResetUnderWay { bits, pasid, budget } => {
                put(250, &[bits.0, unusual(pasid, 3), budget]);
            }
        }
        record
    }
}
