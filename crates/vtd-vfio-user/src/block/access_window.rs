//! The window of the configuration space onto the registers (`VIRTIO_PCI_CAP_PCI_CFG`), for drivers that cannot reach a BAR.

use super::layout::{BAR, BAR_SIZE};
use crate::config_space::ConfigSpace;

/// Where the fields of the capability lie in it.
const WHICH_BAR: usize = 4;
const OFFSET: usize = 8;
const LENGTH: usize = 12;
const DATA: usize = 16;

/// The window: where its capability begins.
#[derive(Clone, Copy, Debug)]
pub(super) struct AccessWindow {
    at: usize,
}

/// What the window stands before: as many bytes of the BAR.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Target {
    pub(super) offset: u64,
    pub(super) length: usize,
}

impl AccessWindow {
    /// The window of a function: the last of its vendor-specific capabilities.
    pub(super) fn of(config: &ConfigSpace) -> Option<Self> {
        let mut at = usize::from(config.byte(0x34));
        let mut last = None;
        while at >= 0x40 {
            if config.byte(at) == 0x09 {
                last = Some(Self { at });
            }
            at = usize::from(config.byte(at + 1));
        }
        last
    }

    /// Whether an access of the configuration space goes through the window.
    pub(super) fn is_met(self, offset: u64, length: usize) -> bool {
        let data = (self.at + DATA) as u64;
        offset < data + 4 && offset.saturating_add(length as u64) > data
    }

    /// What the driver has set. An access that is not aligned, or leaves the BAR, goes nowhere.
    pub(super) fn target(self, config: &ConfigSpace) -> Option<Target> {
        let dword = |at: usize| {
            let [low, high] = [config.word(at), config.word(at + 2)].map(u32::from);
            low | high << 16
        };
        let (offset, length) = (dword(self.at + OFFSET), dword(self.at + LENGTH));
        let aligned = matches!(length, 1 | 2 | 4) && offset.is_multiple_of(length);
        let within = aligned && offset < BAR_SIZE && config.byte(self.at + WHICH_BAR) == BAR;
        within.then_some(Target { offset: offset.into(), length: length as usize })
    }

    /// The bytes in the window.
    pub(super) fn data(self, config: &ConfigSpace) -> [u8; 4] {
        [0, 1, 2, 3].map(|byte| config.byte(self.at + DATA + byte))
    }

    pub(super) fn set_data(self, config: &mut ConfigSpace, data: &[u8]) {
        for (at, byte) in (self.at + DATA..).zip(data) {
            config.clear_bits(at, !byte);
            config.set_bits(at, *byte);
        }
    }
}
