//! A unit with small caches answers as one without any.

use vtd_fuzzing::cached_translation::run;

// feature: 1.walks: while the guest changes its tables
#[test]
fn short_programs() {
    bolero::check!().with_iterations(300).with_max_len(800).for_each(|bytes: &[u8]| {
        let _counts = run(bytes);
    });
}

// feature: 1.walks: while the guest changes its tables
#[test]
fn long_programs() {
    let mut state = 0x2545_f491_4f6c_dd1d_u64;
    let (mut hits, mut misses) = (0, 0);
    for _ in 0..300 {
        let mut bytes = [0; 8 * 500];
        for chunk in bytes.chunks_mut(8) {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            chunk.copy_from_slice(&state.to_le_bytes());
        }
        let counts = run(&bytes);
        hits += counts.translation_hits;
        misses += counts.translation_misses;
    }
    // Programs that never hit would show nothing.
    assert!(hits > 3_000 && misses > 3_000, "{hits} hits, {misses} misses");
}
