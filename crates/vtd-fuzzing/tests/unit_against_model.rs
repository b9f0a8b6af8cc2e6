//! The unit does what the model allows.

use std::panic::catch_unwind;

use vtd_fuzzing::recording_oracle::Report;
use vtd_fuzzing::unit_against_model::run;

/// Programs of 400 operations from a seed; the first that fails is made as short as it can be and run again.
fn programs(seed: u64, rounds: u64) -> Report {
    let mut state = 0x2545_f491_4f6c_dd1d_u64 ^ seed.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let mut total = Report::default();
    for _ in 0..rounds {
        let mut bytes = vec![0; 8 * 400];
        for chunk in bytes.chunks_mut(8) {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            chunk.copy_from_slice(&state.to_le_bytes());
        }
        match catch_unwind(|| run(&bytes)) {
            Ok(report) => total.add(&report),
            Err(_) => return run(&shortened(bytes)),
        }
    }
    total
}

/// Leaves out operations as long as the program fails without them.
fn shortened(mut bytes: Vec<u8>) -> Vec<u8> {
    std::panic::set_hook(Box::new(|_| {}));
    let mut length = bytes.len() / 16 * 8;
    while length >= 8 {
        let mut at = bytes.len();
        while at > 8 {
            let from = at.saturating_sub(length).max(8);
            let mut without = bytes.clone();
            without.drain(from..at);
            if catch_unwind(|| run(&without)).is_err() {
                bytes = without;
            }
            at = from;
        }
        length = if length == 8 { 0 } else { (length / 16 * 8).max(8) };
    }
    let _ = std::panic::take_hook();
    bytes
}

#[test]
fn short_run() {
    let report = programs(0, 60);
    // Programs that never hit a cache would show nothing.
    let count = |what| report.checked.get(what).copied().unwrap_or(0);
    assert!(count("dma") > 3_000 && count("dma from a cache") > 200, "{:#?}", report.checked);
}

/// `SEED=1 ROUNDS=10000 cargo test -p vtd-fuzzing --test unit_against_model -- --ignored --nocapture`.
#[test]
#[ignore = "as long as it is asked to run"]
fn long_run() {
    let number = |name| std::env::var(name).ok().and_then(|text| text.parse().ok());
    let report = programs(number("SEED").unwrap_or(1), number("ROUNDS").unwrap_or(1_000));
    println!("{:#?}", report.checked);
}
