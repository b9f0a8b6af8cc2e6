//! The whole unit against the model.

use vtd_fuzzing::program::RECORD;
use vtd_fuzzing::whole_unit::{Setup, run};

/// Whatever a guest, its devices, its VMM and its host do.
#[test]
fn a_unit_does_what_the_model_allows() {
    bolero::check!().with_iterations(20_000).with_max_len(64 * RECORD).for_each(|bytes| {
        run(bytes);
    });
}

#[test]
fn a_setup_is_what_its_record_says() {
    bolero::check!().with_type::<[u8; RECORD]>().for_each(|record| {
        let setup = Setup::decode(*record);
        assert_eq!(Setup::decode(setup.encode()), setup);
    });
}

/// Programs that are mere noise reach what they are about.
#[test]
fn programs_of_noise_reach_everything() {
    let mut numbers = 0x9e37_79b9_7f4a_7c15_u64;
    let mut noise = || {
        numbers ^= numbers << 13;
        numbers ^= numbers >> 7;
        numbers ^= numbers << 17;
        numbers.to_le_bytes()[0]
    };
    let mut total = vtd_fuzzing::whole_unit::Figures::default();
    for _ in 0..2_000 {
        let bytes: Vec<u8> = (0..32 * RECORD).map(|_| noise()).collect();
        let figures = run(&bytes);
        total.descriptors += figures.descriptors;
        total.present += figures.present;
        total.served += figures.served;
        total.bindings += figures.bindings;
        total.restores += figures.restores;
    }
    assert!(total.descriptors > 5_000, "{total:?}");
    assert!(total.present > 5_000, "{total:?}");
    assert!(total.served > 300, "{total:?}");
    assert!(total.bindings > 300, "{total:?}");
    assert!(total.restores > 300, "{total:?}");
}
