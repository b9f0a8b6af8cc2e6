//! Saved states: any text is refused or restored, and what is restored is saved and restored as the same.

use std::sync::{Arc, OnceLock};

use serde_json::Value;
use vtd::host::{HostDevice, ModelHost};
use vtd::spec::{Capabilities, SourceId};
use vtd::{Attachment, RemappingUnit, RestoreOnto, Step, UnitConfig, UnitState};

use crate::program::pools::SOURCES;
use crate::small_memory::SmallMemory;
use crate::whole_unit::Setup;

/// How many bytes are a change.
pub const RECORD: usize = 3;

/// What a number of a state is replaced by.
const NUMBERS: [u64; 12] =
    [0, 1, 2, 7, 63, 0x18, 0xff, 0x1000, 0xffff, 0x10_0000, u32::MAX as u64, u64::MAX];

thread_local! {
    static MEMORY: Arc<SmallMemory> = Arc::new(SmallMemory::default());
}

/// Restores the state that these bytes are: text where they begin with a brace, else changes of a good state, three bytes to a
/// change.
///
/// # Panics
/// Where a state that was restored is saved as one that is refused or that is saved as another, or the unit does not come to rest.
pub fn check(bytes: &[u8]) {
    let state = match bytes.first() {
        Some(b'{') => serde_json::from_slice(bytes).ok(),
        _ => changed(bytes),
    };
    let Some(state) = state else { return };
    for onto in [RestoreOnto::SameHost, RestoreOnto::FreshHost] {
        restore(&state, onto);
    }
}

fn restore(state: &UnitState, onto: RestoreOnto) {
    let Ok(unit) = RemappingUnit::restore(config(), state, onto) else { return };
    // A restore onto a fresh host is itself something that is under way, and part of what is saved.
    let saved = unit.save().unwrap_or_else(|error| wrong("state restore: not saved", &error));
    let again = RemappingUnit::restore(config(), &saved, RestoreOnto::SameHost)
        .unwrap_or_else(|error| wrong("state restore: what was saved is refused", &error));
    let twice = again.save().unwrap_or_else(|error| wrong("state restore: not saved", &error));
    if saved != twice {
        wrong("state restore: saved as another", &(saved, twice));
    }
    // What is under way ends, or waits for a host or a device.
    for _ in 0..10_000 {
        match unit.step(vtd::DEFAULT_BUDGET) {
            Step::Idle | Step::Waiting => return,
            Step::More => while unit.take_effect().is_some() {},
        }
    }
    wrong("state restore: the unit does not come to rest", &unit.counts());
}

/// A good state with some of its leaves replaced, added to or taken away.
fn changed(bytes: &[u8]) -> Option<UnitState> {
    static GOOD: OnceLock<Option<Value>> = OnceLock::new();
    let mut state = GOOD.get_or_init(good).clone()?;
    let (changes, _) = bytes.as_chunks::<RECORD>();
    for [leaf, how, what] in changes.iter().take(16) {
        let mut left = usize::from(*leaf);
        let count = leaves(&state);
        left %= count.max(1);
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

/// A unit in the midst of its work.
fn good() -> Option<Value> {
    let config = config();
    let unit = RemappingUnit::new(config);
    for (source, number) in SOURCES.into_iter().zip(1..) {
        let attachment = match number {
            1 => Attachment::Emulated,
            _ => Attachment::Assigned(HostDevice(number)),
        };
        unit.attach(SourceId(source), attachment).ok()?;
    }
    unit.freeze();
    let memory = MEMORY.with(Arc::clone);
    memory.clear();
    crate::program::lay_out(&memory);
    for (offset, size, value) in [
        (0x38, 4, 0),
        (0x90, 8, 0x1_7800),
        (0x20, 8, 0x1400),
        (0x18, 4, 1 << 26),
        (0x18, 4, 1 << 26 | 1 << 30),
        (0x18, 4, 1 << 26 | 1 << 31),
    ] {
        unit.write(offset, size, value);
        let _step = unit.step(vtd::DEFAULT_BUDGET);
    }
    // A global PASID-cache invalidation and a wait, of which nothing is done yet.
    for (place, value) in [(0x1_7000, 0x37), (0x1_7020, 0x1_0000_0035)] {
        memory.put(place, value);
    }
    unit.write(0x88, 8, 0x40);
    let _step = unit.step(1);
    serde_json::to_value(unit.save().ok()?).ok()
}

fn config() -> UnitConfig {
    let (cap, ecap) = Setup::default().registers();
    let capabilities =
        Capabilities::new(cap, ecap).unwrap_or_else(|error| wrong("state restore: setup", &error));
    let host = ModelHost::default();
    for number in 0..4 {
        host.add_device(HostDevice(number));
    }
    let mut config = UnitConfig::new(capabilities, MEMORY.with(Arc::clone) as _);
    config.host = Some(Arc::new(host) as _);
    config
}

#[allow(clippy::panic, reason = "an oracle reports by panicking")]
fn wrong(what: &str, details: &dyn std::fmt::Debug) -> ! {
    panic!("{what}: {details:x?}")
}
