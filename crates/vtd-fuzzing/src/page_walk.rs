//! A walk from the root to the page, held against the model: the answer, and the accessed and dirty bits that it sets.

use arbitrary::{Arbitrary, Unstructured};
use vtd_model::{Answer, Path};
use vtd_spec::register::RootTableAddress;
use vtd_spec::{Gpa, Iova, Pasid, SourceId};
use vtd_walk::{
    Access, Fault, RootTable, TableUpdates, Translated, read_context, read_legacy_context,
    read_pasid, translate, translate_legacy,
};

use crate::program::pools::{PAGES, PASIDS, SOURCES, of};
use crate::table_image::TableImage;

/// A request.
#[derive(Clone, Copy, Debug, Arbitrary)]
struct Asked {
    source: u8,
    pasid: Option<u8>,
    page: u8,
    /// 0 and 1: of the pool of pages as it is; else these bits of the page's number are turned over.
    turned: u8,
    write: bool,
    execute: bool,
    privileged: bool,
    zero_length: bool,
}

/// Walks the tables that these bytes are for the request that they begin with.
///
/// # Panics
/// Where the walk finds or writes something else than the model.
pub fn check(bytes: &[u8]) {
    let mut input = Unstructured::new(bytes);
    let (Ok(asked), Ok(image)) = (Asked::arbitrary(&mut input), TableImage::take(&mut input))
    else {
        return;
    };
    let page = of(&PAGES, asked.page) ^ if asked.turned < 2 { 0 } else { 1 << (asked.turned % 52) };
    let is_legacy = image.root & 0x400 == 0;
    let request = vtd_model::Request {
        source_id: of(&SOURCES, asked.source),
        pasid: asked.pasid.filter(|_| !is_legacy).map(|pasid| of(&PASIDS, pasid)),
        address: page << 12 | 0x123,
        access: vtd_model::Access {
            write: asked.write,
            execute: asked.execute && !asked.write,
            privileged: asked.privileged && asked.pasid.is_some() && !is_legacy,
            zero_length: asked.zero_length && !asked.write,
        },
    };
    if request.address >> 20 == 0xfee && request.pasid.is_none() {
        // No walk is made.
        return;
    }
    let model = image.model();
    let mut path = Path::new();
    let expected = model.translate(&*image.memory, &request, &mut path);
    let found = walk(&image, &request);
    let mut changes = Vec::new();
    image.memory.take_changes(&mut changes);
    let agree = match (&expected, &found) {
        (Answer::Memory(expected), Ok(found)) => {
            expected.address == found.address.0
                && expected.read == found.granted.read
                && expected.write == found.granted.write
        }
        (Answer::Fault(expected), Err(found)) => {
            expected.code == found.reason.code() && expected.recorded == found.is_recorded()
        }
        _ => false,
    };
    if !agree {
        wrong("page walk: another answer", &(request, expected, found));
    }
    // Each place once, and bits that are there already not at all. Which of two bits is set first is not seen.
    let mut set: Vec<_> = changes.iter().map(|change| (change.place, change.value)).collect();
    let mut should: Vec<_> =
        path.updates.iter().map(|update| (update.address, update.new)).collect();
    for list in [&mut set, &mut should] {
        list.sort_by_key(|(place, _)| *place);
        // The last of several in one place.
        list.reverse();
        list.dedup_by_key(|(place, _)| *place);
    }
    if set != should {
        wrong("page walk: other accessed and dirty bits", &(request, should, set));
    }
}

fn walk(image: &TableImage, request: &vtd_model::Request) -> Result<Translated, Fault> {
    let memory = &*image.memory;
    let caps = &image.capabilities;
    let source_id = SourceId(request.source_id);
    let asked = request.access;
    let mut access = if asked.write { Access::WRITE } else { Access::READ };
    access.execute = asked.execute;
    access.privileged = asked.privileged;
    access.zero_length = asked.zero_length;
    let access = access.under(caps);
    let iova = Iova(request.address);
    match RootTable::new(RootTableAddress::from_bits(image.root), caps) {
        RootTable::Legacy(root) => {
            let context = read_legacy_context(memory, caps, root, source_id)?;
            translate_legacy(memory, caps, &context, iova, access, TableUpdates::Made)
                .map_err(|reason| Fault { reason, fpd: context.fpd, field: "" })
        }
        RootTable::Scalable(root) => {
            let context = read_context(memory, caps, root, source_id)?;
            let (pasid, access) = match request.pasid.and_then(Pasid::new) {
                Some(_) if !context.pasids => {
                    let reason = vtd_spec::FaultReason::PasidDisabled;
                    return Err(Fault { reason, fpd: context.fpd, field: "" });
                }
                Some(pasid) => (pasid, access),
                None if context.rid_privileged => (context.rid_pasid, access.with_privilege()),
                None => (context.rid_pasid, access.without_privilege()),
            };
            let found = read_pasid(memory, caps, &context, pasid)?;
            translate(memory, caps, &found.entry, iova, access, TableUpdates::Made)
                .map_err(|reason| Fault { reason, fpd: found.fpd, field: "" })
        }
        RootTable::Abort | RootTable::Unusable => {
            Err(Fault::new(vtd_spec::FaultReason::RootTablePointer))
        }
    }
    .inspect(|found| debug_assert!(found.page.0 <= found.address.0, "{}", Gpa(found.page.0)))
}

#[allow(clippy::panic, reason = "an oracle reports by panicking")]
fn wrong(what: &str, details: &dyn std::fmt::Debug) -> ! {
    panic!("{what}: {details:x?}")
}
