//! The unit does what the model allows.

use vtd_fuzzing::recording_oracle::Report;
use vtd_fuzzing::unit_against_model::run;

#[test]
fn programs() {
    let mut state = 0x2545_f491_4f6c_dd1d_u64;
    if let Some(seed) = std::env::var("SEED").ok().and_then(|seed| seed.parse::<u64>().ok()) {
        state ^= seed.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    }
    let rounds = std::env::var("ROUNDS").ok().and_then(|rounds| rounds.parse().ok()).unwrap_or(60);
    let mut total = Report::default();
    for _ in 0..rounds {
        let mut bytes = [0; 8 * 400];
        for chunk in bytes.chunks_mut(8) {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            chunk.copy_from_slice(&state.to_le_bytes());
        }
        total.add(&run(&bytes));
    }
    println!("{:#?}", total.checked);
}
