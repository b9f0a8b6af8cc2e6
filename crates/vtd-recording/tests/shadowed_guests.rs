//! Boots of Linux guests in legacy mode and on second-stage tables, as they would be with caching mode and every device assigned:
//! their tables are shadowed into the model host.
//!
//! The shipped recordings have CAP.CM=0, so their guests do not tell of new mappings. Here CM is set, and before each request
//! something makes the unit look at the tables: a global register-based invalidation, or the device attached anew. What the
//! tables say then is what the host has to map.
#![cfg(test)]

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use vtd_recording::replay::{Assign, Kind, Options, replay};

/// IOTLB (0F8, after IRO): IVT with global granularity.
const INVALIDATE: &str = "write f8 8 9000000000000000\n";

/// The recording with CM=1, and with `before` a request of a device what that yields.
fn with_caching_mode(recording: &str, mut before: impl FnMut(&str) -> String) -> String {
    let mut text = String::new();
    // Outputs whose input is not known yet: those of a `dma` line stand before it, its fault first.
    let mut outputs: Vec<&str> = Vec::new();
    for line in recording.lines() {
        let mut words = line.split(' ');
        let first = words.next().unwrap_or_default();
        match first {
            "fault" | "iommu-write" | "msi" => {
                outputs.push(line);
                continue;
            }
            "dma" => {
                let own = outputs.iter().position(|output| output.starts_with("fault"));
                let own = outputs.split_off(own.unwrap_or(outputs.len()));
                outputs.drain(..).for_each(|output| text.extend([output, "\n"]));
                text.push_str(&before(words.next().unwrap_or_default()));
                own.into_iter().for_each(|output| text.extend([output, "\n"]));
            }
            "mem" | "zero" => {}
            _ => outputs.drain(..).for_each(|output| text.extend([output, "\n"])),
        }
        match line {
            "# cap 80d2008c222f0606" => text.push_str("# cap 80d2008c222f0686"),
            "read 8 8 80d2008c222f0606" => text.push_str("read 8 8 80d2008c222f0686"),
            line => text.push_str(line),
        }
        text.push('\n');
    }
    outputs.into_iter().for_each(|output| text.extend([output, "\n"]));
    text
}

fn shipped(name: &str) -> String {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../corpus/recordings");
    fs::read_to_string(corpus.join(format!("{name}.rec"))).unwrap()
}

// feature: 7.shadows: recordings and vectors with every device assigned
// feature: 7.shadows: legacy tables (TT 0 and 1)
#[test]
fn every_request_of_a_legacy_guest_agrees() {
    let text = with_caching_mode(&shipped("linux-6.12-legacy"), |_| INVALIDATE.into());
    for every in [None, Some(1)] {
        let mut options = Options::default();
        options.assign = Assign::All;
        options.save_restore_every = every;
        let report = replay(text.as_bytes(), &options, None).unwrap();
        assert_eq!(report.total().differ, 0, "{:#?}", report.differences);
        assert_eq!(report.tally(Kind::Dma).agree, 1_069);
        // What is mapped was held against the tables after each invalidation and each wait.
        assert!(report.tally(Kind::HostState).agree > 1_000);
        let calls = report.host_calls;
        assert!(calls.map > 400 && calls.unmap > 400 && calls.failed == 0, "{calls:?}");
    }
}

// feature: 7.shadows: recordings and vectors with every device assigned
// feature: 7.shadows: second-stage tables (PGTT 2)
#[test]
fn every_request_of_a_device_attached_anew_agrees() {
    for (name, requests) in [("linux-6.12-second-stage", 1_491), ("linux-6.12-legacy", 1_069)] {
        let mut assigned = BTreeSet::new();
        let text = with_caching_mode(&shipped(name), |device| {
            let release = match assigned.insert(device.to_owned()) {
                true => String::new(),
                false => format!("release {device}\n"),
            };
            format!("{release}assign {device}\n")
        });
        // In version 1 the host of such a device shadows nothing.
        let text = text.replacen("# vtd-recording 1", "# vtd-recording 2", 1);
        let report = replay(text.as_bytes(), &Options::default(), None).unwrap();
        assert_eq!(report.total().differ, 0, "{name}: {:#?}", report.differences);
        assert_eq!(report.tally(Kind::Dma).agree, requests, "{name}");
        let calls = report.host_calls;
        assert!(calls.bind >= requests && calls.map > 15_000 && calls.failed == 0, "{calls:?}");
    }
}
