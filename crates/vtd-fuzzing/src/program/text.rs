//! Operations as a person reads them.

use std::fmt;

use super::composite::{Composite, InterruptReuse, Reuse};
use super::operation::{Edit, Lifecycle, Operation, Queued, RequestOperation, Table, Target};
use super::pools::{CHANGES, DOMAINS, INDICES, MASKS, PAGES, PASIDS, SOURCES, of};

struct Source(u8);

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let source = of(&SOURCES, self.0);
        write!(f, "{:02x}:{:02x}.{:x}", source >> 8, source >> 3 & 0x1f, source & 7)
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Root(number) => write!(f, "root table {number}"),
            Self::Context(source) => write!(f, "context entry of {}", Source(*source)),
            Self::Directory(number) => write!(f, "PASID directory {number}"),
            Self::Pasids(number) => write!(f, "PASID table {number}"),
            Self::FirstStage(number) => write!(f, "first-stage table {number}"),
            Self::SecondStage(number) => write!(f, "second-stage table {number}"),
            Self::Interrupts => write!(f, "interrupt remapping table"),
        }
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Nothing => write!(f, "nothing"),
            Self::Table(table) => write!(f, "{table}"),
            Self::Data(number) => write!(f, "data page {number}"),
            Self::Nowhere => write!(f, "what is not memory"),
        }
    }
}

impl fmt::Display for Edit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { table, index, target, kind, domain, bits, turned } = self;
        let index = of(&INDICES, *index);
        let domain = of(&DOMAINS, *domain);
        let bits = bits.0;
        write!(
            f,
            "{table}, entry {index:x}: {target}, kind {kind}, domain {domain}, flags {bits:02x}"
        )?;
        match turned {
            255 => Ok(()),
            bit => write!(f, ", bit {bit} turned"),
        }
    }
}

impl fmt::Display for Queued {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { kind, granularity, domain, pasid, source, page, mask, bits, turned } = *self;
        let (domain, pasid) = (of(&DOMAINS, domain), of(&PASIDS, pasid));
        let (page, mask) = (of(&PAGES, page), of(&MASKS, mask));
        let (source, bits) = (Source(source), bits.0);
        write!(
            f,
            "type {kind:x}, granularity {granularity}, domain {domain}, PASID {pasid:x}, {source}, "
        )?;
        write!(f, "page {page:x}, mask {mask}, flags {bits:02x}")?;
        match turned {
            255 => Ok(()),
            bit => write!(f, ", bit {bit} turned"),
        }
    }
}

impl fmt::Display for RequestOperation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kinds = ["", "translation request: ", "translated: ", "page request: "];
        let kind = kinds.get(usize::from(self.kind)).copied().unwrap_or_default();
        write!(f, "{}: {kind}", Source(self.source))?;
        if self.bits.has(4) {
            write!(f, "PASID {:x}, ", of(&PASIDS, self.pasid))?;
        }
        let words = ["write", "execute", "privileged", "zero length"];
        for (bit, word) in (0..).zip(words) {
            if self.bits.has(bit) {
                write!(f, "{word}, ")?;
            }
        }
        write!(f, "page {:x}", of(&PAGES, self.page))
    }
}

impl fmt::Display for Lifecycle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Attach { source, kind } => {
                let kinds = ["emulated", "emulated, with a device TLB", "assigned"];
                let kind = kinds.get(usize::from(kind)).copied().unwrap_or_default();
                write!(f, "attach {}: {kind}", Source(source))
            }
            Self::Release { source } => write!(f, "release {}", Source(source)),
            Self::Renumber { source, new } => {
                write!(f, "renumber {} to {}", Source(source), Source(new))
            }
            Self::Retry { source } => write!(f, "retry {}", Source(source)),
            Self::Reset { power_on: true } => write!(f, "power-on reset"),
            Self::Reset { power_on: false } => write!(f, "warm reset"),
            Self::SaveAndRestore { fresh_host: true } => {
                write!(f, "save, and restore onto a fresh host")
            }
            Self::SaveAndRestore { fresh_host: false } => write!(f, "save and restore"),
            Self::Step { budget } => write!(f, "step {budget}"),
            Self::Run => write!(f, "run"),
        }
    }
}

impl fmt::Display for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Write { offset, size, value } => write!(f, "write {offset:x} {size} {value:x}"),
            Self::Store { place, value } => {
                write!(f, "store {:x} {value:x}", u32::from(*place) * 8)
            }
            Self::Edit(edit) => write!(f, "edit: {edit}"),
            Self::Queue(queued) => write!(f, "queue: {queued}"),
            Self::QueueRaw { low } => write!(f, "queue: {low:x}"),
            Self::Doorbell => write!(f, "queue: wait; write the tail"),
            Self::Tail => write!(f, "write the tail"),
            Self::Enable { bits } => write!(f, "enable, flags {:02x}", bits.0),
            Self::Translation { on } => write!(f, "translation {}", if *on { "on" } else { "off" }),
            Self::Request(request) => write!(f, "{request}"),
            Self::Interrupt { source, address, data } => {
                write!(f, "{}: interrupt {data:x} to fee{address:05x}", Source(*source))
            }
            Self::Trap { reads, place, value } => {
                let place = u32::from(*place) * 8;
                write!(f, "after {reads} reads: store {place:x} {value:x}")
            }
            Self::HostFails(failure) => match failure.call {
                0 => write!(f, "the host's calls fail"),
                call => write!(f, "call {call} of the host fails"),
            },
            Self::Lifecycle(lifecycle) => write!(f, "{lifecycle}"),
            Self::Composite(composite) => write!(f, "{composite}"),
            Self::Rebind { edit, pasid, old } => {
                let which = if *old { "old" } else { "new" };
                let pasid = of(&PASIDS, *pasid);
                write!(f, "rebind PASID {pasid:x}, invalidated by the {which} domain: {edit}")
            }
            Self::Remap { edit, page, pasid, domain, guarded } => {
                let (page, pasid) = (of(&PAGES, *page), of(&PASIDS, *pasid));
                let domain = of(&DOMAINS, *domain);
                let guarded = if *guarded { " under an open guard" } else { "" };
                write!(
                    f,
                    "remap page {page:x} of PASID {pasid:x}, domain {domain}{guarded}: {edit}"
                )
            }
        }
    }
}

impl fmt::Display for Composite {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Reuse(reuse) => write!(f, "{reuse}"),
            Self::InterruptReuse(reuse) => write!(f, "{reuse}"),
            Self::RenumberedReuse { request, new } => {
                write!(f, "{request}; renumber to {}; again", Source(new))
            }
            Self::FailingRebind { edit, pasid, old, call } => {
                match call {
                    0 => write!(f, "the host's calls fail; ")?,
                    call => write!(f, "call {call} of the host fails; ")?,
                }
                write!(f, "{}", Operation::Rebind { edit, pasid, old })
            }
            Self::ResetUnderWay { bits, pasid, budget } => {
                let pasid = of(&PASIDS, pasid);
                for (bit, word) in
                    (0..).zip(["device TLBs invalidated, ", "an entry turned over, "])
                {
                    if bits.has(bit) {
                        f.write_str(word)?;
                    }
                }
                let kind = if bits.has(2) { "power-on" } else { "warm" };
                let end = if bits.has(3) { ", all on again" } else { "" };
                write!(f, "PASID {pasid:x}, step {budget}, {kind} reset{end}")
            }
        }
    }
}

impl fmt::Display for Reuse {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { request, entry, change, scope, mask, domain, kind, own, bits, race } = *self;
        let change = of(&CHANGES, change);
        write!(f, "{request}; ")?;
        match race {
            0 => {}
            reads => write!(f, "after {reads} reads: ")?,
        }
        write!(f, "qword {entry} from the end changes by {change:x}; invalidate {scope:?}")?;
        match domain {
            0 => {}
            number => write!(f, " of domain {}", of(&DOMAINS, number - 1))?,
        }
        let (own, mask) = (of(&DOMAINS, own), of(&MASKS, mask));
        write!(f, ", mask {mask}; again (entry: kind {kind}, domain {own}, flags {:02x})", bits.0)
    }
}

impl fmt::Display for InterruptReuse {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { source, index, change, scope, mask } = *self;
        let scopes =
            ["around it", "from it on", "behind it", "all", "SIRTP", "IRE off and on", "none"];
        let scope = scopes.get(usize::from(scope)).copied().unwrap_or_default();
        let half = if change >> 4 == 1 { "upper" } else { "lower" };
        let change = of(&CHANGES, change);
        write!(
            f,
            "{}: interrupt of entry {index}; its {half} qword changes by {change:x}; ",
            Source(source)
        )?;
        write!(f, "invalidate entries, {scope}, mask {mask}; again")
    }
}
