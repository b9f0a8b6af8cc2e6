//! A walk over a range of PASIDs, in steps of any budget, held against the model: it stops at each present entry, once, in order.

use arbitrary::{Arbitrary, Unstructured};
use vtd_model::Slot;
use vtd_spec::register::RootTableAddress;
use vtd_spec::{Gpa, SourceId};
use vtd_walk::{PasidRange, RangeStep, RootTable, read_context};

use crate::program::pools::{PASIDS, SOURCES, of};
use crate::table_image::TableImage;

/// A range, and how it is walked.
#[derive(Clone, Copy, Debug, Arbitrary)]
struct Asked {
    source: u8,
    start: u8,
    length: u16,
    /// Of each step.
    budget: u8,
    /// Begins a new walk after each pause.
    anew: bool,
}

/// Walks the range that these bytes begin with over the tables that follow.
///
/// # Panics
/// Where the walk stops at other entries than the model, or takes more steps than there are entries.
pub fn check(bytes: &[u8]) {
    let mut input = Unstructured::new(bytes);
    let (Ok(asked), Ok(image)) = (Asked::arbitrary(&mut input), TableImage::take(&mut input))
    else {
        return;
    };
    let source_id = of(&SOURCES, asked.source);
    let (memory, caps) = (&*image.memory, &image.capabilities);
    let Ok(context) = read_context(memory, caps, Gpa(image.root & !0xfff), SourceId(source_id))
    else {
        return;
    };
    let start = of(&PASIDS, asked.start);
    let end = (start + u32::from(asked.length)).min(1 << 20);

    let mut found = Vec::new();
    let mut walk = PasidRange::new(memory, caps, &context, start, end);
    // Each step gets on by one entry at least, or by the entries of a table.
    let mut steps = u32::from(asked.length) + 2;
    loop {
        let mut budget = u32::from(asked.budget).max(1);
        match walk.step(&mut budget) {
            RangeStep::Entry { pasid, place, raw } => {
                if memory.get(place.0 + 8) != raw[1] {
                    wrong("PASID range walk: an entry that is not in memory", &(pasid, place));
                }
                found.push((pasid.get(), raw[1] & 0xffff));
            }
            RangeStep::Pause if asked.anew => {
                walk = PasidRange::new(memory, caps, &context, walk.position(), end);
            }
            RangeStep::Pause => {}
            RangeStep::End => break,
        }
        steps = steps.saturating_sub(1);
        if steps == 0 {
            wrong("PASID range walk: it does not end", &(asked, walk.position()));
        }
    }

    // In other modes, scalable mode that the unit does not have included, no unit looks for PASIDs.
    let root = RootTable::new(RootTableAddress::from_bits(image.root), caps);
    if !matches!(root, RootTable::Scalable(_)) {
        return;
    }
    let model = image.model();
    let rid = context.rid_pasid.get();
    let mut expected: Vec<_> = model
        .desired(memory, source_id, start..end)
        .into_iter()
        .map(|desired| {
            let pasid = match desired.slot {
                Slot::Rid => rid,
                Slot::Pasid(pasid) => pasid,
            };
            (pasid, u64::from(desired.domain.unwrap_or(0)))
        })
        .collect();
    expected.sort_unstable();
    if !context.pasids {
        // Only the entry of requests without PASID is anyone's.
        found.retain(|(pasid, _)| *pasid == rid);
    }
    if found != expected {
        wrong("PASID range walk: other entries", &(asked, expected, found));
    }
}

#[allow(clippy::panic, reason = "an oracle reports by panicking")]
fn wrong(what: &str, details: &dyn std::fmt::Debug) -> ! {
    panic!("{what}: {details:x?}")
}
