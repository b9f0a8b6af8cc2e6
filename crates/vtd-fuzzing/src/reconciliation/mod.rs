//! Programs of table edits and invalidations, held against a five-line reference.

mod of_slots;

use std::sync::Arc;

use vtd_cache::{
    Call, DeviceKey, DeviceScope, Ledger, Next, Outcome, Quotas, Reconciliation, Scope, SlotScope,
    Tables, Wanted,
};
use vtd_spec::{
    Binding, Capabilities, DomainId, FirstStage, FirstStageLevels, Gpa, Pasid, Slot, SourceId,
};

use crate::small_memory::SmallMemory;
use of_slots::{OfSlots, slots};

/// The PASIDs that programs use: both sides of a table's end, the directory's end, and what lies between.
pub const PASIDS: [u32; 6] = [0, 1, 63, 64, 65, 16_383];
/// The domains that programs use.
pub const DOMAINS: [u16; 3] = [1, 2, 3];
/// How many devices there are.
pub const DEVICES: u8 = 3;

/// A program: operations on three devices, their tables and their bindings.
#[derive(Clone, Debug, Default)]
pub struct Program {
    /// What is done, in order.
    pub operations: Vec<Operation>,
}

/// One operation. Every number is taken modulo its pool.
#[derive(Clone, Copy, Debug)]
pub enum Operation {
    /// The guest writes a PASID-table entry.
    Entry {
        /// Whose.
        device: u8,
        /// Of which PASID.
        pasid: u8,
        /// What it says.
        kind: EntryKind,
        /// Its domain.
        domain: u8,
    },
    /// The guest writes a context entry.
    Context {
        /// Whose.
        device: u8,
        /// P.
        present: bool,
        /// PASIDE.
        pasids: bool,
        /// RID_PASID.
        rid_pasid: u8,
        /// PDTS: 1 covers all PASIDs of the pool, 0 half of them.
        large: bool,
    },
    /// PASID-cache invalidation by PASID.
    InvalidatePasid {
        /// The PASID.
        pasid: u8,
        /// The domain.
        domain: u8,
    },
    /// PASID-cache invalidation by domain.
    InvalidateDomain {
        /// The domain.
        domain: u8,
    },
    /// Global PASID-cache invalidation.
    InvalidateAll,
    /// Replay after a context-cache invalidation of a device.
    InvalidateDevice {
        /// Whose.
        device: u8,
    },
    /// The next call of the host fails.
    HostFails,
    /// Translation goes off and on again, with a reconciliation after each.
    TranslationOffAndOn,
}

/// What a PASID-table entry says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EntryKind {
    /// All zero.
    Absent,
    /// P=0 with stale fields.
    Stale,
    /// First-stage, one of two tables.
    FirstStage(bool),
    /// Pass-through.
    PassThrough,
    /// Second-stage, which this host does not take.
    SecondStage,
    /// First-stage with a reserved bit set.
    Malformed,
}

/// How much work is done at once, by turns: of a table nearly nothing, a part, and more than all.
const BUDGETS: [u32; 3] = [7, 61, 1009];

const ROOT: u64 = 0x1000;
const CONTEXTS: u64 = 0x2000;
const DIRECTORIES: u64 = 0x3000;
const TABLES: u64 = 0x6000;
/// The entries of each directory that lead to a table, in the order of their tables.
const DIRECTORY_INDICES: [u64; 3] = [0, 1, 255];

impl EntryKind {
    /// The first three quadwords; the others are 0.
    fn words(self, domain: u64) -> [u64; 3] {
        match self {
            Self::Absent => [0, 0, 0],
            Self::Stale => [0x40, domain, 0x50_0000],
            Self::FirstStage(second) => [0x41, domain, if second { 0x60_0000 } else { 0x50_0000 }],
            Self::PassThrough => [0x109, domain, 0],
            Self::SecondStage => [0x50_0089, domain, 0],
            Self::Malformed => [0x61, domain, 0x50_0000],
        }
    }

    /// What a host is to hold for it.
    fn binding(self) -> Option<Binding> {
        match self {
            Self::FirstStage(second) => Some(Binding::FirstStage(FirstStage {
                table: Gpa(if second { 0x60_0000 } else { 0x50_0000 }),
                levels: FirstStageLevels::Four,
                supervisor: false,
                write_protect: false,
                extended_accessed: false,
            })),
            Self::PassThrough => Some(Binding::PassThrough),
            Self::Absent | Self::Stale | Self::SecondStage | Self::Malformed => None,
        }
    }

    fn has_domain(self) -> bool {
        !matches!(self, Self::Absent | Self::Stale)
    }
}

/// What the program has written, kept beside the memory.
#[derive(Clone, Copy, Debug)]
struct Context {
    present: bool,
    pasids: bool,
    rid_pasid: u32,
    end: u32,
}

/// A host that holds bindings and says what is wrong with a call.
#[derive(Debug, Default)]
struct Holder {
    held: OfSlots<(Binding, DomainId)>,
    fails: bool,
    calls: u64,
}

thread_local! {
    /// Setting a memory back costs less than making one.
    static MEMORY: Arc<SmallMemory> = Arc::new(SmallMemory::default());
}

struct Machine {
    memory: Arc<SmallMemory>,
    caps: Capabilities,
    ledger: Ledger,
    host: Holder,
    /// What PASID-table entries say.
    entries: OfSlots<(EntryKind, u16)>,
    contexts: [Context; DEVICES as usize],
    /// RID_PASID when the slot of requests without PASID was last compared.
    rid_pasids: [Option<u32>; DEVICES as usize],
    /// How many reconciliations there have been.
    reconciliations: usize,
}

fn device_of(number: u8) -> (u8, DeviceKey, SourceId) {
    let device = number % DEVICES;
    (device, DeviceKey(device.into()), SourceId(0x18 + 8 * u16::from(device)))
}

/// A PASID table of a device: of the pool's PASIDs three are needed.
fn table_of(device: u8, table: u64) -> u64 {
    TABLES + (3 * u64::from(device) + table) * 0x1000
}

fn pasid_of(number: u8) -> u32 {
    PASIDS.get(usize::from(number) % PASIDS.len()).copied().unwrap_or(0)
}

fn domain_of(number: u8) -> u16 {
    DOMAINS.get(usize::from(number) % DOMAINS.len()).copied().unwrap_or(1)
}

/// The answer of an oracle that has found something: the test ends here.
#[allow(clippy::panic, reason = "an oracle reports by panicking")]
fn wrong(what: &str, details: &dyn std::fmt::Debug) -> ! {
    panic!("{what}: {details:?}")
}

/// The length of an operation in bytes.
pub const RECORD: usize = 6;

impl Operation {
    /// Every record is an operation: records are of fixed width, so a byte that changes changes one operation.
    fn from_record([code, device, pasid, domain, kind, flags]: [u8; RECORD]) -> Self {
        let flag = |bit: u8| flags >> bit & 1 == 1;
        match code % 16 {
            0..=5 => Self::Entry {
                device,
                pasid,
                domain,
                kind: match kind % 8 {
                    0 => EntryKind::Absent,
                    1 => EntryKind::Stale,
                    2 | 3 => EntryKind::FirstStage(false),
                    4 => EntryKind::FirstStage(true),
                    5 => EntryKind::PassThrough,
                    6 => EntryKind::SecondStage,
                    _ => EntryKind::Malformed,
                },
            },
            6 => Self::Context {
                device,
                present: !flag(0) || flag(3),
                pasids: !flag(1) || flag(4),
                large: !flag(2),
                rid_pasid: pasid,
            },
            7..=10 => Self::InvalidatePasid { pasid, domain },
            11 => Self::InvalidateDomain { domain },
            12 => Self::InvalidateAll,
            13 => Self::InvalidateDevice { device },
            14 => Self::HostFails,
            _ => Self::TranslationOffAndOn,
        }
    }
}

impl Program {
    /// The program that these bytes are. Every byte string is one; what is left of the last record does not count.
    #[must_use]
    pub fn from_bytes(bytes: &[u8]) -> Self {
        let (records, _) = bytes.as_chunks();
        Self { operations: records.iter().map(|record| Operation::from_record(*record)).collect() }
    }

    /// Runs the program; how many calls of the host succeeded.
    ///
    /// # Panics
    /// When the ledger does not hold what the reference says after a reconciliation, or a call changes nothing.
    pub fn run(&self) -> u64 {
        let mut machine = Machine::new();
        for operation in &self.operations {
            machine.operate(*operation);
        }
        machine.host.calls
    }
}

impl Machine {
    fn new() -> Self {
        let memory = MEMORY.with(Arc::clone);
        memory.clear();
        let caps = match Capabilities::new(0x81d2_008c_222f_0686, 0x3_c998_0000_0f46) {
            Ok(caps) => caps,
            Err(error) => wrong("capabilities", &error),
        };
        let mut ledger = Ledger::new(Quotas::default());
        for number in 0..DEVICES {
            let (_, key, source_id) = device_of(number);
            ledger.add_device(key, source_id, 1 << 20);
        }
        let context = Context { present: true, pasids: true, rid_pasid: 0, end: 1 << 14 };
        let mut machine = Self {
            memory,
            caps,
            ledger,
            host: Holder::default(),
            entries: OfSlots::default(),
            contexts: [context; DEVICES as usize],
            rid_pasids: [None; DEVICES as usize],
            reconciliations: 0,
        };
        machine.put(ROOT, CONTEXTS | 1);
        for number in 0..DEVICES {
            machine.write_context(number);
            for (table, index) in (0..).zip(DIRECTORY_INDICES) {
                let place = DIRECTORIES + u64::from(number) * 0x1000 + index * 8;
                machine.put(place, table_of(number, table) | 1);
            }
        }
        machine
    }

    fn put(&mut self, place: u64, value: u64) {
        self.memory.put(place, value);
    }

    fn context(&self, device: u8) -> Option<Context> {
        self.contexts.get(usize::from(device)).copied()
    }

    fn write_context(&mut self, number: u8) {
        let (device, _, source_id) = device_of(number);
        let Some(context) = self.context(device) else { return };
        let place = CONTEXTS + u64::from(source_id.devfn()) * 32;
        let size = if context.end == 1 << 14 { 1 << 9 } else { 0 };
        let low = DIRECTORIES + u64::from(device) * 0x1000
            | u64::from(context.present)
            | u64::from(context.pasids) << 3
            | size;
        self.put(place, low);
        self.put(place + 8, context.rid_pasid.into());
    }

    fn operate(&mut self, operation: Operation) {
        match operation {
            Operation::Entry { device, pasid, kind, domain } => {
                let (device, key, _) = device_of(device);
                let (pasid, domain) = (pasid_of(pasid), domain_of(domain));
                let slot = Slot::Pasid(Pasid::from_low_bits(pasid.into()));
                self.entries.set(key, slot, Some((kind, domain)));
                let of = |index: &u64| *index == u64::from(pasid >> 6);
                let table = (0..).zip(DIRECTORY_INDICES).find(|(_, index)| of(index));
                let table = table_of(device, table.map_or(0, |(table, _)| table));
                let place = table + u64::from(pasid & 0x3f) * 64;
                for (word, value) in (0..).zip(kind.words(domain.into())) {
                    self.put(place + 8 * word, value);
                }
            }
            Operation::Context { device, present, pasids, rid_pasid, large } => {
                let end = if large { 1 << 14 } else { 1 << 13 };
                let rid_pasid = pasid_of(rid_pasid);
                let place = usize::from(device % DEVICES);
                if let Some(context) = self.contexts.get_mut(place) {
                    *context = Context { present, pasids, rid_pasid, end };
                }
                self.write_context(device);
            }
            Operation::InvalidatePasid { pasid, domain } => {
                let pasid = pasid_of(pasid);
                let slots = SlotScope::Pasids(pasid..pasid + 1);
                let domain = Some(DomainId(domain_of(domain)));
                self.reconcile(&Scope { devices: DeviceScope::All, slots, domain }, true);
            }
            Operation::InvalidateDomain { domain } => {
                let domain = Some(DomainId(domain_of(domain)));
                let slots = SlotScope::All;
                self.reconcile(&Scope { devices: DeviceScope::All, slots, domain }, true);
            }
            Operation::InvalidateAll => self.reconcile(&Scope::everything(), true),
            Operation::InvalidateDevice { device } => {
                self.reconcile(&Scope::device(device_of(device).1), true);
            }
            Operation::HostFails => self.host.fails = true,
            Operation::TranslationOffAndOn => {
                self.reconcile(&Scope::everything(), false);
                self.reconcile(&Scope::everything(), true);
            }
        }
    }

    fn reconcile(&mut self, scope: &Scope, translation: bool) {
        let before = self.host.held;
        self.reconciliations += 1;
        let failures = self.run_to_the_end(scope, translation);
        for number in 0..DEVICES {
            let (device, key, _) = device_of(number);
            for slot in slots() {
                // A failed call leaves its slot to the next reconciliation.
                if failures.contains(&(key, slot)) {
                    continue;
                }
                let covered = self.check(device, key, slot, scope, translation, &before);
                // The ledger follows the domain of an entry, and RID_PASID, without a call.
                if let Some(domain) = covered {
                    let held = self.host.held.get(key, slot);
                    self.host.held.set(key, slot, held.map(|(binding, _)| (binding, domain)));
                    if slot == Slot::Rid {
                        self.follow_rid_pasid(device, translation);
                    }
                }
            }
        }
        for (key, slot, (binding, _)) in self.host.held.iter() {
            let ledger = self.ledger.slot(key, slot).and_then(|state| state.held);
            if ledger.map(|held| held.binding) != Some(binding) {
                wrong(
                    "the ledger does not know what the host holds",
                    &(key, slot, binding, ledger),
                );
            }
        }
    }

    fn follow_rid_pasid(&mut self, device: u8, translation: bool) {
        let context = self.context(device).filter(|context| translation && context.present);
        if let Some(place) = self.rid_pasids.get_mut(usize::from(device)) {
            *place = context.map(|context| context.rid_pasid);
        }
    }

    /// The reference: what the tables say of a slot, and whether the scope covers it; then one comparison. Where it covers it,
    /// the domain that the slot is held under from now on.
    fn check(
        &self,
        device: u8,
        key: DeviceKey,
        slot: Slot,
        scope: &Scope,
        translation: bool,
        before: &OfSlots<(Binding, DomainId)>,
    ) -> Option<DomainId> {
        let entry = self.entry(device, key, slot).filter(|_| translation);
        let wanted = match (translation, slot) {
            (false, Slot::Rid) => Some(Binding::PassThrough),
            _ => entry.and_then(|(kind, _)| kind.binding()),
        };
        let held = self.host.held.get(key, slot).map(|(binding, _)| binding);
        let was = before.get(key, slot);
        let in_domain = scope.domain.is_none_or(|domain| {
            was.is_some_and(|(_, held)| held == domain)
                || entry.is_some_and(|(kind, own)| kind.has_domain() && own == domain.0)
        });
        let covered = self.is_covered(device, key, slot, scope, was.is_some()) && in_domain;
        if covered && held != wanted {
            wrong("not what the tables say", &(device, slot, scope, wanted, held));
        }
        covered.then(|| DomainId(entry.map_or(0, |(_, domain)| domain)))
    }

    fn entry(&self, device: u8, key: DeviceKey, slot: Slot) -> Option<(EntryKind, u16)> {
        let context = self.context(device).filter(|context| context.present)?;
        let pasid = match slot {
            Slot::Rid => context.rid_pasid,
            Slot::Pasid(pasid) if context.pasids && pasid.get() != context.rid_pasid => pasid.get(),
            Slot::Pasid(_) => return None,
        };
        let slot = Slot::Pasid(Pasid::from_low_bits(pasid.into()));
        self.entries.get(key, slot).filter(|_| pasid < context.end)
    }

    fn is_covered(
        &self,
        device: u8,
        key: DeviceKey,
        slot: Slot,
        scope: &Scope,
        was_held: bool,
    ) -> bool {
        let (_, _, source_id) = device_of(device);
        let slot_is_covered = match (&scope.slots, slot) {
            (SlotScope::All, _) => true,
            // Of the PASID that requests without one have now, and of that which they had.
            (SlotScope::Pasids(range), Slot::Rid) => {
                let context = self.context(device).filter(|context| context.present);
                let now = context.map(|context| context.rid_pasid);
                let before = self.rid_pasids.get(usize::from(device)).copied().flatten();
                let names = [now, before.filter(|_| was_held)];
                names.into_iter().flatten().any(|pasid| range.contains(&pasid))
            }
            (SlotScope::Pasids(range), Slot::Pasid(pasid)) => range.contains(&pasid.get()),
        };
        slot_is_covered && scope.devices.contains(key, source_id)
    }

    /// Drives the ledger; the slots whose calls failed.
    fn run_to_the_end(&mut self, scope: &Scope, translation: bool) -> Vec<(DeviceKey, Slot)> {
        let mut failures = Vec::new();
        let mut cursor = Reconciliation::new(scope.clone());
        let mut follow_up = None;
        loop {
            let change = match follow_up.take() {
                Some(change) => change,
                None => match self.next_change(&mut cursor, translation) {
                    Next::Change(change) => change,
                    Next::More => continue,
                    Next::Done => return failures,
                },
            };
            let done = self.host.perform(change.device, change.slot, &change.call);
            let outcome = if done { Outcome::Done } else { Outcome::Failed { errno: None } };
            if !done {
                failures.push((change.device, change.slot));
            }
            follow_up = self.ledger.settle(&change, outcome);
        }
    }

    fn next_change(&mut self, cursor: &mut Reconciliation, translation: bool) -> Next {
        let mut budget =
            BUDGETS.get(self.reconciliations % BUDGETS.len()).copied().unwrap_or(u32::MAX);
        let tables = Tables { memory: &*self.memory, caps: &self.caps, root: Gpa(ROOT) };
        let wanted = if translation { Wanted::Scalable(tables) } else { Wanted::PassThrough };
        // A host that does not shadow.
        let takes =
            |_: DeviceKey, _: Slot, binding: &Binding| !matches!(binding, Binding::SecondStage(_));
        self.ledger.next_change(cursor, &wanted, &takes, &mut budget)
    }
}

impl Holder {
    /// Performs a call and objects to one that is illegal or changes nothing.
    fn perform(&mut self, device: DeviceKey, slot: Slot, call: &Call) -> bool {
        let held = self.held.get(device, slot).map(|(binding, _)| binding);
        let legal = match call {
            Call::Bind(_) => held.is_none(),
            Call::Replace(new) => held.is_some() && held != Some(new.binding),
            Call::Unbind => held.is_some(),
        };
        if !legal {
            wrong("a call that is illegal or changes nothing", &(device, slot, call, held));
        }
        if std::mem::take(&mut self.fails) {
            return false;
        }
        self.calls += 1;
        match call {
            Call::Bind(new) | Call::Replace(new) => {
                self.held.set(device, slot, Some((new.binding, new.domain)));
            }
            Call::Unbind => self.held.set(device, slot, None),
        }
        true
    }
}
