//! Programs as bytes.

use vtd_fuzzing::program::{Operation, RECORD, decode, encode};

/// Whatever the bytes, what is decoded is encoded to what decodes to the same.
#[test]
fn encode_is_the_inverse_of_decode() {
    bolero::check!().with_type::<[u8; RECORD]>().for_each(|record| {
        let operation = Operation::decode(*record);
        assert_eq!(Operation::decode(operation.encode()), operation, "{operation}");
        assert_eq!(decode(&encode(&[operation, operation])), [operation, operation]);
    });
}
