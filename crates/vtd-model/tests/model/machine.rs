//! A guest whose memory and invalidations a history is told of.

use vtd_model::{Access, Allowed, Answer, History, Moment, Request, Update};

use super::guest::{Guest, SOURCE, address, code};

pub(crate) struct Machine {
    pub(crate) guest: Guest,
    pub(crate) history: History,
}

impl Machine {
    pub(crate) fn new(guest: Guest) -> Self {
        let history = History::new(guest.unit.capabilities);
        Self { guest, history }
    }

    pub(crate) fn write(&mut self, address: u64, value: u64) {
        self.write_all(&[(address, value)]);
    }

    pub(crate) fn write_all(&mut self, values: &[(u64, u64)]) {
        let update = |&(address, new)| Update { address, old: self.guest.get(address), new };
        self.history.wrote(&values.iter().map(update).collect::<Vec<_>>());
        for &(address, value) in values {
            self.guest.set(address, value);
        }
    }

    pub(crate) fn judge(
        &self,
        pasid: Option<u32>,
        at: u64,
        since: Moment,
        mut seen: impl FnMut(&Answer) -> bool,
    ) -> Option<Allowed> {
        let request = Request { source_id: SOURCE, pasid, address: at, access: Access::READ };
        self.history
            .judge(&self.guest.unit, &self.guest.memory, &request, since, |answer, _| seen(answer))
            .ok()
    }

    /// Whether a read of 5000 may lead to an address.
    pub(crate) fn leads(&self, pasid: u32, to: u64) -> Option<Allowed> {
        let now = self.history.moment();
        self.judge(Some(pasid), 0x5000, now, |answer| address(*answer) == Some(to))
    }

    /// Whether it may fault.
    pub(crate) fn faults(&self, pasid: u32, with: u8) -> Option<Allowed> {
        let now = self.history.moment();
        self.judge(Some(pasid), 0x5000, now, |answer| code(*answer) == with)
    }
}
