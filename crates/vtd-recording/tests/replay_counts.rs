//! Exact counts of every shipped file: what agrees, what is explained and by which departure. Nothing differs.

use std::error::Error;
use std::fs;
use std::path::{Path, PathBuf};

use vtd_recording::replay::{Assign, Departure, Kind, Options, Report, replay};

type Outcome = Result<(), Box<dyn Error>>;

/// What one file comes to: agree and explained of each kind, and what each departure explains.
type Counts = ([[u64; 2]; 7], [u64; 7]);

const KINDS: [Kind; 7] =
    [Kind::Dma, Kind::Read, Kind::Fault, Kind::Msi, Kind::IommuWrite, Kind::Host, Kind::HostState];

const DEPARTURES: [Departure; 7] = [
    Departure::NotPresentAsInvalid,
    Departure::LegacyCodes,
    Departure::PasidMissing,
    Departure::PasidCut,
    Departure::SilentRefusal,
    Departure::StaleRecord,
    Departure::HostFault,
];

/// As recorded. The columns are those of `KINDS` and `DEPARTURES`.
#[rustfmt::skip]
const AS_RECORDED: [(&str, Counts); 22] = [
    ("recordings/linux-6.12-caching-mode.rec",
        ([[1499, 0], [427, 214], [202, 6], [207, 1], [1290, 0], [0, 0], [0, 0]], [10, 0, 12, 0, 2, 207, 0])),
    ("recordings/linux-6.12-first-stage-random-1.rec",
        ([[1408, 0], [333, 326], [150, 73], [213, 10], [253, 0], [0, 0], [0, 0]], [126, 0, 127, 49, 20, 213, 0])),
    ("recordings/linux-6.12-legacy-device-tlb.rec",
        ([[228, 0], [162, 0], [34, 0], [34, 0], [120, 0], [0, 0], [0, 0]], [0, 0, 0, 0, 0, 0, 0])),
    ("recordings/linux-6.12-legacy.rec",
        ([[1069, 0], [14, 0], [0, 0], [0, 0], [404, 0], [0, 0], [0, 0]], [0, 0, 0, 0, 0, 0, 0])),
    ("recordings/linux-6.12-passthrough.rec",
        ([[422, 0], [427, 214], [202, 6], [207, 1], [823, 0], [0, 0], [0, 0]], [10, 0, 12, 0, 2, 207, 0])),
    ("recordings/linux-6.12-second-stage-page-requests.rec",
        ([[256, 0], [676, 0], [72, 0], [109, 0], [459, 0], [0, 0], [0, 0]], [0, 0, 0, 0, 0, 0, 0])),
    ("recordings/linux-6.12-second-stage.rec",
        ([[1491, 0], [225, 416], [0, 208], [207, 1], [830, 0], [0, 0], [0, 0]], [10, 404, 12, 0, 2, 207, 0])),
    ("recordings/linux-7.3-first-stage-random-3.rec",
        ([[1413, 0], [374, 306], [162, 59], [220, 1], [904, 0], [0, 0], [0, 0]], [116, 0, 116, 28, 2, 220, 0])),
    ("recordings/linux-7.3-hotplug-disk.rec",
        ([[2526, 0], [56, 0], [1, 0], [1, 0], [44, 0], [0, 0], [0, 0]], [0, 0, 0, 0, 0, 0, 0])),
    ("recordings/linux-7.3-hotplug-kexec-reset.rec",
        ([[1861, 0], [1002, 978], [450, 219], [639, 30], [1499, 0], [0, 0], [0, 0]], [378, 0, 381, 147, 60, 639, 0])),
    ("recordings/linux-7.3-sva-page-requests.rec",
        ([[100, 0], [694, 0], [30, 0], [177, 0], [454, 0], [0, 0], [0, 0]], [0, 0, 0, 0, 0, 0, 0])),
    ("recordings/linux-7.3-sva.rec",
        ([[1552, 0], [430, 217], [203, 8], [209, 2], [835, 0], [0, 0], [0, 0]], [12, 0, 14, 0, 4, 209, 0])),
    ("vectors/dirty-after-read.rec",
        ([[3, 0], [2, 0], [0, 0], [0, 0], [7, 0], [0, 0], [0, 0]], [0, 0, 0, 0, 0, 0, 0])),
    ("vectors/fault-not-present.rec",
        ([[6, 0], [2, 0], [4, 0], [4, 0], [2, 0], [0, 0], [0, 0]], [0, 0, 0, 0, 0, 0, 0])),
    ("vectors/host-fail.rec",
        ([[0, 0], [2, 0], [0, 0], [0, 0], [7, 0], [5, 0], [4, 0]], [0, 0, 0, 0, 0, 0, 0])),
    ("vectors/host-iotlb.rec",
        ([[0, 0], [2, 0], [0, 0], [0, 0], [5, 0], [6, 0], [3, 0]], [0, 0, 0, 0, 0, 0, 0])),
    ("vectors/pasid-d1-d2-d3.rec",
        ([[0, 0], [2, 0], [0, 0], [0, 0], [6, 0], [4, 0], [7, 0]], [0, 0, 0, 0, 0, 0, 0])),
    ("vectors/pasid-replace.rec",
        ([[0, 0], [2, 0], [0, 0], [0, 0], [8, 0], [5, 0], [6, 0]], [0, 0, 0, 0, 0, 0, 0])),
    ("vectors/pasid-reset.rec",
        ([[0, 0], [4, 0], [0, 0], [0, 0], [2, 0], [8, 0], [3, 0]], [0, 0, 0, 0, 0, 0, 0])),
    ("vectors/pasid-te.rec",
        ([[0, 0], [2, 0], [0, 0], [0, 0], [1, 0], [13, 0], [0, 0]], [0, 0, 0, 0, 0, 0, 0])),
    ("vectors/queue-bad-type.rec",
        ([[0, 0], [7, 0], [0, 0], [1, 0], [1, 0], [0, 0], [0, 0]], [0, 0, 0, 0, 0, 0, 0])),
    ("vectors/rid-pasid.rec",
        ([[0, 0], [2, 0], [0, 0], [0, 0], [3, 0], [2, 0], [1, 0]], [0, 0, 0, 0, 0, 0, 0])),
];

/// Every device host-backed: the same, and the calls of the host (bind, replace, unbind, invalidate, failed).
#[rustfmt::skip]
const ALL_ASSIGNED: [(&str, Counts, [u64; 5]); 3] = [
    ("recordings/linux-6.12-caching-mode.rec",
        ([[1499, 0], [427, 214], [0, 208], [207, 1], [1290, 0], [0, 0], [214, 0]], [10, 0, 12, 0, 2, 207, 207]), [216, 4, 216, 424, 0]),
    ("recordings/linux-7.3-first-stage-random-3.rec",
        ([[1413, 0], [374, 306], [0, 221], [220, 1], [904, 0], [0, 0], [95, 0]], [116, 0, 116, 28, 2, 220, 220]), [107, 4, 107, 583, 0]),
    ("recordings/linux-7.3-hotplug-kexec-reset.rec",
        ([[1861, 0], [1002, 978], [0, 669], [639, 30], [1499, 0], [0, 0], [309, 0]], [378, 0, 381, 147, 60, 639, 639]), [320, 20, 320, 478, 0]),
];

fn corpus() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../corpus")
}

fn run(file: &str, options: &Options) -> Result<Report, Box<dyn Error>> {
    let text = fs::read(corpus().join(file))?;
    let report = replay(text.as_slice(), options, None).map_err(|why| format!("{file}: {why}"))?;
    assert_eq!(report.differences, [], "{file}");
    assert_eq!(report.total().differ, 0, "{file}");

    let lines = text.split(|byte| *byte == b'\n');
    let requests = lines.filter(|line| line.starts_with(b"dma ")).count();
    assert_eq!(report.tally(Kind::Dma).agree, requests as u64, "{file}: every `dma` line agrees");
    Ok(report)
}

fn counts(report: &Report) -> Counts {
    let by = |departure| report.explained_by.get(&departure).copied().unwrap_or(0);
    let kind = |kind| {
        let tally = report.tally(kind);
        [tally.agree, tally.explained]
    };
    (KINDS.map(kind), DEPARTURES.map(by))
}

fn cache_hits(report: &Report) -> u64 {
    let caches = &report.caches;
    caches.context_hits + caches.pasid_hits + caches.translation_hits
}

fn cache_lookups(report: &Report) -> u64 {
    let caches = &report.caches;
    cache_hits(report) + caches.context_misses + caches.pasid_misses + caches.translation_misses
}

#[test]
fn every_shipped_file_has_its_row() -> Outcome {
    let mut shipped = Vec::new();
    for folder in ["recordings", "vectors"] {
        for entry in fs::read_dir(corpus().join(folder))? {
            let name = entry?.file_name().into_string().map_err(|_| "a name that is no text")?;
            // The vectors of the folders below have no counts to pin: nothing of a strict file is explained.
            if name.ends_with(".rec") {
                shipped.push(format!("{folder}/{name}"));
            }
        }
    }
    shipped.sort();
    assert_eq!(shipped, AS_RECORDED.map(|(file, _)| file));
    Ok(())
}

#[test]
fn as_recorded() -> Outcome {
    for (file, expected) in AS_RECORDED {
        let report = run(file, &Options::default())?;
        assert_eq!(counts(&report), expected, "{file}");
        assert_eq!(report.unknown_reads, 0, "{file}");
        // Of a file without requests of emulated devices nothing is looked up.
        assert!(cache_hits(&report) > 0 || cache_lookups(&report) == 0, "{file}");
        assert!(cache_hits(&report) > 0 || file.starts_with("vectors/"), "{file}");
    }
    Ok(())
}

// feature: 9.after any step and any input
#[test]
fn saved_and_restored_after_every_input() -> Outcome {
    let mut options = Options::default();
    options.save_restore_every = Some(1);
    for (file, expected) in AS_RECORDED {
        let report = run(file, &options)?;
        assert_eq!(counts(&report), expected, "{file}");
        assert_eq!(report.restores, report.inputs - 1, "{file}");
        assert_eq!(report.host_calls, run(file, &Options::default())?.host_calls, "{file}");
    }
    Ok(())
}

#[test]
fn without_caches() -> Outcome {
    let mut options = Options::default();
    options.without_caches = true;
    for (file, expected) in AS_RECORDED {
        let report = run(file, &options)?;
        assert_eq!(counts(&report), expected, "{file}");
        assert_eq!(cache_hits(&report), 0, "{file}");
        assert_eq!(report.host_calls, run(file, &Options::default())?.host_calls, "{file}");
    }
    Ok(())
}

// feature: 7.shadows: recordings and vectors with every device assigned
#[test]
fn all_devices_assigned() -> Outcome {
    let mut options = Options::default();
    options.assign = Assign::All;
    for (file, expected, calls) in ALL_ASSIGNED {
        let report = run(file, &options)?;
        assert_eq!(counts(&report), expected, "{file}");
        let made = report.host_calls;
        assert_eq!(
            [made.bind, made.replace, made.unbind, made.invalidate, made.failed],
            calls,
            "{file}"
        );
        // What is bound is unbound in the end, and no answer comes from a cache of ours.
        assert_eq!((made.bind, cache_lookups(&report)), (made.unbind, 0), "{file}");
    }
    Ok(())
}

// feature: 9.after any step and any input
#[test]
fn all_devices_assigned_and_saved_after_every_input() -> Outcome {
    let mut options = Options::default();
    options.assign = Assign::All;
    options.save_restore_every = Some(1);
    for (file, expected, calls) in ALL_ASSIGNED {
        let report = run(file, &options)?;
        assert_eq!(counts(&report), expected, "{file}");
        let made = report.host_calls;
        assert_eq!(
            [made.bind, made.replace, made.unbind, made.invalidate, made.failed],
            calls,
            "{file}"
        );
    }
    Ok(())
}
