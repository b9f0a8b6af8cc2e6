//! What was recorded comes out again when it is replayed, line by line and with nothing explained away.

use vtd_recording::replay::{Options, UnknownPages, replay};

use crate::inputs::before_three_binds;
use crate::vmm::{corpus, record};

/// Replays a recording of ours as if it were a conformance vector.
fn replay_strictly(name: &str, recorded: &str) {
    let strict = recorded.replacen("\n# ver", "\n# strict\n# ver", 1);
    let mut options = Options::default();
    options.unknown_pages = UnknownPages::Error;
    let report = replay(strict.as_bytes(), &options, None).unwrap();
    assert!(report.strict && report.inputs > 0, "{name}");
    assert!(report.differences.is_empty(), "{name}: {:#?}", report.differences);
    assert_eq!((report.total().explained, report.total().differ), (0, 0), "{name}");
}

#[test]
fn a_recording_is_replayed_without_a_difference() {
    for (name, original) in corpus("recordings").into_iter().chain(corpus("vectors")) {
        replay_strictly(&name, &record(&original).0);
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
