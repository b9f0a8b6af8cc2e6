//! Entries that a guest changes and invalidates, as drivers do.

use vtd::spec::{Iova, Pasid, SourceId};
use vtd::{Access, Step};

use vtd_model::Invalidation;
use vtd_recording::recorder::Requester;

use super::world::{Kind, World};
use crate::program::pools::{PAGES, PASIDS, SOURCES, of};
use crate::program::{Edit, Table, write_entry};

/// Address and S of a device-TLB invalidation of everything.
const EVERY_PAGE: u64 = 0x7fff_ffff_ffff_f800;

impl World {
    /// Global invalidations of every cache and a wait; whether all of it was carried out.
    pub(super) fn invalidate_everything(&mut self) -> bool {
        self.enqueue([0x11, 0]);
        self.enqueue([0x37, 0]);
        self.mirror().awaited = Some(Invalidation::PasidGlobal);
        self.enqueue([0x12, 0]);
        self.doorbell();
        self.settle();
        self.has_status()
    }

    /// Changes a PASID-table entry and invalidates it by its old or its new domain, as drivers do.
    pub(super) fn rebind(&mut self, edit: &Edit, pasid: u8, old: bool) {
        let number = of(&PASIDS, pasid);
        let (table, index) = crate::program::table_of(number);
        let edit = Edit { table, index, ..*edit };
        let entry = edit.entry();
        let before = self.memory.get(entry.place + 8) & 0xffff;
        let present = self.memory.get(entry.place) & 1 == 1;
        write_entry(&self.memory, &edit);
        let after = self.memory.get(entry.place + 8) & 0xffff;
        let domain = if old && present { before } else { after };
        let held = self.held_domains(number);
        let pasid = u64::from(number) << 32;
        self.enqueue([0x17 | domain << 16 | pasid, 0]);
        let invalidation =
            domain.try_into().map(|domain| Invalidation::Pasid { domain, pasid: number });
        self.mirror().awaited = invalidation.ok();
        // Of half of them nothing is between the entry and the wait.
        if edit.kind & 1 == 0 {
            self.enqueue([0x26 | domain << 16 | pasid, 0]);
            self.enqueue([0x22 | domain << 16, 0]);
            self.invalidate_device_tlbs(number, EVERY_PAGE);
        }
        let failures = self.host.failed_calls();
        let desired = self.desired_of(number);
        self.doorbell();
        if self.settle_until_status() {
            // By the time that the status is there, and no later.
            self.expect_tables_of(number, domain, &held, failures, &desired);
        }
        self.settle();
        if self.has_status() {
            self.expect_tables_of(number, domain, &held, failures, &desired);
        }
    }

    pub(super) fn invalidate_device_tlbs(&mut self, pasid: u32, address: u64) {
        for source in SOURCES.map(u64::from) {
            self.enqueue([0x08 | source << 16 | u64::from(pasid) << 32, address]);
        }
    }

    /// Changes a page-table entry and invalidates a page.
    pub(super) fn remap(&mut self, edit: &Edit, page: u8, pasid: u8, domain: u8) {
        write_entry(&self.memory, edit);
        let address = of(&PAGES, page) << 12;
        let number = of(&PASIDS, pasid);
        let domain = u64::from(of(&crate::program::pools::DOMAINS, domain)) << 16;
        match edit.table {
            Table::FirstStage(_) => {
                self.enqueue([0x36 | domain | u64::from(number) << 32, address]);
            }
            _ => self.enqueue([0x32 | domain, address]),
        }
        self.invalidate_device_tlbs(number, address);
        self.doorbell();
        self.settle();
    }

    /// The same while a transfer through the page is under way, with invalidations of everything: until it is over no wait behind
    /// them is.
    pub(super) fn remap_guarded(&mut self, edit: &Edit, page: u8, pasid: u8) {
        self.settle();
        let Some(device) = self.device(0).filter(|device| device.kind != Kind::Assigned) else {
            return;
        };
        let Some(number) = Pasid::new(of(&PASIDS, pasid)) else { return };
        let Some(dma) = self.handle(device.id, Some(number)) else { return };
        let guard = dma.guard();
        let requester = Requester { source_id: SourceId(of(&SOURCES, 0)), pasid: Some(number) };
        let address = Iova(of(&PAGES, page) << 12);
        self.request_begins(|open| requester.dma(address, Access::READ, &Err(open)));
        let found = guard.translate(address, Access::READ);
        self.record(|recording| recording.end(requester.dma(address, Access::READ, &found)));
        let translated = found.is_ok();
        drop(self.eyes.take_faults());
        write_entry(&self.memory, edit);
        if !self.is_queue_running() || !translated {
            return;
        }
        self.enqueue([0x11, 0]);
        self.enqueue([0x12, 0]);
        self.doorbell();
        self.mirror().held = true;
        for _ in 0..16 {
            self.idle = self.unit.step(vtd::DEFAULT_BUDGET) == Step::Idle;
            self.answer();
        }
        self.mirror().held = false;
        drop(guard);
        self.settle();
    }
}
