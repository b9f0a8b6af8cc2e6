//! Arbitrary bytes as a DMAR table: reading never panics, and writing is its inverse.

use vtd_acpi::Dmar;

/// Reads the bytes as a table and as one without its header. What can be written is read again as the same.
///
/// # Panics
/// Where it is not.
#[allow(clippy::panic, reason = "an oracle reports by panicking")]
pub fn check(bytes: &[u8]) {
    for found in [Dmar::decode(bytes), Dmar::decode_body(bytes)].into_iter().flatten() {
        // What the architecture does not allow is read, and not written.
        if let Ok(again) = found.encode()
            && Dmar::decode(&again) != Ok(found.clone())
        {
            panic!("not read as it was written: {found:?}");
        }
    }
}
