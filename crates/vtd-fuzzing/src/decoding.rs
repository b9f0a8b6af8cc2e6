//! Raw values to decode, and what has to hold of them: decoding never panics, and encoding is its inverse.

use arbitrary::Arbitrary;
use vtd_spec::descriptor::Descriptor;
use vtd_spec::table::{
    ContextEntry, FirstStageEntry, LegacyContextEntry, PasidDirectoryEntry, PasidEntry,
    SecondStageEntry,
};
use vtd_spec::{Capabilities, Entry, FaultRecord, PageRequest};

/// Eight quadwords, most of whose bits are zero more often than not, and the capabilities to decode them with.
#[derive(Clone, Copy, Debug, Arbitrary)]
pub struct RawEntry {
    words: [u64; 8],
    masks: [u64; 8],
    /// ECAP bits that decide on reserved fields; what does not fit together is left out.
    ecap: u64,
    wide: bool,
}

/// ECAP with queued invalidation, scalable mode, PASIDs and all stages.
const ECAP: u64 = 0x3_c998_0000_0f46;
/// ECAP bits that need nothing beside them, or only what is shown above: SC, MTS, ERS, SRS, EAFS, DIT, PDS, SSADS, RPRIVS.
const OPTIONAL: u64 =
    1 << 7 | 1 << 25 | 1 << 30 | 1 << 31 | 1 << 34 | 1 << 41 | 1 << 42 | 1 << 45 | 1 << 53;

/// What a property found to be wrong.
#[allow(clippy::panic, reason = "an oracle reports by panicking")]
fn wrong(what: &str, value: &dyn std::fmt::Debug) -> ! {
    panic!("{what}: {value:?}")
}

fn same<T: PartialEq + std::fmt::Debug>(what: &str, one: T, other: T) {
    if one != other {
        wrong(what, &(one, other));
    }
}

impl RawEntry {
    /// Decodes the words as everything that they could be; what is well formed is encoded and decoded again.
    ///
    /// # Panics
    /// Where the second decoding differs from the first.
    pub fn check(&self) {
        let caps = Capabilities::new(0x91d2_008c_222f_0e86, ECAP | self.ecap & OPTIONAL);
        let Ok(caps) = caps else { wrong("capabilities", &caps) };
        let mut words = self.words;
        for (word, mask) in words.iter_mut().zip(self.masks) {
            *word &= mask;
        }
        let [a, b, c, d, ..] = words;
        if let Ok(descriptor) = Descriptor::decode([a, b, c, d], self.wide, &caps) {
            let again = Descriptor::decode(descriptor.encode(), self.wide, &caps);
            same("descriptor", again, Ok(descriptor));
        }
        if let Entry::Present(entry) = PasidEntry::decode(&words, &caps) {
            let again = PasidEntry::decode(&entry.encode(), &caps);
            same("PASID-table entry", again, Entry::Present(entry));
        }
        if let Entry::Present(entry) = ContextEntry::decode([a, b, c, d], &caps) {
            same(
                "context entry",
                ContextEntry::decode(entry.encode(), &caps),
                Entry::Present(entry),
            );
        }
        if let Entry::Present(entry) = LegacyContextEntry::decode([a, b], &caps) {
            let again = LegacyContextEntry::decode(entry.encode(), &caps);
            same("legacy context entry", again, Entry::Present(entry));
        }
        if let Entry::Present(entry) = PasidDirectoryEntry::decode(a, &caps) {
            let again = PasidDirectoryEntry::decode(entry.encode(), &caps);
            same("PASID directory entry", again, Entry::Present(entry));
        }
        for level in 1..=5 {
            let entry = FirstStageEntry::decode(a, level, &caps);
            if let Some(raw) = entry.encode() {
                same("first-stage entry", FirstStageEntry::decode(raw, level, &caps), entry);
            }
            let entry = SecondStageEntry::decode(a, level, &caps);
            if let Some(raw) = entry.encode() {
                same("second-stage entry", SecondStageEntry::decode(raw, level, &caps), entry);
            }
        }
        if let Some(record) = FaultRecord::decode([a, b]) {
            same("fault record", FaultRecord::decode(record.encode()), Some(record));
        }
        if let Ok(request) = PageRequest::decode([a, b, c, d]) {
            same("page request", PageRequest::decode(request.encode()), Ok(request));
        }
    }
}
