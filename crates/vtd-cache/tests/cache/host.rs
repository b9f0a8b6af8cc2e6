//! A host that carries out what a ledger asks for, refuses what is illegal, and fails on request.

use std::collections::BTreeMap;

use vtd_cache::{
    Call, Change, DeviceKey, Held, Ledger, Next, Outcome, Quotas, Reconciliation, Scope, SlotScope,
    Wanted,
};
use vtd_spec::{Binding, DomainId, FirstStage, FirstStageLevels, Gpa, Pasid, Slot, SourceId};

/// What the host was asked to do, with the binding's own text (`pt 0`, `fs4 9000`).
pub(crate) type Log = (u32, Slot, String);

pub(crate) type Fails = Box<dyn FnMut(&Change) -> bool>;

#[derive(Default)]
pub(crate) struct Host {
    pub(crate) held: BTreeMap<(u32, Slot), Binding>,
    calls: Vec<Log>,
    /// Which calls fail.
    pub(crate) fails: Option<Fails>,
    /// A replace by the same is legal: the host's caches are stale.
    pub(crate) stale: bool,
    /// How often another budget was needed since the last time.
    pub(crate) pauses: u64,
}

pub(crate) const RID: Slot = Slot::Rid;

pub(crate) fn pasid(number: u32) -> Slot {
    Slot::Pasid(Pasid::new(number).unwrap())
}

/// A four-level first-stage table without flags.
pub(crate) fn first_stage(table: u64) -> Binding {
    Binding::FirstStage(FirstStage {
        table: Gpa(table),
        levels: FirstStageLevels::Four,
        supervisor: false,
        write_protect: false,
        extended_accessed: false,
    })
}

pub(crate) fn held(binding: Binding, domain: u16) -> Held {
    Held { binding, domain: DomainId(domain) }
}

/// A ledger with devices 0 to `count` - 1, of source-ids 0, 8, 10 …
pub(crate) fn ledger(count: u32) -> Ledger {
    ledger_with(count, Quotas::default())
}

pub(crate) fn ledger_with(count: u32, quotas: Quotas) -> Ledger {
    let mut ledger = Ledger::new(quotas);
    for device in 0..count {
        let source_id = SourceId(u16::try_from(device * 8).unwrap());
        ledger.add_device(DeviceKey(device), source_id, 1 << 20);
    }
    ledger
}

/// These PASIDs of every device, for this domain or any.
pub(crate) fn pasids(slots: std::ops::Range<u32>, domain: Option<u16>) -> Scope {
    Scope { slots: SlotScope::Pasids(slots), domain: domain.map(DomainId), ..Scope::everything() }
}

/// Every slot of this domain.
pub(crate) fn domain(domain: u16) -> Scope {
    Scope { domain: Some(DomainId(domain)), ..Scope::everything() }
}

impl Host {
    pub(crate) fn perform(&mut self, change: &Change) -> Outcome {
        let slot = (change.device.0, change.slot);
        let text = match (&change.call, self.held.get(&slot)) {
            (Call::Bind(new), None) => format!("bind {}", new.binding),
            (Call::Replace(new), Some(old)) => {
                assert!(self.stale || new.binding != *old, "a replace that changes nothing");
                format!("replace {}", new.binding)
            }
            (Call::Unbind, Some(_)) => "unbind".to_owned(),
            (call, old) => panic!("{call:?} of a slot that holds {old:?}"),
        };
        let fails = self.fails.as_mut().is_some_and(|fails| fails(change));
        self.calls.push((slot.0, slot.1, if fails { format!("{text} failed") } else { text }));
        if fails {
            return Outcome::Failed { errno: Some(16) };
        }
        match change.binding() {
            Some(binding) => self.held.insert(slot, *binding),
            None => self.held.remove(&slot),
        };
        Outcome::Done
    }

    /// A whole reconciliation, with budgets of this size.
    pub(crate) fn run_in_steps(
        &mut self,
        ledger: &mut Ledger,
        scope: &Scope,
        wanted: &Wanted<'_>,
        size: u32,
        takes: &dyn Fn(DeviceKey, Slot, &Binding) -> bool,
    ) -> Vec<Log> {
        self.run_to_the_end(ledger, Reconciliation::new(scope.clone()), wanted, size, takes)
    }

    /// A reconciliation from where it is, with budgets of this size.
    pub(crate) fn run_to_the_end(
        &mut self,
        ledger: &mut Ledger,
        mut cursor: Reconciliation,
        wanted: &Wanted<'_>,
        size: u32,
        takes: &dyn Fn(DeviceKey, Slot, &Binding) -> bool,
    ) -> Vec<Log> {
        let mut budget = size;
        self.pauses = 0;
        loop {
            let before = cursor.clone();
            match ledger.next_change(&mut cursor, wanted, takes, &mut budget) {
                Next::Change(change) => {
                    let mut next = Some(change);
                    while let Some(change) = next {
                        let outcome = self.perform(&change);
                        next = ledger.settle(&change, outcome);
                    }
                }
                Next::More => {
                    assert!(budget == 0);
                    self.pauses += 1;
                    budget = size;
                    assert!(self.pauses < 3_000_000, "{before:?} to {cursor:?} for ever");
                }
                Next::Done => break,
            }
        }
        for ((device, slot), binding) in &self.held {
            let state = ledger.slot(DeviceKey(*device), *slot).and_then(|state| state.held);
            assert_eq!(state.map(|held| held.binding), Some(*binding), "{device} {slot:?}");
        }
        assert_eq!(ledger.counts().held, self.held.len());
        std::mem::take(&mut self.calls)
    }

    pub(crate) fn run(
        &mut self,
        ledger: &mut Ledger,
        scope: &Scope,
        wanted: &Wanted<'_>,
    ) -> Vec<Log> {
        self.run_in_steps(ledger, scope, wanted, 1_000_000, &takes)
    }

    /// Fails calls whose text, with device and slot before it, begins so.
    pub(crate) fn fail(&mut self, beginnings: &'static [&'static str]) {
        self.fails = Some(Box::new(move |change| {
            let name = match change.call {
                Call::Bind(_) => "bind",
                Call::Replace(_) => "replace",
                Call::Unbind => "unbind",
            };
            beginnings.contains(&name)
        }));
    }
}

/// A host that does not shadow second-stage tables.
pub(crate) fn takes(_: DeviceKey, _: Slot, binding: &Binding) -> bool {
    !matches!(binding, Binding::SecondStage(_))
}

/// A log in short: `0 - bind pt 0`.
pub(crate) fn short(log: &[Log]) -> Vec<String> {
    log.iter().map(|(device, slot, text)| format!("{device} {slot} {text}")).collect()
}
