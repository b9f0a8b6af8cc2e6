//! A request of a block device: what is asked for, and doing it.

use virtio_bindings::virtio_blk::{
    VIRTIO_BLK_ID_BYTES, VIRTIO_BLK_T_FLUSH, VIRTIO_BLK_T_GET_ID, VIRTIO_BLK_T_IN, VIRTIO_BLK_T_OUT,
};
use virtio_queue::DescriptorChain;

use super::buffers::{Buffer, Buffers, LONGEST_PIECE, Unreachable};
use super::disk::Disk;
use super::dma::DeviceMemory;
use super::halt::Halt;

/// The length of a request's header in bytes.
const HEADER: u64 = 16;

/// What [`VIRTIO_BLK_T_GET_ID`] gives, padded with zeros.
pub(super) type DiskId = [u8; VIRTIO_BLK_ID_BYTES as usize];

/// A request as its driver has laid it out.
#[derive(Debug)]
pub(super) struct Request {
    header: Buffers,
    /// Behind the header: what is written to the disk.
    out: Buffers,
    /// Before the status: where what is read goes.
    into: Buffers,
    status: Buffer,
}

/// How a request has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Outcome {
    Done,
    Failed,
    Unsupported,
}

/// What requests are carried out with.
pub(super) struct Means<'m> {
    pub(super) memory: &'m DeviceMemory,
    pub(super) disk: &'m Disk,
    pub(super) id: &'m DiskId,
    /// Every write lasts before it is answered.
    pub(super) write_through: bool,
    pub(super) stopped: &'m dyn Fn() -> bool,
}

impl Request {
    /// Reads the descriptors of a request, `most` of them.
    ///
    /// # Errors
    /// [`Halt::Broken`]: the chain has no end, or none within `most` descriptors; a part of it cannot be read; the driver's buffers stand
    /// behind the device's; or there is no room for a header and a status.
    pub(super) fn read(chain: DescriptorChain<&DeviceMemory>, most: usize) -> Result<Self, Halt> {
        let (mut readable, mut writable) = (Buffers::default(), Buffers::default());
        // A chain that cannot be followed ends early, at a descriptor that says that another one follows.
        let mut more = true;
        for (number, descriptor) in chain.enumerate() {
            let device_writes = descriptor.is_write_only();
            if number >= most || !device_writes && !writable.is_empty() {
                return Err(Halt::Broken);
            }
            let buffer = Buffer { address: descriptor.addr().0, length: descriptor.len() };
            if device_writes { &mut writable } else { &mut readable }.push(buffer);
            more = descriptor.has_next();
        }
        let data = writable.length().checked_sub(1).filter(|_| !more).ok_or(Halt::Broken)?;
        let (into, status) = writable.split(data);
        let (header, out) = readable.split(HEADER);
        match status.pieces().next() {
            Some(status) if header.length() == HEADER => Ok(Self { header, out, into, status }),
            _ => Err(Halt::Broken),
        }
    }

    /// Does what is asked for. How many bytes have been written for the driver.
    ///
    /// # Errors
    /// [`Halt::Stopped`]; [`Halt::Broken`] if the status cannot be written: the driver would never know.
    pub(super) fn carry_out(&self, means: &Means<'_>, bytes: &mut Vec<u8>) -> Result<u32, Halt> {
        let mut written = 0;
        let outcome = match self.attempt(means, bytes, &mut written) {
            Ok(outcome) => outcome,
            Err(Failure::Halt(halt)) => return Err(halt),
            Err(Failure::Request) => Outcome::Failed,
        };
        let code = match outcome {
            Outcome::Done => 0,
            Outcome::Failed => 1,
            Outcome::Unsupported => 2,
        };
        self.status.write(means.memory, &[code]).map_err(|Unreachable| Halt::Broken)?;
        // What is told of has been written without a gap.
        let whole = written == self.into.length();
        Ok(u32::try_from(written + u64::from(whole)).unwrap_or(u32::MAX))
    }

    fn attempt(
        &self,
        means: &Means<'_>,
        bytes: &mut Vec<u8>,
        written: &mut u64,
    ) -> Result<Outcome, Failure> {
        let mut header = Vec::new();
        for piece in self.header.pieces() {
            piece.read(means.memory, space(bytes, piece))?;
            header.extend_from_slice(bytes);
        }
        let (kind, sector) = match header.as_slice() {
            [a, b, c, d, _, _, _, _, sector @ ..] => {
                let sector = sector.try_into().map_or(u64::MAX, u64::from_le_bytes);
                (u32::from_le_bytes([*a, *b, *c, *d]), sector)
            }
            _ => return Err(Failure::Request),
        };
        match kind {
            VIRTIO_BLK_T_IN => self.read_disk(means, sector, bytes, written)?,
            VIRTIO_BLK_T_OUT => self.write_disk(means, sector, bytes)?,
            VIRTIO_BLK_T_FLUSH => means.disk.flush()?,
            VIRTIO_BLK_T_GET_ID => {
                let mut id = means.id.as_slice();
                for piece in self.into.pieces() {
                    let (now, later) = id.split_at(id.len().min(piece.length as usize));
                    piece.write(means.memory, now)?;
                    *written += now.len() as u64;
                    id = later;
                    if id.is_empty() {
                        break;
                    }
                }
            }
            _ => return Ok(Outcome::Unsupported),
        }
        Ok(Outcome::Done)
    }

    fn read_disk(
        &self,
        means: &Means<'_>,
        sector: u64,
        bytes: &mut Vec<u8>,
        written: &mut u64,
    ) -> Result<(), Failure> {
        let start = means.disk.place(sector, self.into.length()).ok_or(Failure::Request)?;
        for piece in self.into.pieces() {
            means.go_on()?;
            let data = space(bytes, piece);
            means.disk.read(data, start + *written)?;
            piece.write(means.memory, data)?;
            *written += u64::from(piece.length);
        }
        Ok(())
    }

    fn write_disk(
        &self,
        means: &Means<'_>,
        sector: u64,
        bytes: &mut Vec<u8>,
    ) -> Result<(), Failure> {
        let mut at = means.disk.place(sector, self.out.length()).ok_or(Failure::Request)?;
        for piece in self.out.pieces() {
            means.go_on()?;
            let data = space(bytes, piece);
            piece.read(means.memory, data)?;
            means.disk.write(data, at)?;
            at += u64::from(piece.length);
        }
        if means.write_through {
            means.disk.flush()?;
        }
        Ok(())
    }
}

impl Means<'_> {
    fn go_on(&self) -> Result<(), Failure> {
        if (self.stopped)() { Err(Failure::Halt(Halt::Stopped)) } else { Ok(()) }
    }
}

/// Room for the bytes of a piece.
fn space(bytes: &mut Vec<u8>, piece: Buffer) -> &mut [u8] {
    bytes.resize(piece.length.min(LONGEST_PIECE) as usize, 0);
    bytes
}

/// Why a request is not done.
enum Failure {
    /// The driver reads so in its status.
    Request,
    /// The queue does not go on.
    Halt(Halt),
}

impl From<Unreachable> for Failure {
    fn from(Unreachable: Unreachable) -> Self {
        Self::Request
    }
}

impl From<std::io::Error> for Failure {
    fn from(_: std::io::Error) -> Self {
        Self::Request
    }
}
