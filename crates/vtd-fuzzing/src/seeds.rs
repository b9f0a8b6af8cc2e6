//! Seeds: small inputs that reach far, written by hand with the encoder, or made of what the project ships.

use std::fs;
use std::path::Path;

use crate::program::{
    Bits, Composite, Edit, HostFailure, InterruptReuse, Lifecycle, Operation, Queued,
    RequestOperation, Reuse, Scope, Table, Target, encode,
};
use crate::whole_unit::Setup;

/// Target, name and bytes of each.
#[must_use]
pub fn all() -> Vec<(&'static str, String, Vec<u8>)> {
    let mut seeds = Vec::new();
    for (name, setup, operations) in programs() {
        let program = [&setup.encode()[..], &encode(&operations)].concat();
        // The operations as edits of tables, below a request of the first device.
        if !operations.iter().any(|operation| matches!(operation, Operation::Composite(_))) {
            let head = |request: &[u8]| [request, &encode(&operations)].concat();
            seeds.push((
                "page_walk",
                name.into(),
                head(&[0, 1, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0]),
            ));
            seeds.push((
                "pasid_range_walk",
                name.into(),
                head(&[0, 0, 0xff, 0x20, 3, 1, 0, 0, 0, 0, 0, 0]),
            ));
        }
        seeds.push(("page_requests", name.into(), program.clone()));
        seeds.push(("whole_unit", name.into(), program));
    }
    for (name, words) in descriptors() {
        let setup = Setup { capabilities: 0, enabled: 0, ..Setup::default() };
        let mut bytes = setup.encode().to_vec();
        bytes.push(1);
        bytes.extend(words.iter().flat_map(|word| word.to_le_bytes()));
        let words: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
        // Words and masks of an entry, as they are in the queue.
        seeds.push(("decoders", name.into(), [&words[..], &[0xff; 160]].concat()));
        seeds.push(("invalidation_queue", name.into(), bytes));
    }
    seeds.push((
        "reconciliation",
        "bind-replace-unbind".into(),
        vec![0, 0, 1, 1, 0, 0, 2, 1, 0, 0, 1, 2],
    ));
    seeds.push(("memory_image", "two-regions".into(), {
        let mut bytes = vec![2, 0, 1, 2, 0, 200, 2, 1, 4, 9, 200];
        bytes.extend(0..64);
        bytes
    }));
    for (name, which) in [("an-invalidation", 0), ("failures", 1), ("deliveries", 2)] {
        seeds.push(("state_restore", name.into(), vec![which]));
        seeds.push((
            "state_restore",
            format!("{name}-changed"),
            vec![which, 0, 0, 0, 40, 0, 0, 1, 47, 0, 1, 3],
        ));
    }
    shipped(&mut seeds);
    seeds
}

/// Small vectors and recordings as text.
fn shipped(seeds: &mut Vec<(&'static str, String, Vec<u8>)>) {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../corpus");
    for folder in ["vectors", "vectors/requests", "vectors/devices", "vectors/interrupts"] {
        let Ok(files) = fs::read_dir(corpus.join(folder)) else { continue };
        let mut files: Vec<_> = files.flatten().map(|file| file.path()).collect();
        files.sort();
        for file in files
            .into_iter()
            .filter(|file| file.extension().is_some_and(|end| end == "rec"))
            .take(6)
        {
            if let (Ok(bytes), Some(name)) = (fs::read(&file), file.file_stem())
                && bytes.len() < 6_000
            {
                seeds.push(("recording_parser", name.to_string_lossy().into_owned(), bytes));
            }
        }
    }
    let states = corpus.join("states/version-1");
    for name in ["queue", "reset"] {
        if let Ok(bytes) = fs::read(states.join(name).with_extension("json")) {
            seeds.push(("state_restore", format!("version-1-{name}"), bytes));
        }
    }
}

const fn request(kind: u8, source: u8, page: u8, bits: u8) -> Operation {
    Operation::Request(RequestOperation { kind, source, pasid: 1, page, bits: Bits(bits) })
}

const fn rebind(kind: u8, target: Target, bits: u8, old: bool) -> Operation {
    let edit = Edit { index: 1, target, kind, bits: Bits(bits), ..Edit::usual(Table::Pasids(0)) };
    Operation::Rebind { edit, pasid: 1, old }
}

/// The leaf of page 1 of PASID 1 leads to another page.
const fn reuse(scope: Scope, race: u8) -> Operation {
    Operation::Composite(Composite::Reuse(Reuse {
        request: RequestOperation { kind: 0, source: 0, pasid: 1, page: 1, bits: Bits(0x10) },
        entry: 0,
        change: 0,
        scope,
        mask: 1,
        domain: 0,
        kind: 0,
        own: 1,
        bits: Bits(0),
        race,
    }))
}

const FIRST: Target = Target::Table(Table::FirstStage(0));
const SECOND: Target = Target::Table(Table::SecondStage(0));

/// Programs of the kinds of things that guests do.
fn programs() -> Vec<(&'static str, Setup, Vec<Operation>)> {
    let setup = Setup { devices: [1, 3, 2], ..Setup::default() };
    let all = Bits(0xff);
    let clear = Edit {
        index: 1,
        target: Target::Data(1),
        bits: Bits(0xf8),
        ..Edit::usual(Table::FirstStage(3))
    };
    let unmap = Operation::Remap { edit: clear, page: 1, pasid: 1, domain: 1, guarded: true };
    let wait = Queued {
        kind: 5,
        granularity: 0,
        domain: 0,
        pasid: 0,
        source: 0,
        page: 0,
        mask: 0,
        bits: Bits(0b0101),
        turned: 255,
    };
    let queued = |kind, granularity| {
        Operation::Queue(Queued { kind, granularity, domain: 1, pasid: 1, ..wait })
    };
    let live = Operation::Lifecycle;
    vec![
        (
            "bind-dma-unmap",
            setup,
            vec![
                rebind(0, FIRST, 0xff, false),
                request(0, 0, 1, 0x10),
                request(0, 0, 1, 0x11),
                unmap,
                request(0, 0, 1, 0x10),
            ],
        ),
        (
            "replace-by-the-old-domain",
            setup,
            vec![
                rebind(0, FIRST, 0xff, false),
                rebind(3, SECOND, 0xff, true),
                rebind(0, FIRST, 0xfe, true),
                live(Lifecycle::Run),
            ],
        ),
        (
            "a-device-tlb",
            setup,
            vec![
                rebind(0, FIRST, 0xff, false),
                request(1, 2, 1, 0x11),
                request(2, 2, 1, 0x01),
                unmap,
                request(3, 2, 1, 0x31),
                queued(9, 0),
                Operation::Doorbell,
            ],
        ),
        (
            "a-host-fails",
            setup,
            vec![
                Operation::HostFails(HostFailure { call: 1 }),
                rebind(0, FIRST, 0xff, false),
                live(Lifecycle::Retry { source: 1 }),
                live(Lifecycle::Run),
                live(Lifecycle::Release { source: 1 }),
            ],
        ),
        (
            "reset-and-restore",
            setup,
            vec![
                rebind(5, SECOND, 0xff, false),
                live(Lifecycle::SaveAndRestore { fresh_host: false }),
                queued(7, 1),
                Operation::Doorbell,
                live(Lifecycle::SaveAndRestore { fresh_host: true }),
                live(Lifecycle::Reset { power_on: false }),
                Operation::Enable { bits: Bits(0x60) },
                live(Lifecycle::Run),
            ],
        ),
        (
            "legacy-mode",
            Setup { capabilities: 3, enabled: 1, ..setup },
            vec![
                Operation::Edit(Edit {
                    kind: 0,
                    bits: Bits(0x7f),
                    target: SECOND,
                    ..Edit::usual(Table::Context(0))
                }),
                queued(1, 1),
                queued(2, 1),
                Operation::Doorbell,
                request(0, 0, 1, 0),
                request(0, 0, 1, 1),
            ],
        ),
        (
            "interrupts",
            Setup { enabled: 1 << 4, ..setup },
            vec![
                Operation::Edit(Edit {
                    index: 3,
                    bits: all,
                    kind: 4,
                    ..Edit::usual(Table::Interrupts)
                }),
                Operation::Interrupt { source: 0, address: 0x78, data: 0 },
                queued(4, 0),
                Operation::Doorbell,
                Operation::Interrupt { source: 0, address: 0x78, data: 0 },
            ],
        ),
        ("reuse", setup, vec![reuse(Scope::PasidPages, 0), reuse(Scope::Pages, 0)]),
        ("reuse-in-a-race", setup, vec![reuse(Scope::PasidPages, 3), reuse(Scope::Pasid, 12)]),
        (
            "reuse-of-an-interrupt",
            setup,
            vec![Operation::Composite(Composite::InterruptReuse(InterruptReuse {
                source: 0,
                index: 3,
                change: 11,
                scope: 0,
                mask: 2,
            }))],
        ),
        (
            "reuse-by-another-name",
            setup,
            vec![Operation::Composite(Composite::RenumberedReuse {
                request: RequestOperation {
                    kind: 0,
                    source: 0,
                    pasid: 1,
                    page: 1,
                    bits: Bits(0x10),
                },
                new: 1,
            })],
        ),
        (
            "a-replace-that-fails",
            setup,
            vec![Operation::Composite(Composite::FailingRebind {
                edit: Edit { index: 1, target: SECOND, kind: 3, ..Edit::usual(Table::Pasids(0)) },
                pasid: 1,
                old: true,
                call: 1,
            })],
        ),
        (
            "a-reset-under-way",
            setup,
            vec![
                rebind(0, FIRST, 0xff, false),
                Operation::Composite(Composite::ResetUnderWay {
                    bits: Bits(0b1011),
                    pasid: 1,
                    budget: 2,
                }),
            ],
        ),
        (
            "a-queue-error",
            setup,
            vec![
                Operation::QueueRaw { low: 0xf },
                Operation::Doorbell,
                Operation::Write { offset: 0x34, size: 4, value: 0x10 },
                Operation::Translation { on: false },
                Operation::Translation { on: true },
            ],
        ),
    ]
}

/// Descriptors in 256 bits.
fn descriptors() -> Vec<(&'static str, Vec<u64>)> {
    let one = |qw0, qw1| vec![qw0, qw1, 0, 0];
    vec![
        ("context-global", one(0x11, 0)),
        ("iotlb-page", one(0x1_0032, 0x1009)),
        ("device-tlb", one(0x18_0000_0003, 0x1001)),
        ("interrupt-entries", one(0x14, 0)),
        ("wait", one(0x1_0000_0025, 0)),
        ("pasid-iotlb-page", one(0x1_0001_0036, 0x2000)),
        ("pasid", one(0x1_0001_0017, 0)),
        ("device-tlb-of-a-pasid", one(0x1_0018_0008, 0x1001)),
        ("page-group-response", one(0x1_0018_0019, 0x18)),
        ("no-type", one(0xe, 0)),
    ]
}
