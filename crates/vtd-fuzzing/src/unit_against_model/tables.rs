//! The tables of a guest: entries out of small pools, most of them good.

use super::guest::Guest;
use super::pools::{DEVICES, INDEXES, INTERRUPTS, pick};

impl Guest {
    /// Good tables: first and second stages that lead to each other and to pages.
    pub(super) fn tables(&mut self) {
        let root = if self.root == 0x1000 { [0x2001, 0] } else { [0x2001, 0x3001] };
        self.set(0x1000, &root);
        self.set(0x4000, &[0x2001, if self.root == 0x1000 { 0 } else { 0x2001 }]);
        for device in 0..4 {
            self.context(device, 1, 0, device);
        }
        for directory in [0x1_0000, 0x1_4000] {
            self.set(directory, &[0x1_1001, 0x1_2001]);
            self.set(directory + 127 * 8, &[0x1_2001]);
        }
        for pasid in 0..8 {
            self.pasid_entry(0, pasid, pasid, pasid, pasid, 0);
        }
        for index in 0..32 {
            self.set(INTERRUPTS + index * 16, &[index << 16 | index << 40 | 1, 0]);
        }
        for table in 0..8 {
            for (index, target) in [(0, table + 1), (1, table + 2), (2, 2), (3, 3)] {
                for second in [false, true] {
                    let kind = if index < 2 { 1 } else { 3 };
                    self.page(second, table, index, kind, u16::from(target) << 8 | 7);
                }
            }
        }
    }

    pub(super) fn page(&mut self, second: bool, table: u8, index: u8, kind: u8, flags: u16) {
        let base = if second { 0x3_0000 } else { 0x2_0000 };
        let [low, high] = flags.to_le_bytes().map(u64::from);
        let permissions = if second { 3 } else { 7 };
        let target = base + (high & 7) * 0x1000;
        let value = match kind & 7 {
            0 => low & !permissions,
            1 | 4 | 5 => target | permissions,
            // In a second stage tables of the first are mapped as well.
            2 => (0x2_0000 + high % 16 * 0x1000) | low & 7,
            3 => 0x4000_0000 * (1 + high % 4) | low & 7 | 1 << 7,
            6 => 0x70_0000 | (high & 0xf) << 12 | low & 7 | low >> 7 << 63 | 1 << 5 | 1 << 8,
            _ => target | permissions | 1 << (low & 63),
        };
        let index = pick(INDEXES, index);
        self.set(base + u64::from(table & 7) * 0x1000 + index * 8, &[value]);
    }

    pub(super) fn pasid_entry(
        &mut self,
        device: u8,
        pasid: u8,
        kind: u8,
        domain: u8,
        tables: u8,
        flags: u8,
    ) {
        let table = if device & 1 == 0 { 0x1_1000 } else { 0x1_2000 };
        let index = pick([0, 1, 2, 3, 63, 1, 2, 3], pasid);
        let width = pick([2, 2, 2, 1, 3, 2, 2, 0], tables >> 3);
        let pgtt = pick([1, 1, 2, 3, 4, 1, 2, 3], kind);
        let table_of = u64::from(tables & 7) * 0x1000;
        let flags = u64::from(flags);
        let present = u64::from(kind & 0xf0 != 0xf0);
        let first = 0x3_0000 + table_of | width << 2 | pgtt << 6 | present;
        let with_bits = if kind & 8 == 8 {
            (flags & 1) << 9 | (flags >> 1 & 1) << 1 | u64::from(flags == 0x55) << 10
        } else {
            0
        };
        // SRE, ERE, WPE, NXE, SMEP, EAFE.
        let third =
            if kind & 8 == 8 { flags & 0xf3 | u64::from(flags & 0x44 == 0x44) << 2 } else { 0 };
        let entry = [
            first | with_bits,
            5 + u64::from(domain & 3),
            0x2_0000 + table_of | third,
            u64::from(flags == 0xaa),
            0,
            0,
            0,
            0,
        ];
        self.set(table + index * 64, &entry);
    }

    pub(super) fn context(&mut self, device: u8, kind: u8, flags: u8, table: u8) {
        let source_id = u64::from(pick(DEVICES, device));
        let width = pick([2, 2, 3, 1], flags);
        let flags = u64::from(flags);
        if self.root & 0xc00 == 0 {
            let translation = pick([0, 1, 2, 0], kind >> 1);
            let width = if translation == 2 { 3 } else { width };
            let low = 0x3_0000 + u64::from(table & 7) * 0x1000
                | translation << 2
                | u64::from(kind & 0x79 != 0x78)
                | (flags >> 7) << 1;
            let domain = 5 + (flags >> 4 & 3);
            self.set(0x2000 + source_id * 16, &[low, domain << 8 | width]);
        } else {
            let half = if source_id >= 0x80 { 0x3000 } else { 0x2000 };
            let directory = if table & 1 == 0 { 0x1_0000 } else { 0x1_4000 };
            let low = directory
                | u64::from(kind & 0x79 != 0x78)
                | if flags & 0x13 == 0x13 { 0 } else { 8 }
                | if flags & 0x2c == 0x2c { 0 } else { 0x14 }
                | (flags >> 7) << 1
                | (flags >> 6 & 1) << 9;
            let rid_pasid = u64::from(flags & 0xc == 0xc);
            let entry = [low, rid_pasid, u64::from(flags == 0x5a), 0];
            self.set(half + (source_id & 0x7f) * 32, &entry);
        }
    }

    pub(super) fn above(&mut self, directory: bool, index: u8, kind: u8) {
        let value = |good: u64| match kind & 0x37 {
            0 => 0,
            1 => good | 4,
            2 => good | 2,
            _ => good,
        };
        if directory {
            let base = if index & 1 == 0 { 0x1_0000 } else { 0x1_4000 };
            let good = if kind & 8 == 0 { 0x1_1001 } else { 0x1_2001 };
            self.set(base + u64::from(index >> 1 & 1) * 8, &[value(good)]);
        } else {
            let legacy = self.root & 0xc00 == 0;
            let good = if kind & 8 == 0 { 0x2001 } else { 0x3001 };
            let root = if index & 1 == 0 { 0x1000 } else { 0x4000 };
            let half = if legacy { 0 } else { u64::from(index >> 1 & 1) * 8 };
            self.set(root + half, &[value(if legacy { 0x2001 } else { good })]);
        }
    }
}
