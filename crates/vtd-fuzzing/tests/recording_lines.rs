//! Lines of a recording are read or refused by name, and what is read is written again as the same.

use vtd_fuzzing::recording_lines::{letters, words};

#[test]
fn lines_of_words() {
    bolero::check!().with_iterations(5_000).with_max_len(200).for_each(|bytes: &[u8]| {
        let _counts = words(bytes);
    });
}

#[test]
fn lines_of_letters() {
    bolero::check!().with_iterations(5_000).with_max_len(200).for_each(|bytes: &[u8]| {
        let _counts = letters(bytes);
    });
}

/// Words in any order are seldom a line. These are: each field of a good line is replaced by every word.
#[test]
fn good_lines_with_another_word() {
    let good: [&[u8]; 6] = [
        // dma 00:03.0 - rx 1000 fault
        &[3, 61, 48, 53, 69, 4],
        // translate 00:03.0 - w 1000 0 fff rwxp u g
        &[12, 61, 48, 51, 69, 63, 68, 59, 46, 47],
        // device-tlb 00:03.0 * 0 all
        &[15, 61, 49, 63, 45],
        // page-request 00:03.0 1 rw 1000 1ff last
        &[18, 61, 64, 52, 69, 71, 43],
        // host map 00:03.0 - 0 1000 1 rw
        &[9, 27, 61, 48, 63, 69, 64, 52],
        // fault 00:03.0 - w ffff reason f interrupt
        &[4, 61, 48, 51, 73, 38, 67, 20],
    ];
    let (mut read, mut refused) = (0, 0);
    for line in good {
        // Version 2 reads it and version 1 does not.
        let counts = words(line);
        assert_eq!((counts.read, counts.refused), (1, 1), "{line:?}");
        for at in 0..line.len() {
            for word in 0..80 {
                let mut changed = line.to_vec();
                changed[at] = word;
                let counts = words(&changed);
                read += counts.read;
                refused += counts.refused;
            }
        }
    }
    assert!(read > 200 && refused > 1_000, "{read} read, {refused} refused");
}
