//! Decoding is total and encoding is its inverse, over arbitrary raw values.

use vtd_fuzzing::decoding::RawEntry;

#[test]
fn what_is_well_formed_is_encoded_and_decoded_to_the_same() {
    bolero::check!().with_arbitrary::<RawEntry>().with_iterations(20_000).for_each(RawEntry::check);
}
