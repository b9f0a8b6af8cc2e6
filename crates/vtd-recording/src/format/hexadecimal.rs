//! Hexadecimal numbers and bytes, without sign or prefix.

use std::fmt;

/// The number that these digits make, or `None` where there is none of at most 64 bits.
pub(super) fn number(digits: &str) -> Option<u64> {
    if digits.is_empty() {
        return None;
    }
    digits.bytes().try_fold(0_u64, |number, byte| {
        let room = number >> 60 == 0;
        room.then_some(number << 4 | u64::from(digit(byte)?))
    })
}

/// The bytes that these digits make two by two, or `None` where there is an odd or an alien one.
pub(super) fn bytes(digits: &str) -> Option<Vec<u8>> {
    let (pairs, []) = digits.as_bytes().as_chunks::<2>() else {
        return None;
    };
    let mut bytes = Vec::with_capacity(pairs.len());
    for &[high, low] in pairs {
        bytes.push(digit(high)? << 4 | digit(low)?);
    }
    Some(bytes)
}

/// Writes bytes in the order of memory, two digits each.
pub(super) fn write_bytes(f: &mut fmt::Formatter<'_>, bytes: &[u8]) -> fmt::Result {
    // Eight at a time: `mem` lines are most of a recording.
    let (eights, rest) = bytes.as_chunks::<8>();
    for eight in eights {
        write!(f, "{:016x}", u64::from_be_bytes(*eight))?;
    }
    for byte in rest {
        write!(f, "{byte:02x}")?;
    }
    Ok(())
}

fn digit(byte: u8) -> Option<u8> {
    match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'a'..=b'f' => Some(byte - b'a' + 10),
        b'A'..=b'F' => Some(byte - b'A' + 10),
        _ => None,
    }
}
