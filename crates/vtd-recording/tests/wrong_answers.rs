//! Vectors of version 2 with one thing in them changed: the replay says so.
#![cfg(test)]

use std::fs;
use std::path::Path;

use vtd_recording::replay::{Assign, Options, Report, replay};

fn vector(name: &str) -> String {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../corpus/vectors");
    fs::read_to_string(corpus.join(name).with_extension("rec")).unwrap()
}

fn replayed(text: &str) -> Report {
    replay(text.as_bytes(), &Options::default(), None).unwrap()
}

/// A vector, one of its lines, and what stands in its place.
#[rustfmt::skip]
const WRONG: [(&str, &str, &str); 70] = [
    ("requests/translate", "translate 00:03.0 1 w 5abc 777000 fff rw", "translate 00:03.0 1 w 5abc 778000 fff rw"),
    ("requests/translate", "translate 00:03.0 1 w 5abc 777000 fff rw", "translate 00:03.0 1 w 5abc 777000 1fff rw"),
    ("requests/translate", "translate 00:03.0 1 w 5abc 777000 fff rw", "translate 00:03.0 1 w 5abc 777000 fff r"),
    ("requests/translate", "translate 00:03.0 1 w 5abc 777000 fff rw", "translate 00:03.0 1 w 5abc 777000 fff w"),
    ("requests/translate", "translate 00:03.0 1 w 5abc 777000 fff rw", "translate 00:03.0 1 w 5abc 777000 fff rwx"),
    ("requests/translate", "translate 00:03.0 1 w 5abc 777000 fff rw", "translate 00:03.0 1 w 5abc 777000 fff rwp"),
    ("requests/translate", "translate 00:03.0 1 w 5abc 777000 fff rw", "translate 00:03.0 1 w 5abc 777000 fff rw u"),
    ("requests/translate", "translate 00:03.0 1 w 5abc 777000 fff rw", "translate 00:03.0 1 w 5abc 777000 fff rw g"),
    ("requests/translate", "translate 00:03.0 1 w 5abc 777000 fff rw", "translate 00:03.0 1 w 5abc none"),
    ("requests/translate", "translate 00:03.0 1 w 5abc 777000 fff rw", "translate 00:03.0 1 w 5abc fault"),
    ("requests/translate", "translate 00:03.0 1 w 201234 400000 1fffff rw", "translate 00:03.0 1 w 201234 401000 fff rw"),
    ("requests/translate", "translate 00:03.0 1 w 6000 none", "translate 00:03.0 1 w 6000 fault"),
    ("requests/translate", "translate 00:03.0 1 w 6000 none", "translate 00:03.0 1 w 6000 777000 fff r"),
    ("requests/translate", "translate 00:04.0 1 w 5000 fault", "translate 00:04.0 1 w 5000 none"),
    ("requests/translate", "fault 00:04.0 1 r 5000 reason 44 translation", "fault 00:04.0 1 w 5000 reason 44 translation"),
    ("requests/translate", "fault 00:04.0 1 r 5000 reason 44 translation", "fault 00:04.0 1 r 5000 reason 44 translated"),
    ("requests/translate", "fault 00:04.0 1 r 5000 reason 44 translation", "fault 00:04.0 1 r 5000 reason 44"),
    ("requests/translate-privilege", "translate 00:03.0 1 rx 5000 777000 fff rx", "translate 00:03.0 1 rx 5000 777000 fff r"),
    ("requests/translate-privilege", "translate 00:03.0 1 wp 6000 778000 fff rwp", "translate 00:03.0 1 wp 6000 778000 fff rw"),
    ("requests/translate-privilege", "translate 00:03.0 - w fee00000 fee00000 fff w u", "translate 00:03.0 - w fee00000 fee00000 fff w"),
    ("requests/translated", "translated 00:03.0 - r 777123 ok", "translated 00:03.0 - r 777123 fault"),
    ("requests/translated", "translated 00:03.0 - w fee00000 fault", "translated 00:03.0 - w fee00000 ok"),
    ("requests/translated", "fault 00:03.0 - w fee00000 reason 87 translated", "fault 00:03.0 - w fee00000 reason 87"),
    ("requests/translated", "fault 00:03.0 - w fee00000 reason 87 translated", "fault 00:03.0 - w fee00000 reason 83 translated"),
    ("requests/translated", "translated 00:03.0 1 r 777000 fault", "translated 00:03.0 1 r 777000 ok"),
    ("requests/zero-length", "dma 00:03.0 2 rz 5123 777000 fff w", "dma 00:03.0 2 rz 5123 fault"),
    ("requests/zero-length", "dma 00:03.0 2 rz 5123 777000 fff w", "dma 00:03.0 2 rz 5123 777000 fff rw"),
    ("requests/zero-length", "dma 00:03.0 2 rz 5123 777000 fff w", "dma 00:03.0 2 r 5123 777000 fff w"),
    ("requests/zero-length-not-shown", "dma 00:03.0 2 rz 5123 fault", "dma 00:03.0 2 rz 5123 777000 fff w"),
    ("requests/privilege", "dma 00:03.0 1 rp 6123 778000 fff rw", "dma 00:03.0 1 r 6123 778000 fff rw"),
    ("requests/privilege", "dma 00:03.0 1 rx 5123 777000 fff rw", "dma 00:03.0 3 rx 5123 777000 fff rw"),
    ("requests/privilege", "fault 00:03.0 3 rx 5000 reason 5c", "fault 00:03.0 3 r 5000 reason 5c"),
    ("requests/privilege", "fault 00:03.0 3 wp 5000 reason 5d", "fault 00:03.0 3 w 5000 reason 5d"),
    ("devices/device-tlb", "device-tlb 00:03.0 - 5000 1", "device-tlb 00:04.0 - 5000 1"),
    ("devices/device-tlb", "device-tlb 00:03.0 - 5000 1", "device-tlb 00:03.0 * 5000 1"),
    ("devices/device-tlb", "device-tlb 00:03.0 5 5000 1", "device-tlb 00:03.0 - 5000 1"),
    ("devices/device-tlb", "device-tlb 00:03.0 5 5000 1", "device-tlb 00:03.0 6 5000 1"),
    ("devices/device-tlb", "device-tlb 00:03.0 - 5000 1", "device-tlb 00:03.0 - 4000 1"),
    ("devices/device-tlb", "device-tlb 00:03.0 - 5000 1", "device-tlb 00:03.0 - 5000 2"),
    ("devices/device-tlb", "device-tlb 00:03.0 - 0 all", "device-tlb 00:03.0 - 0 10"),
    ("devices/device-tlb", "endpoint 00:03.0", "endpoint 00:03.0 later"),
    ("devices/device-tlb", "endpoint 00:03.0", "endpoint 00:05.0"),
    ("devices/device-tlb-later", "endpoint 00:04.0 later", "endpoint 00:04.0"),
    ("devices/device-tlb-later", "device-tlb-done 00:04.0", "device-tlb-done 00:03.0"),
    ("devices/device-tlb-later", "device-tlb-done 00:04.0", "device-tlb-timeout 00:04.0"),
    ("devices/device-tlb-timeout", "device-tlb-timeout 00:03.0", "device-tlb-done 00:03.0"),
    ("devices/page-request", "page-request 00:03.0 1 r 6000 7", "page-request 00:03.0 2 r 6000 7"),
    ("devices/page-request", "page-request 00:03.0 1 r 6000 7", "page-request 00:03.0 1 w 6000 7"),
    ("devices/page-request", "page-request 00:03.0 1 r 6000 7", "page-request 00:03.0 1 r 7000 7"),
    ("devices/page-request", "page-request 00:03.0 1 r 6000 7", "page-request 00:03.0 1 r 6000 8"),
    ("devices/page-request", "page-request 00:03.0 1 r 6000 7", "page-request 00:03.0 1 r 6000 7 last"),
    ("devices/page-request", "page-response 00:03.0 1 7 0", "page-response 00:03.0 - 7 0"),
    ("devices/page-request", "page-response 00:03.0 1 7 0", "page-response 00:03.0 1 8 0"),
    ("devices/page-request", "page-response 00:03.0 - 1ff 1", "page-response 00:03.0 - 1ff f"),
    ("devices/page-request-blocked", "fault 00:04.0 1 r 6000 reason 47 page-request", "fault 00:04.0 1 r 6000 reason 47"),
    ("devices/renumber", "renumber 00:06.0 00:07.0", "renumber 00:06.0 00:08.0"),
    ("devices/renumber-assigned", "host unbind 00:06.0 1", "host unbind 00:05.0 1"),
    ("bindings/shadow-map-unmap", "host bind 00:03.0 2 ss4 200000 6", "host bind 00:03.0 2 ss3 200000 6"),
    ("bindings/shadow-map-unmap", "host map 00:03.0 2 5000 777000 2 rw", "host map 00:03.0 2 5000 777000 1 rw"),
    ("bindings/shadow-map-unmap", "host map 00:03.0 2 8000 900000 1 r", "host map 00:03.0 2 8000 900000 1 rw"),
    ("bindings/shadow-map-unmap", "host map 00:03.0 2 8000 900000 1 r", "host map 00:03.0 2 8000 901000 1 r"),
    ("bindings/shadow-map-unmap", "host unmap 00:03.0 2 6000 1", "host unmap 00:03.0 2 6000 2"),
    ("interrupts/remapped", "interrupt 00:03.0 fee000b0 0 fee02000 31", "interrupt 00:03.0 fee000b0 0 fee02000 32"),
    ("interrupts/remapped", "interrupt 00:03.0 fee000b0 0 fee02000 31", "interrupt 00:03.0 fee000b0 0 fee01000 31"),
    ("interrupts/remapped", "interrupt 00:03.0 fee000b0 0 fee02000 31", "interrupt 00:03.0 fee000b0 0 blocked"),
    ("interrupts/remapped", "interrupt 00:03.0 fee000d0 0 blocked", "interrupt 00:03.0 fee000d0 0 fee02000 31"),
    ("interrupts/remapped", "fault 00:03.0 - w 6 reason 22 interrupt", "fault 00:03.0 - w 7 reason 22 interrupt"),
    ("interrupts/entries-invalidated", "interrupt-entries 4 4", "interrupt-entries 5 4"),
    ("interrupts/entries-invalidated", "interrupt-entries 4 4", "interrupt-entries 4 2"),
    ("interrupts/entries-invalidated", "interrupt-entries 5 1", "interrupt-entries all"),
];

#[test]
fn one_thing_wrong_differs() {
    for (name, right, wrong) in WRONG {
        let text = vector(name);
        assert_eq!(replayed(&text).total().differ, 0, "{name}");
        let changed = text.replacen(&format!("\n{right}\n"), &format!("\n{wrong}\n"), 1);
        assert_ne!(changed, text, "{name} has no line `{right}`");
        assert_ne!(replayed(&changed).total().differ, 0, "{name}: {wrong}");
    }
}

#[test]
fn an_output_more_or_less_differs() {
    const OUTPUTS: [&str; 7] = [
        "fault ",
        "msi ",
        "iommu-write ",
        "host ",
        "device-tlb ",
        "page-response ",
        "interrupt-entries ",
    ];
    let mut names: Vec<_> = WRONG.iter().map(|(name, _, _)| *name).collect();
    names.dedup();
    for name in names {
        let text = vector(name);
        let lines: Vec<_> = text.lines().collect();
        for (place, line) in lines.iter().enumerate() {
            if !OUTPUTS.iter().any(|output| line.starts_with(output)) {
                continue;
            }
            let mut less = lines.clone();
            less.remove(place);
            let mut more = lines.clone();
            more.insert(place, line);
            for changed in [less, more] {
                let changed: String = changed.iter().flat_map(|line| [line, "\n"]).collect();
                let differ = replayed(&changed).total().differ;
                assert_ne!(differ, 0, "{name}, line {}: {line}", place + 1);
            }
        }
    }
}

/// Outside strict files a translation request is compared by where it leads and by what was asked for.
#[test]
fn what_matters_of_a_translation_request() {
    let text = vector("requests/translate").replacen("# strict\n", "", 1);
    let right = "translate 00:03.0 1 w 5abc 777000 fff rw";
    for (recorded, differ) in [
        (right, 0),
        ("translate 00:03.0 1 w 5abc 770000 ffff rw", 1),
        ("translate 00:03.0 1 w 5abc 777000 fff rw g", 0),
        ("translate 00:03.0 1 w 5abc 777000 fff rwp", 0),
        ("translate 00:03.0 1 w 5abc 777000 fff r", 1),
        ("translate 00:03.0 1 w 5abc 777000 fff rwx", 1),
        ("translate 00:03.0 1 w 5abc 777000 fff rw u", 1),
        ("translate 00:03.0 1 w 5abc none", 1),
        ("translate 00:03.0 1 w 5abc fault", 1),
    ] {
        let report = replayed(&text.replacen(right, recorded, 1));
        assert_eq!(report.total().differ, differ, "{recorded}");
    }
    // As one page of 4 KiB, a page of 2 MiB leads to the same place.
    let large = "translate 00:03.0 1 w 201234 400000 1fffff rw";
    let small = "translate 00:03.0 1 w 201234 401000 fff rw";
    assert_eq!(replayed(&text.replacen(large, small, 1)).total().differ, 0);
}

/// Words and lines that change places, among all vectors of version 2: a difference, an error or neither, never a panic. What a
/// unit that is saved and restored does is no other thing.
#[test]
fn vectors_that_are_mixed_up_are_replayed_or_refused() {
    let mut names: Vec<_> = WRONG.iter().map(|(name, _, _)| *name).collect();
    names.dedup();
    let texts: Vec<_> = names.iter().map(|name| vector(name)).collect();
    let lines = texts.iter().flat_map(|text| text.lines());
    // A descriptor that the guest changes while it is carried out is read again by a restored unit.
    const LEFT_OUT: [&str; 3] = ["#", "zero ", "mem 8"];
    let left_out = |line: &&str| LEFT_OUT.iter().any(|start| line.starts_with(start));
    let lines: Vec<_> = lines.filter(|line| !left_out(line)).collect();
    let mut state = 0x2545_f491_4f6c_dd1d_u64;
    let mut random = |below: usize| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        usize::try_from(state % below as u64).unwrap()
    };
    let mut carried_out = 0;
    for turn in 0..600 {
        let text = &texts[turn % texts.len()];
        let mut mixed: Vec<String> = text.lines().map(str::to_owned).collect();
        // Behind the header.
        for _ in 0..=random(4) {
            mixed.insert(8 + random(mixed.len() - 8), lines[random(lines.len())].into());
        }
        if turn % 4 == 0 {
            let place = 8 + random(mixed.len() - 8);
            let mut words: Vec<&str> = mixed[place].split(' ').collect();
            let from: Vec<&str> = lines[random(lines.len())].split(' ').collect();
            let (to, from) = (random(words.len()), from[random(from.len())]);
            words[to] = from;
            mixed[place] = words.join(" ");
        }
        let mixed = mixed.join("\n");
        let mut options = Options::default();
        if turn % 5 == 0 {
            options.assign = Assign::All;
        }
        let _cached = replay(mixed.as_bytes(), &options, None);
        // Caches are not part of a state.
        options.without_caches = true;
        let plain = replay(mixed.as_bytes(), &options, None);
        options.save_restore_every = Some(1);
        let saved = replay(mixed.as_bytes(), &options, None);
        match (plain, saved) {
            (Ok(plain), Ok(saved)) => {
                carried_out += 1;
                assert_eq!(saved.kinds, plain.kinds, "{:#?}\n{mixed}", saved.differences);
                assert_eq!(saved.differences, plain.differences, "{mixed}");
            }
            (Err(plain), Err(saved)) => assert_eq!(saved.to_string(), plain.to_string()),
            (plain, saved) => panic!("{plain:?}, but {saved:?}\n{mixed}"),
        }
    }
    assert!(carried_out > 300, "{carried_out}");
}
