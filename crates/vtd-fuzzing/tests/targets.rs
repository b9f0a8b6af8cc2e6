//! The properties of the targets that have no test of their own, over fresh inputs and under bolero's engines.

use vtd_fuzzing::targets::run;

macro_rules! property {
    ($name:ident, $iterations:literal, $length:literal) => {
        #[test]
        fn $name() {
            bolero::check!()
                .with_iterations($iterations)
                .with_max_len($length)
                .for_each(|bytes: &[u8]| run(stringify!($name), bytes));
        }
    };
}

property!(page_walk, 5_000, 400);
property!(pasid_range_walk, 2_000, 400);
property!(invalidation_queue, 2_000, 400);
property!(page_requests, 2_000, 400);
property!(recording_parser, 5_000, 300);
property!(state_restore, 2_000, 60);
property!(memory_image, 1_000, 200);

/// `cargo xtask fuzz` goes by the files.
#[test]
fn every_target_has_a_program() {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/fuzz_targets");
    for target in vtd_fuzzing::targets::TARGETS {
        let name = target.name;
        let text = std::fs::read_to_string(folder.join(name).with_extension("rs")).unwrap();
        assert!(text.contains(&format!("vtd_fuzzing::targets::{name}(bytes)")), "{name}");
    }
    assert_eq!(std::fs::read_dir(folder).unwrap().count(), vtd_fuzzing::targets::TARGETS.len());
}
