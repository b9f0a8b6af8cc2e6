//! Operations of several steps.

use super::world::{Kind, World};
use crate::program::pools::{CHANGES, INTERRUPTS, PASIDS, SOURCES, of};
use crate::program::{
    Bits, Composite, Edit, InterruptReuse, Lifecycle, RequestOperation, Reuse, Scope, Table,
    Target, table_of, write_entry,
};

const TE: u32 = 1 << 31;
const IRE: u32 = 1 << 25;
const SIRTP: u32 = 1 << 24;

impl World {
    pub(super) fn perform_composite(&mut self, composite: &Composite) {
        match composite {
            Composite::Reuse(reuse) => self.reuse(reuse),
            Composite::InterruptReuse(reuse) => self.reuse_interrupt(reuse),
            Composite::RenumberedReuse { request, new } => self.reuse_renumbered(request, *new),
            Composite::FailingRebind { edit, pasid, old, call } => {
                self.rebind_failing(edit, *pasid, *old, *call);
            }
            Composite::ResetUnderWay { bits, pasid, budget } => {
                self.reset_under_way(*bits, *pasid, *budget);
            }
        }
    }

    /// A device for which the unit itself translates: this one or the next.
    pub(super) fn emulated(&self, source: u8) -> Option<u8> {
        let mut sources = [source, (source + 1) % 3, (source + 2) % 3].into_iter();
        sources
            .find(|source| self.device(*source).is_some_and(|device| device.kind != Kind::Assigned))
    }

    /// A queue that is off or has stopped is set up anew, with all else.
    pub(super) fn get_going(&mut self) {
        self.settle();
        if !self.is_queue_running() || self.command & TE == 0 {
            self.write(0x34, 4, 0x7f);
            let scalable = self.mirror().registers.unit.capabilities.ecap >> 43 & 1 == 1;
            self.enable(Bits((self.legacy || !scalable).into()));
        }
    }

    fn reuse_interrupt(&mut self, reuse: &InterruptReuse) {
        let InterruptReuse { source, index, change, scope, mask } = *reuse;
        self.get_going();
        if self.command & IRE == 0 {
            let command = u64::from(self.command);
            self.write(0xb8, 8, INTERRUPTS | 2);
            self.write(0x18, 4, command | u64::from(SIRTP));
            self.write(0x18, 4, command | u64::from(IRE));
        }
        let place = INTERRUPTS + 16 * u64::from(index);
        if self.memory.get(place) & 1 == 0 {
            // A fixed interrupt of vector 20 to one processor, from any device.
            self.memory.put(place + 8, 0);
            self.memory.put(place, 1 | 0x20 << 16 | 1 << 40);
        }
        let source_id = of(&SOURCES, source);
        let address = 0xfee0_0010 | u32::from(index) << 5;
        self.interrupt(source_id, address, 0);
        let changed = place + 8 * u64::from(change >> 4);
        self.memory.put(changed, self.memory.get(changed) ^ of(&CHANGES, change));
        let around = index & !((1 << mask) - 1);
        let first = u64::from(of(&[around, index, index.wrapping_add(1) % 8], scope)) << 32;
        let command = u64::from(self.command);
        match scope {
            0..=2 => self.enqueue([0x14 | u64::from(mask) << 27 | first, 0]),
            3 => self.enqueue([0x04, 0]),
            4 => self.write(0x18, 4, command | u64::from(SIRTP)),
            5 => {
                self.write(0x18, 4, command & !u64::from(IRE));
                self.write(0x18, 4, command);
            }
            _ => {}
        }
        self.doorbell();
        self.settle();
        self.interrupt(source_id, address, 0);
    }

    fn reuse_renumbered(&mut self, request: &RequestOperation, new: u8) {
        self.get_going();
        let Some(source) = self.emulated(request.source) else { return };
        let new = if new == source { (source + 1) % 3 } else { new };
        if self.device(new).is_some() {
            self.live(Lifecycle::Release { source: new });
        }
        let request = RequestOperation { source, ..*request };
        let usual = Reuse {
            request,
            entry: 0,
            change: 0,
            scope: Scope::Nothing,
            mask: 0,
            domain: 0,
            kind: 0,
            own: 1,
            bits: Bits(0),
            race: 0,
        };
        // P is clear.
        let bits = Bits(if self.legacy { 0x7e } else { 0xfe });
        write_entry(&self.memory, &Edit { bits, ..Edit::usual(Table::Context(new)) });
        self.enqueue([0x11, 0]);
        self.enqueue([0x12, 0]);
        self.doorbell();
        self.settle();
        self.prepare(&usual, &request);
        self.request(&request);
        self.live(Lifecycle::Renumber { source, new });
        self.request(&RequestOperation { source: new, ..request });
    }

    fn rebind_failing(&mut self, edit: &Edit, pasid: u8, old: bool, call: u8) {
        self.get_going();
        let nothing_held = self.held_domains(of(&PASIDS, pasid)).iter().all(Option::is_none);
        if nothing_held {
            let first = Target::Table(Table::FirstStage(0));
            self.rebind(&Edit { target: first, ..Edit::usual(Table::Pasids(0)) }, pasid, false);
        }
        match call {
            0 => self.host.fail_calls(|_| true),
            call => self.host.fail_nth(call.into()),
        }
        self.rebind(edit, pasid, old);
    }

    fn reset_under_way(&mut self, bits: Bits, pasid: u8, budget: u8) {
        self.get_going();
        if bits.has(1) {
            let (table, index) = table_of(of(&PASIDS, pasid));
            let place = Edit { index, ..Edit::usual(table) }.entry().place;
            self.memory.put(place, self.memory.get(place) ^ 1);
            self.enqueue([if self.legacy { 0x11 } else { 0x37 }, 0]);
        }
        if bits.has(0) {
            // Of two each, so that one of them is answered later.
            for source in SOURCES.map(u64::from).into_iter().cycle().take(2 * SOURCES.len()) {
                self.enqueue([0x03 | source << 32, 0x7fff_ffff_ffff_f001]);
            }
        }
        self.doorbell();
        if budget > 0 {
            self.live(Lifecycle::Step { budget });
        }
        self.reset(bits.has(2));
        if bits.has(3) {
            self.get_going();
        }
    }
}
