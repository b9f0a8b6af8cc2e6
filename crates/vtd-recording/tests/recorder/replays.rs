//! What was recorded comes out again when it is replayed, line by line and with nothing explained away.

use std::collections::BTreeSet;

use vtd_recording::format::{Event, EventKind};
use vtd_recording::replay::{Options, UnknownPages, replay};

use crate::inputs::before_three_binds;
use crate::vmm::{corpus, events, record};

/// Replays a recording of ours as if it were a conformance vector, in all three ways.
pub(crate) fn replay_strictly(name: &str, recorded: &str) {
    let strict = recorded.replacen("\n# ver", "\n# strict\n# ver", 1);
    let mut plain = Options::default();
    plain.unknown_pages = UnknownPages::Error;
    let (mut saved, mut uncached) = (plain.clone(), plain.clone());
    saved.save_restore_every = Some(1);
    uncached.without_caches = true;
    // Recordings of whole boots are replayed in the other two ways elsewhere.
    let ways = if recorded.len() < 1 << 20 { vec![plain, saved, uncached] } else { vec![plain] };
    for options in ways {
        let report = replay(strict.as_bytes(), &options, None).unwrap();
        assert!(report.strict && report.inputs > 0, "{name}");
        assert!(report.differences.is_empty(), "{name}: {:#?}", report.differences);
        assert_eq!((report.total().explained, report.total().differ), (0, 0), "{name}");
        assert_eq!(report.violations(), 0, "{name}: {:#?}", report.audit);
    }
}

#[test]
fn a_recording_is_replayed_without_a_difference() {
    for (name, original) in corpus("recordings").into_iter().chain(corpus("vectors")) {
        replay_strictly(&name, &record(&original).0);
    }
}

#[test]
fn everything_of_version_2_is_recorded_and_replayed() {
    let mut kinds = BTreeSet::new();
    for folder in ["requests", "devices", "bindings", "interrupts"] {
        for (name, original) in corpus(&format!("vectors/{folder}")) {
            // What a device answers without having been told has a note, not a line (ICE).
            if !original.starts_with("# vtd-recording 2") || name.contains("/ice") {
                continue;
            }
            let (recorded, _) = record(&original);
            kinds.extend(events(&recorded).1.iter().map(Event::kind));
            replay_strictly(&name, &recorded);
        }
    }
    let of_version_2 = [
        EventKind::Translate,
        EventKind::Translated,
        EventKind::Endpoint,
        EventKind::DeviceTlb,
        EventKind::DeviceTlbDone,
        EventKind::DeviceTlbTimeout,
        EventKind::PageRequest,
        EventKind::PageResponse,
        EventKind::Interrupt,
        EventKind::InterruptEntries,
        EventKind::Renumber,
    ];
    for kind in of_version_2 {
        assert!(kinds.contains(&kind), "{kind}");
    }
}

#[test]
fn several_failures_in_one_input_are_replayed() {
    for failing in [1, 2, 3] {
        let (mut vmm, to_come) = before_three_binds();
        for call in 1..=failing {
            vmm.host.fail_nth(call);
        }
        for event in &to_come {
            vmm.perform(event);
        }
        assert_eq!(vmm.unit.finish().unwrap().notes, 0);
        replay_strictly("failures", &vmm.output.text());
    }
}
