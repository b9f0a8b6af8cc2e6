//! The features that a block device offers, and which of them a driver takes.

use virtio_bindings::virtio_blk::{
    VIRTIO_BLK_F_BLK_SIZE, VIRTIO_BLK_F_FLUSH, VIRTIO_BLK_F_MQ, VIRTIO_BLK_F_SEG_MAX,
};
use virtio_bindings::virtio_config::{
    VIRTIO_F_ACCESS_PLATFORM, VIRTIO_F_RING_RESET, VIRTIO_F_VERSION_1,
};
use virtio_bindings::virtio_ring::{VIRTIO_RING_F_EVENT_IDX, VIRTIO_RING_F_INDIRECT_DESC};

/// A set of feature bits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Features(u64);

impl Features {
    /// What the device offers.
    pub(super) const OFFERED: Self = Self(
        1 << VIRTIO_BLK_F_SEG_MAX
            | 1 << VIRTIO_BLK_F_BLK_SIZE
            | 1 << VIRTIO_BLK_F_FLUSH
            | 1 << VIRTIO_BLK_F_MQ
            | 1 << VIRTIO_RING_F_INDIRECT_DESC
            | 1 << VIRTIO_RING_F_EVENT_IDX
            | 1 << VIRTIO_F_VERSION_1
            | 1 << VIRTIO_F_ACCESS_PLATFORM
            | 1 << VIRTIO_F_RING_RESET,
    );

    /// A driver without these would take the device for one of before virtio 1.0, or give it addresses that are none of its own.
    const NEEDED: u64 = 1 << VIRTIO_F_VERSION_1 | 1 << VIRTIO_F_ACCESS_PLATFORM;

    /// Whether the device works with a driver that takes these.
    pub(super) fn are_acceptable(self) -> bool {
        self.0 & !Self::OFFERED.0 == 0 && self.0 & Self::NEEDED == Self::NEEDED
    }

    /// The driver has taken a feature.
    pub(super) fn has(self, feature: u32) -> bool {
        self.0 >> feature & 1 != 0
    }

    /// 32 of the bits: those from `32 * window` on.
    pub(super) fn window(self, window: u32) -> u32 {
        let [a, b, c, d, e, f, g, h] = self.0.to_le_bytes();
        match window {
            0 => u32::from_le_bytes([a, b, c, d]),
            1 => u32::from_le_bytes([e, f, g, h]),
            _ => 0,
        }
    }

    /// The same with 32 bits as the driver writes them. There are none above bit 63.
    pub(super) fn with_window(self, window: u32, bits: u32) -> Self {
        match window {
            0 => Self(self.0 & !0xffff_ffff | u64::from(bits)),
            1 => Self(self.0 & 0xffff_ffff | u64::from(bits) << 32),
            _ => self,
        }
    }
}
