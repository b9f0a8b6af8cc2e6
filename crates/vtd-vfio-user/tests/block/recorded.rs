//! With a unit that is recorded: what the recording says is what a unit does.

use std::fs::File;
use std::io::BufReader;

use vtd_recording::replay::{Options, Report, replay};
use vtd_vfio_user::machine_unit::MachineUnit;

use crate::guest::{DATA, EVENT_INDEX, FEATURES, FLUSH, Guest, IN, OUT, pattern};
use crate::hostile::storm;

fn replayed(act: impl FnOnce(&mut Guest)) -> Report {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("block.rec");
    let mut guest = Guest::recorded(File::create(&path).unwrap());
    act(&mut guest);
    let MachineUnit::Recorded(recorded) = guest.unit.clone() else { unreachable!() };
    drop(guest);
    assert_eq!(recorded.finish().unwrap().notes, 0);
    let report =
        replay(BufReader::new(File::open(&path).unwrap()), &Options::default(), None).unwrap();
    assert_eq!(report.differences, []);
    report
}

#[test]
fn its_recording_replays() {
    let report = replayed(|guest| {
        guest.start(FEATURES | EVENT_INDEX);
        let data = pattern(3, 0x1_8000);
        guest.store(DATA, &data);
        for queue in [0, 1] {
            assert_eq!(guest.request(queue, OUT, 5, &[(DATA, 0x1_8000)]), 0);
            assert_eq!(guest.request(queue, IN, 5, &[(DATA + 0x2_0000, 0x1_8000)]), 0);
            assert_eq!(guest.load(DATA + 0x2_0000, 0x1_8000), data);
            assert_eq!(guest.request(queue, FLUSH, 0, &[]), 0);
        }
        guest.map(DATA / 4096, 0);
        guest.invalidate();
        assert_eq!(guest.request(0, IN, 5, &[(DATA, 512)]), 1);
        assert_eq!(guest.request(0, IN, 5, &[(DATA + 0x1000, 512)]), 0);
    });
    assert!(report.inputs > 150, "{}", report.inputs);
}

#[test]
fn the_recording_of_a_driver_that_does_anything_replays() {
    for seed in [7, 0x1234_5678_9abc_def1] {
        replayed(|guest| storm(guest, seed, 400));
    }
}
