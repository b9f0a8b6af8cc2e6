//! What the queues of a block device tell its driver.

use std::sync::atomic::{AtomicU8, AtomicU16, AtomicU32, Ordering};

use virtio_bindings::virtio_config::{VIRTIO_CONFIG_S_DRIVER_OK, VIRTIO_CONFIG_S_NEEDS_RESET};

use super::{QUEUES, VECTORS};
use crate::interrupts::Interrupts;

/// The vector of what gets no interrupt.
pub(super) const NO_VECTOR: u16 = 0xffff;

const ISR_QUEUE: u8 = 1;
const ISR_CONFIG: u8 = 1 << 1;

/// The device status, and how the driver is interrupted. The queues' threads share it with the registers.
#[derive(Debug)]
pub(super) struct DeviceState {
    status: AtomicU32,
    isr: AtomicU8,
    config_vector: AtomicU16,
    queue_vectors: [AtomicU16; QUEUES],
    interrupts: Interrupts,
}

impl DeviceState {
    pub(super) fn new(interrupts: Interrupts) -> Self {
        Self {
            status: AtomicU32::new(0),
            isr: AtomicU8::new(0),
            config_vector: AtomicU16::new(NO_VECTOR),
            queue_vectors: std::array::from_fn(|_| AtomicU16::new(NO_VECTOR)),
            interrupts,
        }
    }

    /// Bits of `VIRTIO_CONFIG_S_`.
    pub(super) fn status(&self) -> u32 {
        self.status.load(Ordering::Acquire)
    }

    pub(super) fn has(&self, status: u32) -> bool {
        self.status() & status == status
    }

    /// Adds bits. They go away with a reset alone.
    pub(super) fn add(&self, status: u32) {
        self.status.fetch_or(status, Ordering::AcqRel);
    }

    /// The device has met something that it cannot go on from.
    pub(super) fn needs_reset(&self) {
        self.add(VIRTIO_CONFIG_S_NEEDS_RESET);
        // Before that the driver has not said that it listens.
        if self.has(VIRTIO_CONFIG_S_DRIVER_OK) {
            self.isr.fetch_or(ISR_CONFIG, Ordering::AcqRel);
            self.interrupts.trigger(self.config_vector.load(Ordering::Acquire));
        }
    }

    /// A queue has used a buffer, and its driver wants to know.
    pub(super) fn used(&self, queue: usize) {
        self.isr.fetch_or(ISR_QUEUE, Ordering::AcqRel);
        self.interrupts.trigger(self.queue_vector(queue));
    }

    /// The ISR status, which reading clears.
    pub(super) fn take_isr(&self) -> u8 {
        self.isr.swap(0, Ordering::AcqRel)
    }

    pub(super) fn config_vector(&self) -> u16 {
        self.config_vector.load(Ordering::Acquire)
    }

    pub(super) fn set_config_vector(&self, vector: u16) {
        self.config_vector.store(existing(vector), Ordering::Release);
    }

    pub(super) fn queue_vector(&self, queue: usize) -> u16 {
        let vector = self.queue_vectors.get(queue);
        vector.map_or(NO_VECTOR, |vector| vector.load(Ordering::Acquire))
    }

    pub(super) fn set_queue_vector(&self, queue: usize, vector: u16) {
        if let Some(place) = self.queue_vectors.get(queue) {
            place.store(existing(vector), Ordering::Release);
        }
    }

    /// Everything is as it was at power-on. No queue runs.
    pub(super) fn reset(&self) {
        self.status.store(0, Ordering::Release);
        self.isr.store(0, Ordering::Release);
        self.set_config_vector(NO_VECTOR);
        for vector in &self.queue_vectors {
            vector.store(NO_VECTOR, Ordering::Release);
        }
    }
}

/// A driver that asks for a vector that is not there reads that it has none.
fn existing(vector: u16) -> u16 {
    if vector < VECTORS { vector } else { NO_VECTOR }
}
