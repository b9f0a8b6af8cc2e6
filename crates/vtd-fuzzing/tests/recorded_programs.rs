//! Programs as recordings: what `vtd replay` shows of an input of a fuzz target.

use std::fs;
use std::io::{self, Write};
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use vtd_fuzzing::search::message_of;
use vtd_fuzzing::targets::TARGETS;
use vtd_fuzzing::whole_unit::{self, Output};
use vtd_recording::replay::{Options, replay};

/// Bytes that are there for others to see.
#[derive(Clone, Default)]
struct Shared(Arc<Mutex<Vec<u8>>>);

impl Shared {
    fn bytes(&self) -> MutexGuard<'_, Vec<u8>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Write for Shared {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.bytes().write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The recording of an input, and what the panic said if there was one.
fn recorded(record: fn(&[u8], Output), input: &[u8]) -> (Vec<u8>, Option<String>) {
    let output = Shared::default();
    let boxed = Box::new(output.clone());
    let message = message_of(|| record(input, boxed));
    (output.bytes().clone(), message)
}

/// What a replay of it differs in is what the recording's notes say: quotas, small caches, hosts that fail, a unit that is not stepped.
#[test]
fn kept_inputs_can_be_recorded_and_replayed() {
    let [mut agreeing, mut all] = [0, 0];
    for target in TARGETS {
        let Some(record) = target.record else { continue };
        let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../corpus/fuzz");
        for entry in fs::read_dir(corpus.join(target.name)).unwrap().flatten() {
            let path = entry.path();
            if !path.is_file() {
                continue;
            }
            let (recording, message) = recorded(record, &fs::read(&path).unwrap());
            assert_eq!(message, None, "{}", path.display());
            let report = replay(&recording[..], &Options::default(), None)
                .unwrap_or_else(|error| panic!("{}: {error}", path.display()));
            all += 1;
            agreeing += u64::from(report.total().differ == 0);
        }
    }
    assert!(agreeing * 2 > all, "{agreeing} of {all} agree");
}

fn record(input: &[u8], output: Output) {
    whole_unit::record(input, output);
}

#[test]
fn seeds_are_replayed_without_a_difference() {
    for name in ["bind-dma-unmap", "a-device-tlb", "legacy-mode", "interrupts", "a-queue-error"] {
        let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../corpus/fuzz/whole_unit");
        let (recording, _) = recorded(record, &fs::read(corpus.join(name)).unwrap());
        let report = replay(&recording[..], &Options::default(), None).unwrap();
        assert!(report.total().agree > 0, "{name}");
        assert_eq!(report.total().differ, 0, "{name}");
    }
}

#[test]
fn targets_without_a_unit_have_nothing_to_record() {
    let with_a_unit: Vec<_> =
        TARGETS.iter().filter(|target| target.record.is_some()).map(|target| target.name).collect();
    assert_eq!(with_a_unit, ["invalidation_queue", "whole_unit", "page_requests"]);
}
