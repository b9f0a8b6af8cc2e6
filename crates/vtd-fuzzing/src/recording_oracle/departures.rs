//! Where the recorded units of recordings (not of vectors) depart from the architecture.

/// The name of the departure that explains a fault code in place of the architecture's.
pub(super) fn explains(seen: u8, right: u8) -> Option<&'static str> {
    match (seen, right) {
        (0x5b, 0x59) => Some("fault by not-present-as-invalid"),
        (0x01, 0x39)
        | (0x0a, 0x3a)
        | (0x08, 0x38)
        | (0x02, 0x41)
        | (0x0b, 0x42)
        | (0x03, 0x43)
        | (0x05, 0x79 | 0x85)
        | (0x06, 0x79 | 0x86)
        | (0x0c, 0x7a)
        | (0x04, 0x84) => Some("fault by legacy-codes"),
        _ => None,
    }
}
