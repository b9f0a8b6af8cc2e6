//! The common configuration of a virtio device: the registers through which its driver sets it up.

use std::sync::Arc;

use virtio_bindings::virtio_blk::VIRTIO_BLK_F_FLUSH;
use virtio_bindings::virtio_config::{
    VIRTIO_CONFIG_S_ACKNOWLEDGE, VIRTIO_CONFIG_S_DRIVER, VIRTIO_CONFIG_S_DRIVER_OK,
    VIRTIO_CONFIG_S_FAILED, VIRTIO_CONFIG_S_FEATURES_OK, VIRTIO_F_RING_RESET,
};
use virtio_bindings::virtio_ring::VIRTIO_RING_F_EVENT_IDX;
use virtio_queue::{Queue, QueueT};
use vm_memory::GuestAddress;

use super::device_state::DeviceState;
use super::features::Features;
use super::{QUEUE_SIZE, QUEUES};

/// The size of the common configuration in bytes.
pub(super) const COMMON_SIZE: u32 = 0x3c;

/// What a write asks the device to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wish {
    /// Forget everything.
    Reset,
    /// Run the queues that are enabled.
    Run,
    /// Stop one queue; its registers have been forgotten.
    StopQueue(usize),
}

/// The registers, but for those that live in the [`DeviceState`].
#[derive(Debug)]
pub(super) struct Registers {
    state: Arc<DeviceState>,
    device_window: u32,
    driver_window: u32,
    driver_features: Features,
    selected: u16,
    queues: [QueueRegisters; QUEUES],
}

/// The registers of one queue.
#[derive(Clone, Copy, Debug)]
struct QueueRegisters {
    size: u16,
    enabled: bool,
    descriptors: u64,
    driver_ring: u64,
    device_ring: u64,
}

impl Default for QueueRegisters {
    fn default() -> Self {
        Self { size: QUEUE_SIZE, enabled: false, descriptors: 0, driver_ring: 0, device_ring: 0 }
    }
}

impl Registers {
    pub(super) fn new(state: Arc<DeviceState>) -> Self {
        Self {
            state,
            device_window: 0,
            driver_window: 0,
            driver_features: Features::default(),
            selected: 0,
            queues: Default::default(),
        }
    }

    /// Everything is as it was at power-on. No queue runs.
    pub(super) fn reset(&mut self) {
        self.state.reset();
        *self = Self::new(Arc::clone(&self.state));
    }

    /// Whether the driver has ever asked for data to be flushed: one that cannot has to find everything written.
    pub(super) fn can_flush(&self) -> bool {
        self.driver_features.has(VIRTIO_BLK_F_FLUSH)
    }

    /// Whether queues run.
    pub(super) fn running(&self) -> bool {
        self.state.has(VIRTIO_CONFIG_S_FEATURES_OK | VIRTIO_CONFIG_S_DRIVER_OK)
    }

    /// A queue as its driver has set it up. `None` while it is not enabled.
    ///
    /// # Errors
    /// Its size or an address is none that a queue can have.
    pub(super) fn queue(&self, number: usize) -> Result<Option<Queue>, virtio_queue::Error> {
        let Some(registers) = self.queues.get(number).filter(|queue| queue.enabled) else {
            return Ok(None);
        };
        let mut queue = Queue::new(QUEUE_SIZE)?;
        queue.try_set_size(registers.size)?;
        queue.try_set_desc_table_address(GuestAddress(registers.descriptors))?;
        queue.try_set_avail_ring_address(GuestAddress(registers.driver_ring))?;
        queue.try_set_used_ring_address(GuestAddress(registers.device_ring))?;
        queue.set_event_idx(self.driver_features.has(VIRTIO_RING_F_EVENT_IDX));
        queue.set_ready(true);
        Ok(Some(queue))
    }

    fn selected(&self) -> Option<&QueueRegisters> {
        self.queues.get(usize::from(self.selected))
    }

    /// All of it as bytes.
    pub(super) fn bytes(&self) -> Vec<u8> {
        let state = &self.state;
        let queue = self.selected();
        let queue_or_none =
            queue.copied().unwrap_or(QueueRegisters { size: 0, ..Default::default() });
        let queues = u16::try_from(QUEUES).unwrap_or(0);
        let notify_offset = if queue.is_some() { self.selected } else { 0 };
        let [status, ..] = state.status().to_le_bytes();
        let mut bytes = Vec::with_capacity(COMMON_SIZE as usize);
        bytes.extend(self.device_window.to_le_bytes());
        bytes.extend(Features::OFFERED.window(self.device_window).to_le_bytes());
        bytes.extend(self.driver_window.to_le_bytes());
        bytes.extend(self.driver_features.window(self.driver_window).to_le_bytes());
        bytes.extend(state.config_vector().to_le_bytes());
        bytes.extend(queues.to_le_bytes());
        // Nothing in the device configuration ever changes: its generation stays 0.
        bytes.extend([status, 0]);
        bytes.extend(self.selected.to_le_bytes());
        bytes.extend(queue_or_none.size.to_le_bytes());
        bytes.extend(state.queue_vector(self.selected.into()).to_le_bytes());
        bytes.extend(u16::from(queue_or_none.enabled).to_le_bytes());
        bytes.extend(notify_offset.to_le_bytes());
        bytes.extend(queue_or_none.descriptors.to_le_bytes());
        bytes.extend(queue_or_none.driver_ring.to_le_bytes());
        bytes.extend(queue_or_none.device_ring.to_le_bytes());
        // No notification data of its own. A queue has been reset by the time its driver can ask.
        bytes.extend([0; 4]);
        bytes
    }

    /// The driver writes a register, whole; the 64-bit ones also by halves. Anything else is ignored.
    pub(super) fn write(&mut self, offset: u64, data: &[u8]) -> Option<Wish> {
        match (offset, data) {
            (0x00, &[a, b, c, d]) => self.device_window = u32::from_le_bytes([a, b, c, d]),
            (0x08, &[a, b, c, d]) => self.driver_window = u32::from_le_bytes([a, b, c, d]),
            (0x0c, &[a, b, c, d]) => self.set_driver_features(u32::from_le_bytes([a, b, c, d])),
            (0x10, &[a, b]) => self.state.set_config_vector(u16::from_le_bytes([a, b])),
            (0x14, &[status]) => return self.set_status(status.into()),
            (0x16, &[a, b]) => self.selected = u16::from_le_bytes([a, b]),
            (0x1a, &[a, b]) => {
                self.state.set_queue_vector(self.selected.into(), u16::from_le_bytes([a, b]));
            }
            (0x3a, &[1, 0]) => return self.reset_queue(),
            (0x18..0x38, data) => return self.set_up_queue(offset, data),
            _ => {}
        }
        None
    }

    /// What has been agreed on stays.
    fn set_driver_features(&mut self, bits: u32) {
        if !self.state.has(VIRTIO_CONFIG_S_FEATURES_OK) {
            self.driver_features = self.driver_features.with_window(self.driver_window, bits);
        }
    }

    fn set_status(&mut self, status: u32) -> Option<Wish> {
        if status == 0 {
            return Some(Wish::Reset);
        }
        let acceptable = self.driver_features.are_acceptable();
        let refused = if acceptable { 0 } else { VIRTIO_CONFIG_S_FEATURES_OK };
        let known = VIRTIO_CONFIG_S_ACKNOWLEDGE
            | VIRTIO_CONFIG_S_DRIVER
            | VIRTIO_CONFIG_S_FEATURES_OK
            | VIRTIO_CONFIG_S_DRIVER_OK
            | VIRTIO_CONFIG_S_FAILED;
        let before = self.running();
        self.state.add(status & known & !refused);
        (self.running() && !before).then_some(Wish::Run)
    }

    fn reset_queue(&mut self) -> Option<Wish> {
        let number = usize::from(self.selected);
        let queue = self.queues.get_mut(number)?;
        if !self.driver_features.has(VIRTIO_F_RING_RESET) {
            return None;
        }
        *queue = QueueRegisters::default();
        Some(Wish::StopQueue(number))
    }

    /// The registers of a queue that is enabled stay as they are.
    fn set_up_queue(&mut self, offset: u64, data: &[u8]) -> Option<Wish> {
        let number = usize::from(self.selected);
        let queue = self.queues.get_mut(number).filter(|queue| !queue.enabled)?;
        let address = match offset {
            0x20..0x28 => &mut queue.descriptors,
            0x28..0x30 => &mut queue.driver_ring,
            _ => &mut queue.device_ring,
        };
        match (offset, data) {
            (0x18, &[a, b]) => queue.size = u16::from_le_bytes([a, b]),
            (0x1c, &[1, 0]) => {
                queue.enabled = true;
                return self.running().then_some(Wish::Run);
            }
            (0x20 | 0x28 | 0x30, &[a, b, c, d]) => {
                let half = u32::from_le_bytes([a, b, c, d]);
                *address = *address & !0xffff_ffff | u64::from(half);
            }
            (0x24 | 0x2c | 0x34, &[a, b, c, d]) => {
                let half = u32::from_le_bytes([a, b, c, d]);
                *address = *address & 0xffff_ffff | u64::from(half) << 32;
            }
            (0x20 | 0x28 | 0x30, &[a, b, c, d, e, f, g, h]) => {
                *address = u64::from_le_bytes([a, b, c, d, e, f, g, h]);
            }
            _ => {}
        }
        None
    }
}
