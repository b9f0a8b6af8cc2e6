//! Where the registers of the block device lie, and the capabilities that say so.

use crate::config_space::ConfigSpace;

use super::registers::COMMON_SIZE;

/// The BAR with the registers.
pub(super) const BAR: u8 = 0;
/// Its size in bytes.
pub(super) const BAR_SIZE: u32 = 0x4000;

/// The structures of a virtio device, by their `cfg_type`.
const COMMON: u8 = 1;
const NOTIFY: u8 = 2;
const ISR: u8 = 3;
const DEVICE: u8 = 4;
const CONFIG_ACCESS: u8 = 5;

const VENDOR_SPECIFIC: u8 = 0x09;
/// Each structure has a page of its own.
const PAGE: u32 = 0x1000;
/// How far the places where queues are notified are apart, in bytes.
const NOTIFY_STEP: u32 = 4;

/// A register of the BAR.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// The common configuration, at this offset.
    Common(u64),
    /// The ISR status.
    Isr,
    /// The device configuration, at this offset.
    Device(u64),
    /// The notification of a queue.
    Notify(usize),
}

impl Place {
    pub(super) fn at(offset: u64) -> Option<Self> {
        let page = u64::from(PAGE);
        match (offset / page, offset % page) {
            (0, within) => Some(Self::Common(within)),
            (1, 0) => Some(Self::Isr),
            (2, within) => Some(Self::Device(within)),
            (3, within) => usize::try_from(within / u64::from(NOTIFY_STEP)).ok().map(Self::Notify),
            _ => None,
        }
    }
}

impl ConfigSpace {
    /// The registers of a virtio device with so many bytes of device configuration and so many queues.
    pub(super) fn with_virtio(self, device_size: u32, queues: u32) -> Self {
        let last = self
            .with_bar(BAR.into(), BAR_SIZE)
            .with_structure(COMMON, 0, COMMON_SIZE, &[])
            .with_structure(ISR, PAGE, 1, &[])
            .with_structure(DEVICE, 2 * PAGE, device_size, &[])
            .with_structure(NOTIFY, 3 * PAGE, queues * NOTIFY_STEP, &NOTIFY_STEP.to_le_bytes());
        // The last one is a window: its driver says which BAR, which offset and how many bytes.
        let body = structure(CONFIG_ACCESS, 0, 0, &[0; 4]);
        let mut writable = [0; 18];
        for (at, bits) in writable.iter_mut().enumerate() {
            *bits = if matches!(at, 2 | 6..) { 0xff } else { 0 };
        }
        last.with_capability(VENDOR_SPECIFIC, &body, &writable)
    }

    fn with_structure(self, kind: u8, offset: u32, length: u32, more: &[u8]) -> Self {
        self.with_capability(VENDOR_SPECIFIC, &structure(kind, offset, length, more), &[])
    }
}

/// A capability without its identifier and pointer.
fn structure(kind: u8, offset: u32, length: u32, more: &[u8]) -> Vec<u8> {
    let size = u8::try_from(16 + more.len()).unwrap_or(16);
    let mut body = vec![size, kind, BAR, 0, 0, 0];
    body.extend(offset.to_le_bytes());
    body.extend(length.to_le_bytes());
    body.extend(more);
    body
}
