//! A page is used, something on the way to it changes, and it is used again.

use vtd::spec::{Iova, PageRequest, Pasid, SourceId};
use vtd_model::{EntryKind, Path, Read};

use super::world::World;
use crate::program::pools::{CHANGES, DOMAINS, MASKS, PAGE_REQUESTS, PAGES, PASIDS, SOURCES, of};
use crate::program::{Bits, Edit, RequestOperation, Reuse, Scope, Table, Target, write_entry_at};
use crate::small_memory::Trap;

/// SSADE of a PASID-table entry.
const SECOND_STAGE_ACCESSED_DIRTY: u64 = 1 << 9;
/// A page of 2 MiB at address 0 that permits everything, of either stage.
const LARGE_PAGE: u64 = 0x87;
/// A wait that neither writes nor interrupts.
const NOTHING: [u64; 2] = [0x45, 0];
const TE: u32 = 1 << 31;
const SRTP: u32 = 1 << 30;

/// The way of a request, as the tables are now.
struct Way {
    reads: Vec<Read>,
}

impl Way {
    /// The first qword of the entry that a request is looked up by, which names its domain: of a PASID table, or in legacy mode of a
    /// context table.
    fn naming_entry(&self, legacy: bool) -> Option<Read> {
        let wanted = if legacy { EntryKind::Context } else { EntryKind::PasidEntry };
        self.reads.iter().copied().find(|read| read.kind == wanted)
    }

    /// The page of the second stage that led to the qword with this number, or the last one.
    fn second_stage_page(&self, number: usize, iova: u64) -> u64 {
        let first = |read: &&Read| matches!(read.kind, EntryKind::FirstStage { .. });
        match self.reads.iter().skip(number).find(first) {
            Some(above) => above.address >> 12,
            None => match self.reads.iter().rev().find(first) {
                Some(Read { value: Some(leaf), .. }) => leaf >> 12 & 0xff_ffff_ffff,
                _ => iova >> 12,
            },
        }
    }
}

impl World {
    fn asked(&self, request: &RequestOperation) -> vtd_model::Request {
        let pasid = of(&PASIDS, request.pasid);
        vtd_model::Request {
            source_id: of(&SOURCES, request.source),
            pasid: request.bits.has(4).then_some(pasid),
            address: of(&PAGES, request.page) << 12,
            access: vtd_model::Access { write: request.bits.has(0), ..vtd_model::Access::READ },
        }
    }

    fn way(&self, request: &RequestOperation) -> Way {
        let mut path = Path::new();
        let asked = self.asked(request);
        let _answer = self.mirror().registers.unit.translate(&*self.memory, &asked, &mut path);
        Way { reads: path.reads }
    }

    /// Writes the entry that a request is looked up by, where there is none or a new one is wanted, and drops what may be cached.
    pub(super) fn prepare(&mut self, reuse: &Reuse, request: &RequestOperation) {
        let Some(entry) = self.way(request).naming_entry(self.legacy) else { return };
        let mut written = false;
        if reuse.bits.has(0) || self.memory.get(entry.address) & 1 == 0 {
            written = true;
            self.write_naming_entry(reuse, entry.address);
        }
        if reuse.bits.has(2) {
            let last = self.way(request).reads.into_iter().rev().find(|read| {
                matches!(
                    read.kind,
                    EntryKind::FirstStage { level: 2 } | EntryKind::SecondStage { level: 2 }
                )
            });
            if let Some(above) = last {
                written = true;
                self.memory.put(above.address, LARGE_PAGE);
            }
        }
        if written {
            self.enqueue([0x11, 0]);
            self.enqueue([0x12, 0]);
            self.doorbell();
            self.settle();
        }
    }

    fn write_naming_entry(&self, reuse: &Reuse, place: u64) {
        let Reuse { kind, own: domain, .. } = *reuse;
        let edit = match self.legacy {
            false => Edit {
                kind,
                domain,
                target: Target::Table(Table::FirstStage(0)),
                ..Edit::usual(Table::Pasids(0))
            },
            true => Edit {
                // TT 3 is reserved.
                kind: kind % 3,
                domain,
                bits: Bits(0x7f),
                ..Edit::usual(Table::Context(0))
            },
        };
        let mut entry = edit.entry();
        if reuse.bits.has(1) && !self.legacy {
            entry.words[0] |= SECOND_STAGE_ACCESSED_DIRTY;
        }
        write_entry_at(&self.memory, place, &entry);
    }

    pub(super) fn reuse(&mut self, reuse: &Reuse) {
        self.get_going();
        let Some(source) = self.emulated(reuse.request.source) else { return };
        let request = RequestOperation { source, ..reuse.request };
        self.prepare(reuse, &request);
        let races = reuse.race > 0 && reuse.scope.is_queued();
        let warmed = reuse.bits.has(4) != races;
        if warmed {
            // What leads to the table is in caches then, and the page is not.
            self.request(&RequestOperation { page: request.page ^ 1, ..request });
        }
        if !races && !reuse.bits.has(5) {
            self.request(&request);
        }
        let way = self.way(&request);
        let back = usize::from(reuse.entry) % way.reads.len().max(1);
        let number = way.reads.len().saturating_sub(1 + back);
        let Some(read) = way.reads.get(number).copied() else { return };
        let descriptor = self.invalidation(reuse, &request, &way, number);
        let place = read.address;
        let value = self.memory.get(place) ^ of(&CHANGES, reuse.change);
        if races {
            // A walk in page tables alone is of few reads.
            let reads = u32::from(reuse.race - 1) % if warmed { 5 } else { 32 };
            self.memory.set_trap(Trap { reads, place, value });
            self.enqueue(descriptor.unwrap_or(NOTHING));
            self.tail_meanwhile = Some(self.tail);
            self.record(|recording| {
                recording
                    .note("a table and the queue's tail change in the midst of what comes next");
            });
            self.request(&request);
            self.tail_meanwhile = None;
            if self.memory.is_armed() {
                self.memory.disarm();
                self.memory.put(place, value);
            }
        } else {
            self.memory.put(place, value);
            self.invalidate(reuse.scope, &request, descriptor);
        }
        self.doorbell();
        self.settle();
        let again = if reuse.bits.has(3) { request.bits.0 | 1 } else { request.bits.0 };
        self.request(&RequestOperation { bits: Bits(again), ..request });
    }

    /// The first quadwords of the descriptor that a scope is, if it is one.
    fn invalidation(
        &self,
        reuse: &Reuse,
        request: &RequestOperation,
        way: &Way,
        number: usize,
    ) -> Option<[u64; 2]> {
        let named = way.naming_entry(self.legacy).map_or(0, |entry| {
            self.memory.get(entry.address + 8) >> if self.legacy { 8 } else { 0 } & 0xffff
        });
        let domain = match reuse.domain {
            0 => named,
            number => of(&DOMAINS, number - 1).into(),
        } << 16;
        let rid_pasid = || {
            let mut contexts = way.reads.iter().filter(|read| read.kind == EntryKind::Context);
            contexts.nth(1).and_then(|read| read.value).unwrap_or(0) & 0xf_ffff
        };
        let pasid = match request.bits.has(4) {
            true => of(&PASIDS, request.pasid).into(),
            false => rid_pasid(),
        } << 32;
        let iova = of(&PAGES, request.page) << 12;
        let page = way.second_stage_page(number + 1, iova) << 12;
        let mask = u64::from(of(&MASKS, reuse.mask));
        let source = u64::from(of(&SOURCES, request.source)) << 32;
        let functions = u64::from(reuse.mask & 3) << 48;
        let scope = if self.legacy { reuse.scope.in_legacy_mode() } else { reuse.scope };
        match scope {
            Scope::PasidPages => Some([0x36 | domain | pasid, iova | mask]),
            Scope::PasidIotlb => Some([0x26 | domain | pasid, 0]),
            Scope::Pages => Some([0x32 | domain, page | mask]),
            Scope::Domain => Some([0x22 | domain, 0]),
            Scope::Iotlb => Some([0x12, 0]),
            Scope::Pasid => Some([0x17 | domain | pasid, 0]),
            Scope::PasidsOfDomain => Some([0x07 | domain, 0]),
            Scope::Pasids => Some([0x37, 0]),
            Scope::Context => Some([0x31 | domain | source | functions, 0]),
            Scope::ContextsOfDomain => Some([0x21 | domain, 0]),
            Scope::Contexts => Some([0x11, 0]),
            Scope::Root | Scope::Translation | Scope::PageRequest | Scope::Nothing => None,
        }
    }

    fn invalidate(
        &mut self,
        scope: Scope,
        request: &RequestOperation,
        descriptor: Option<[u64; 2]>,
    ) {
        if let Some(words) = descriptor {
            self.enqueue(words);
        }
        let command = u64::from(self.command);
        match scope {
            Scope::Root => self.write(0x18, 4, command | u64::from(SRTP)),
            Scope::Translation => {
                self.write(0x18, 4, command & !u64::from(TE));
                self.write(0x18, 4, command);
            }
            Scope::PageRequest => self.request_page(request),
            _ => {}
        }
    }

    fn request_page(&mut self, request: &RequestOperation) {
        if self.mirror().registers.unit.page_requests.address == 0 {
            self.write(0xd0, 8, PAGE_REQUESTS);
        }
        let Some(device) = self.device(request.source) else { return };
        let asked = PageRequest {
            source_id: SourceId(of(&SOURCES, request.source)),
            pasid: Pasid::new(of(&PASIDS, request.pasid)).filter(|_| request.bits.has(4)),
            address: Iova(of(&PAGES, request.page) << 12),
            read: true,
            write: request.bits.has(0),
            execute: false,
            privileged: false,
            last_in_group: true,
            group_index: 5,
        };
        self.page_request(device, &asked);
    }
}
