//! Saved states: any text is refused or restored, and what is restored is saved and restored as the same.

use std::sync::{Arc, OnceLock};

use serde_json::Value;
use vtd::host::HostDevice;
use vtd::spec::Capabilities;
use vtd::{RemappingUnit, RestoreOnto, Step, UnitConfig, UnitState};

use crate::program::{
    Bits, Edit, HostFailure, Lifecycle, Operation, Queued, RequestOperation, Table, Target,
};
use crate::small_memory::SmallMemory;
use crate::whole_unit::{Legal, Setup, saved_behind};

/// How many bytes are a record.
pub const RECORD: usize = 4;

/// What a number of a state is replaced by.
const NUMBERS: [u64; 12] =
    [0, 1, 2, 7, 63, 0x18, 0xff, 0x1000, 0xffff, 0x10_0000, u32::MAX as u64, u64::MAX];

thread_local! {
    static MEMORY: Arc<SmallMemory> = Arc::new(SmallMemory::default());
}

/// A unit as it may be saved, and the memory of its guest.
struct Good {
    state: Value,
    memory: Vec<(u64, u64)>,
}

/// Restores the state that these bytes are: text where they begin with a brace, else records: which good state, then changes of it.
///
/// # Panics
/// Where a state that was restored is saved as one that is refused or that is saved as another, the unit does not come to rest, or
/// it makes an illegal call on a host that begins with nothing.
pub fn check(bytes: &[u8]) {
    let good = good();
    let Some(which) = bytes.first() else { return };
    let Some(good) = good.get(usize::from(*which) % good.len().max(1)) else { return };
    let state = match which {
        b'{' => serde_json::from_slice(bytes).ok(),
        _ => changed(&good.state, bytes.get(RECORD..).unwrap_or_default()),
    };
    let Some(state) = state else { return };
    for onto in [RestoreOnto::SameHost, RestoreOnto::FreshHost] {
        MEMORY.with(|memory| memory.clear_to(&good.memory));
        restore(&state, onto);
    }
}

fn restore(state: &UnitState, onto: RestoreOnto) {
    let (config, host) = config();
    let Ok(unit) = RemappingUnit::restore(config.clone(), state, onto) else { return };
    // A restore onto a fresh host is itself something that is under way, and part of what is saved.
    let saved = unit.save().unwrap_or_else(|error| wrong("state restore: not saved", &error));
    let again = RemappingUnit::restore(config, &saved, RestoreOnto::SameHost)
        .unwrap_or_else(|error| wrong("state restore: what was saved is refused", &error));
    let twice = again.save().unwrap_or_else(|error| wrong("state restore: not saved", &error));
    if saved != twice {
        wrong("state restore: saved as another", &(saved, twice));
    }
    come_to_rest(&unit);
    // What the ledger has is what a host has been given, whatever the state says. A host that holds something else is the VMM's
    // doing.
    if onto == RestoreOnto::FreshHost
        && let Some(call) = host.illegal()
    {
        wrong("state restore: an illegal call", &call);
    }
}

/// What is under way ends, or waits for a host or a device.
fn come_to_rest(unit: &RemappingUnit) {
    for _ in 0..10_000 {
        match unit.step(vtd::DEFAULT_BUDGET) {
            Step::Idle | Step::Waiting => return,
            Step::More => while unit.take_effect().is_some() {},
        }
    }
    wrong("state restore: the unit does not come to rest", &unit.counts());
}

/// A good state with some of its leaves replaced, added to or taken away.
fn changed(good: &Value, bytes: &[u8]) -> Option<UnitState> {
    let mut state = good.clone();
    let (changes, _) = bytes.as_chunks::<RECORD>();
    for [low, high, how, what] in changes.iter().take(16) {
        let count = leaves(&state);
        let mut left = usize::from(u16::from_le_bytes([*low, *high])) % count.max(1);
        visit(&mut state, &mut left, &mut |value| replace(value, *how, *what));
    }
    serde_json::from_value(state).ok()
}

/// How many leaves there are: arrays count, and so do their elements.
fn leaves(value: &Value) -> usize {
    match value {
        Value::Array(values) => 1 + values.iter().map(leaves).sum::<usize>(),
        Value::Object(fields) => fields.values().map(leaves).sum(),
        _ => 1,
    }
}

fn visit(value: &mut Value, left: &mut usize, change: &mut dyn FnMut(&mut Value)) -> bool {
    if !matches!(value, Value::Object(_)) {
        if *left == 0 {
            change(value);
            return true;
        }
        *left -= 1;
    }
    match value {
        Value::Array(values) => values.iter_mut().any(|value| visit(value, left, change)),
        Value::Object(fields) => fields.values_mut().any(|value| visit(value, left, change)),
        _ => false,
    }
}

fn replace(value: &mut Value, how: u8, what: u8) {
    let number = NUMBERS.get(usize::from(what) % NUMBERS.len()).copied().unwrap_or(0);
    match value {
        Value::Bool(on) => *on = !*on,
        Value::Number(old) => {
            let old = old.as_u64().unwrap_or(0);
            *value = match how % 4 {
                0 => number.into(),
                1 => (old ^ 1 << (what % 64)).into(),
                2 => old.wrapping_add(1).into(),
                _ => Value::Null,
            };
        }
        Value::Array(values) => match (how % 4, values.last().cloned()) {
            (0, _) => values.clear(),
            (1, Some(last)) => values.push(last),
            (2, _) => drop(values.pop()),
            _ => values.push(number.into()),
        },
        _ => *value = number.into(),
    }
}

/// Units in the midst of their work.
fn good() -> &'static [Good] {
    static GOOD: OnceLock<Vec<Good>> = OnceLock::new();
    GOOD.get_or_init(|| {
        let programs = [invalidation(), failures(), deliveries()];
        let saved = programs.iter().map(|(devices, operations)| {
            let setup = Setup { devices: *devices, ..Setup::default() };
            let (state, memory) = saved_behind(setup, operations);
            let state = serde_json::to_value(state)
                .unwrap_or_else(|error| wrong("state restore: not written", &error));
            Good { state, memory }
        });
        saved.collect()
    })
}

const QUEUED: Queued = Queued {
    kind: 7,
    granularity: 3,
    domain: 1,
    pasid: 1,
    source: 2,
    page: 1,
    mask: 0,
    bits: Bits(0),
    turned: 255,
};

/// A global PASID-cache invalidation and a wait.
const INVALIDATION: [Operation; 3] =
    [Operation::Queue(QUEUED), Operation::Queue(Queued { kind: 5, ..QUEUED }), Operation::Tail];

/// Nothing of it is done yet.
fn invalidation() -> ([u8; 3], Vec<Operation>) {
    ([1, 3, 3], INVALIDATION.to_vec())
}

fn rebind(pasid: u8, target: Table, kind: u8) -> Operation {
    let edit = Edit { target: Target::Table(target), kind, ..Edit::usual(Table::Pasids(0)) };
    Operation::Rebind { edit, pasid, old: false }
}

/// Bindings of every kind, shadows among them, a bind that failed, and an unbind and a replace that are failing.
fn failures() -> ([u8; 3], Vec<Operation>) {
    let gone = Edit { index: 1, bits: Bits(0xfe), ..Edit::usual(Table::Pasids(0)) };
    let target = Target::Table(Table::FirstStage(0));
    let replaced = Edit { index: 2, target, ..Edit::usual(Table::Pasids(0)) };
    let mut operations = vec![
        rebind(1, Table::FirstStage(0), 0),
        rebind(2, Table::SecondStage(0), 3),
        rebind(0, Table::SecondStage(0), 5),
        Operation::HostFails(HostFailure { call: 1 }),
        rebind(3, Table::FirstStage(0), 0),
        Operation::HostFails(HostFailure { call: 0 }),
        Operation::Edit(gone),
        Operation::Edit(replaced),
    ];
    operations.extend(INVALIDATION);
    operations.push(Operation::Lifecycle(Lifecycle::Step { budget: 255 }));
    ([2, 3, 3], operations)
}

/// Device TLBs that have not answered, an answer to a page request that is on its way, and a device that is being released.
fn deliveries() -> ([u8; 3], Vec<Operation>) {
    let page_request = RequestOperation { kind: 3, source: 2, pasid: 1, page: 1, bits: Bits(0x30) };
    let mut operations = vec![
        rebind(1, Table::FirstStage(0), 0),
        Operation::Request(page_request),
        Operation::Queue(Queued { kind: 8, ..QUEUED }),
        Operation::Queue(Queued { kind: 8, page: 2, ..QUEUED }),
        Operation::Tail,
        Operation::Lifecycle(Lifecycle::Step { budget: 255 }),
        Operation::Queue(Queued { kind: 9, granularity: 0, ..QUEUED }),
    ];
    operations.extend(INVALIDATION);
    ([1, 3, 2], operations)
}

fn config() -> (UnitConfig, Arc<Legal>) {
    let (cap, ecap) = Setup::default().registers();
    let capabilities =
        Capabilities::new(cap, ecap).unwrap_or_else(|error| wrong("state restore: setup", &error));
    let host = Arc::new(Legal::default());
    for number in 0..4 {
        host.model.add_device(HostDevice(number));
    }
    let mut config = UnitConfig::new(capabilities, MEMORY.with(Arc::clone) as _);
    config.host = Some(Arc::clone(&host) as _);
    (config, host)
}

#[allow(clippy::panic, reason = "an oracle reports by panicking")]
fn wrong(what: &str, details: &dyn std::fmt::Debug) -> ! {
    panic!("{what}: {details:x?}")
}
