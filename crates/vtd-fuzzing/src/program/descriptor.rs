//! What a queued descriptor is in the queue.

use super::operation::Queued;
use super::pools::{DOMAINS, MASKS, PAGES, PASIDS, SOURCES, STATUS, of};

impl Queued {
    /// Its first two quadwords; the others are 0. `data` is what a wait writes.
    #[must_use]
    pub fn words(&self, data: u32) -> [u64; 2] {
        let granularity = u64::from(self.granularity);
        let domain = u64::from(of(&DOMAINS, self.domain)) << 16;
        let number = u64::from(of(&PASIDS, self.pasid));
        let pasid = number << 32;
        let source = u64::from(of(&SOURCES, self.source));
        let address = of(&PAGES, self.page) << 12;
        let mask = u64::from(of(&MASKS, self.mask));
        let bit = |bit: u8| u64::from(self.bits.has(bit));
        let low = u64::from(self.kind & 7 | self.kind & 8);
        let [mut qw0, mut qw1] = match self.kind {
            1 => {
                let functions = u64::from(self.bits.0 & 3);
                [low | granularity << 4 | domain | source << 32 | functions << 48, 0]
            }
            2 => [low | granularity << 4 | domain, address | mask | bit(0) << 6],
            3 => [low | source << 32, address | bit(1)],
            4 => {
                let index = u64::from(self.mask) << 27;
                [low | (granularity & 1) << 4 | index | (number & 7) << 32, 0]
            }
            5 => {
                let flags = bit(0) << 4 | (1 - bit(1)) << 5 | bit(2) << 6 | bit(3) << 7;
                [low | flags | u64::from(data) << 32, STATUS]
            }
            6 => [low | granularity << 4 | domain | pasid, address | mask | bit(0) << 6],
            7 => [low | granularity << 4 | domain | pasid, 0],
            8 => [low | source << 16 | pasid, address | bit(0) | bit(1) << 11],
            9 => {
                let code = of(&[0, 0, 1, 0xf], self.granularity) << 12;
                [low | bit(0) << 4 | code | source << 16 | pasid, (1 - bit(1)) << 2]
            }
            _ => [low | granularity << 4 | domain, address],
        };
        match self.turned {
            255 => {}
            turned if turned < 8 => qw0 ^= 1 << (turned * 8 + self.bits.0 % 8),
            turned => qw1 ^= 1 << ((turned - 8) % 8 * 8 + self.bits.0 % 8),
        }
        [qw0, qw1]
    }
}
