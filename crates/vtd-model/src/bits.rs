//! Bit fields of raw integers, named as the reference names them: high bit first, both included.

/// Bits `high` to `low` of a value.
pub(crate) const fn field(value: u64, high: u32, low: u32) -> u64 {
    (value << (63 - high)) >> (63 - high + low)
}

/// Whether a bit is set.
pub(crate) const fn bit(value: u64, at: u32) -> bool {
    value >> at & 1 == 1
}

/// A mask of bits `high` to `low`.
pub(crate) const fn mask(high: u32, low: u32) -> u64 {
    (u64::MAX >> (63 - high)) & (u64::MAX << low)
}

/// The low 16 bits.
pub(crate) const fn low16(value: u64) -> u16 {
    let [a, b, ..] = value.to_le_bytes();
    u16::from_le_bytes([a, b])
}

/// The low 32 bits.
pub(crate) const fn low32(value: u64) -> u32 {
    let [a, b, c, d, ..] = value.to_le_bytes();
    u32::from_le_bytes([a, b, c, d])
}

/// The low 8 bits.
pub(crate) const fn low8(value: u64) -> u8 {
    let [a, ..] = value.to_le_bytes();
    a
}
