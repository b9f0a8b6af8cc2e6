//! The same stream of numbers for everything that is compared.

/// Xorshift: numbers of 64 bits, the same ones every time.
pub(crate) struct Random(u64);

impl Random {
    pub(crate) const fn new() -> Self {
        Self(0x0139_408d_cbbf_7a44)
    }

    pub(crate) fn below(&mut self, end: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) % end
    }

    /// Addresses in `pages` pages of so many bits, qword by qword.
    pub(crate) fn addresses(&mut self, count: usize, pages: u64, bits: u32) -> Vec<u64> {
        let address = |_| self.below(pages) << bits | (self.below(512) << 3);
        (0..count).map(address).collect()
    }
}
