//! The buffers of a request.

use vm_memory::{Bytes, GuestAddress};

use super::dma::DeviceMemory;

/// How many bytes are moved inside one guard at most.
pub(super) const LONGEST_PIECE: u32 = 0x1_0000;

/// Bytes in the device's address space.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Buffer {
    pub(super) address: u64,
    pub(super) length: u32,
}

/// Bytes of which a page faults, or has no memory behind it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Unreachable;

impl Buffer {
    fn split(self, first: u32) -> (Self, Self) {
        let first = first.min(self.length);
        let behind = self.address.wrapping_add(first.into());
        (Self { length: first, ..self }, Self { address: behind, length: self.length - first })
    }

    pub(super) fn read(self, memory: &DeviceMemory, data: &mut [u8]) -> Result<(), Unreachable> {
        memory.read_slice(data, GuestAddress(self.address)).map_err(|_| Unreachable)
    }

    pub(super) fn write(self, memory: &DeviceMemory, data: &[u8]) -> Result<(), Unreachable> {
        memory.write_slice(data, GuestAddress(self.address)).map_err(|_| Unreachable)
    }
}

/// Buffers one behind the other. How a driver cuts a request into them means nothing.
#[derive(Clone, Debug, Default)]
pub(super) struct Buffers(Vec<Buffer>);

impl Buffers {
    pub(super) fn push(&mut self, buffer: Buffer) {
        self.0.push(buffer);
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// How many bytes there are.
    pub(super) fn length(&self) -> u64 {
        self.0.iter().map(|buffer| u64::from(buffer.length)).sum()
    }

    /// The first bytes, and what is behind them.
    pub(super) fn split(self, first: u64) -> (Self, Self) {
        let (mut before, mut behind) = (Self::default(), Self::default());
        let mut left = first;
        for buffer in self.0 {
            let (first, rest) = buffer.split(u32::try_from(left).unwrap_or(u32::MAX));
            left -= u64::from(first.length);
            before.0.extend((first.length > 0).then_some(first));
            behind.0.extend((rest.length > 0).then_some(rest));
        }
        (before, behind)
    }

    /// Pieces that one guard is long enough for, in order.
    pub(super) fn pieces(&self) -> impl Iterator<Item = Buffer> {
        self.0.iter().flat_map(|buffer| {
            let mut rest = *buffer;
            std::iter::from_fn(move || {
                let (piece, behind) = rest.split(LONGEST_PIECE);
                rest = behind;
                (piece.length > 0).then_some(piece)
            })
        })
    }
}
