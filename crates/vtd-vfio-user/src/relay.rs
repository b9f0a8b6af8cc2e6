//! What stands between the VMM and the server of a function that has to write to guest memory by message.
//!
//! The unit's own interrupts are writes to FEE0_0000 to FEEF_FFFF with the address and data that the guest programmed. vfio-user has a
//! message for writes that a function makes through the VMM (`DMA_WRITE`), and QEMU delivers one to that range as an interrupt;
//! the crate that serves the protocol has no way to send it. So the connection runs through here: everything passes unchanged
//! in both directions, writes are put between the server's replies, and the answers to them are taken out.

use std::io::{self, IoSlice, IoSliceMut, Read, Write};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, recvmsg, sendmsg,
};
use vtd::InterruptMessage;

/// The size of a message's header in bytes: identifier and command of 2, size, flags and error of 4.
const HEADER: usize = 16;
/// The most bytes of a message; the protocol's own default for what one moves is a mebibyte.
const LARGEST: usize = 2 << 20;
const DMA_WRITE: u16 = 12;
const FLAGS_TYPE: u32 = 0xf;
const FLAGS_REPLY: u32 = 1;
const FLAGS_ERROR: u32 = 1 << 5;
/// The most file descriptors that come with a message.
const MOST_DESCRIPTORS: usize = 16;

/// Sends interrupts through the connection of a function. Clones are the same way.
#[derive(Clone, Debug, Default)]
pub struct MessageSender {
    way: Arc<Way>,
}

#[derive(Debug, Default)]
struct Way {
    /// To the VMM, while one is connected. Messages go out whole under this lock.
    vmm: Mutex<Option<UnixStream>>,
    sent: AtomicU64,
    refused: AtomicU64,
    lost: AtomicU64,
}

impl MessageSender {
    /// Writes an interrupt message. Without a VMM it is lost, which is counted.
    pub fn send(&self, message: InterruptMessage) {
        let number = self.way.sent.fetch_add(1, Ordering::Relaxed);
        let [low, high, ..] = number.to_le_bytes();
        let sent = self.with_vmm(|vmm| vmm.write_all(&dma_write([low, high], message)));
        if !matches!(sent, Some(Ok(()))) {
            self.way.lost.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// How many were sent, how many the VMM refused and how many found no VMM.
    #[must_use]
    pub fn counts(&self) -> (u64, u64, u64) {
        let [sent, refused, lost] = [&self.way.sent, &self.way.refused, &self.way.lost];
        let [sent, refused, lost] =
            [sent, refused, lost].map(|count| count.load(Ordering::Relaxed));
        (sent - lost.min(sent), refused, lost)
    }

    /// Connects a VMM with the server behind `server` until one of them goes away.
    ///
    /// # Errors
    /// What the connections failed with.
    pub fn relay(&self, listener: &UnixListener, server: &UnixStream) -> io::Result<()> {
        let (vmm, _) = listener.accept()?;
        *self.vmm() = Some(vmm.try_clone()?);
        let ended = std::thread::scope(|scope| {
            let replies = scope.spawn(|| {
                let ended = self.pass_replies(server);
                // Whoever of the two ends takes the other along.
                let _gone = vmm.shutdown(std::net::Shutdown::Both);
                ended
            });
            let requests = self.pass_requests(&vmm, server);
            let _gone = server.shutdown(std::net::Shutdown::Both);
            let replies = replies.join().unwrap_or(Ok(()));
            requests.and(replies)
        });
        *self.vmm() = None;
        ended
    }

    /// From the VMM to the server, with descriptors.
    fn pass_requests(&self, vmm: &UnixStream, server: &UnixStream) -> io::Result<()> {
        while let Some((message, descriptors)) = receive(vmm)? {
            if is_write_reply(&message) {
                if flags(&message) & FLAGS_ERROR != 0 {
                    self.way.refused.fetch_add(1, Ordering::Relaxed);
                }
                continue;
            }
            send(server, &message, &descriptors)?;
        }
        Ok(())
    }

    /// From the server to the VMM.
    fn pass_replies(&self, server: &UnixStream) -> io::Result<()> {
        while let Some((message, descriptors)) = receive(server)? {
            match self.with_vmm(|vmm| send(vmm, &message, &descriptors)) {
                Some(sent) => sent?,
                None => return Ok(()),
            }
        }
        Ok(())
    }

    fn with_vmm<T>(&self, act: impl FnOnce(&mut UnixStream) -> T) -> Option<T> {
        self.vmm().as_mut().map(act)
    }

    fn vmm(&self) -> std::sync::MutexGuard<'_, Option<UnixStream>> {
        self.way.vmm.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A write of four bytes: address and count of 8 bytes each, then the data.
fn dma_write(id: [u8; 2], message: InterruptMessage) -> [u8; 36] {
    let mut bytes = [0; 36];
    let fields: [(usize, &[u8]); 6] = [
        (0, &id),
        (2, &DMA_WRITE.to_le_bytes()),
        (4, &36_u32.to_le_bytes()),
        (16, &message.address.to_le_bytes()),
        (24, &4_u64.to_le_bytes()),
        (32, &message.data.to_le_bytes()),
    ];
    for (offset, field) in fields {
        for (to, from) in bytes.iter_mut().skip(offset).zip(field) {
            *to = *from;
        }
    }
    bytes
}

fn word(message: &[u8], offset: usize) -> u32 {
    message
        .get(offset..offset + 4)
        .and_then(|bytes| bytes.try_into().ok())
        .map_or(0, u32::from_le_bytes)
}

fn flags(message: &[u8]) -> u32 {
    word(message, 8)
}

fn is_write_reply(message: &[u8]) -> bool {
    flags(message) & FLAGS_TYPE == FLAGS_REPLY && word(message, 0) >> 16 == u32::from(DMA_WRITE)
}

/// One whole message and the descriptors that came with it; `None` when the other end is gone.
fn receive(mut stream: &UnixStream) -> io::Result<Option<(Vec<u8>, Vec<OwnedFd>)>> {
    let mut header = [0; HEADER];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MOST_DESCRIPTORS))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let received = {
        let mut parts = [IoSliceMut::new(&mut header)];
        recvmsg(stream.as_fd(), &mut parts, &mut control, RecvFlags::CMSG_CLOEXEC)?.bytes
    };
    if received == 0 {
        return Ok(None);
    }
    let mut descriptors = Vec::new();
    for message in control.drain() {
        if let RecvAncillaryMessage::ScmRights(rights) = message {
            descriptors.extend(rights);
        }
    }
    let rest = header.get_mut(received..).unwrap_or(&mut []);
    stream.read_exact(rest)?;
    let size = usize::try_from(word(&header, 4)).unwrap_or(usize::MAX);
    if !(HEADER..=LARGEST).contains(&size) {
        let text = format!(
            "a vfio-user message of {size} bytes: between {HEADER} and {LARGEST} are possible"
        );
        return Err(io::Error::new(io::ErrorKind::InvalidData, text));
    }
    let mut message = header.to_vec();
    message.resize(size, 0);
    stream.read_exact(message.get_mut(HEADER..).unwrap_or(&mut []))?;
    Ok(Some((message, descriptors)))
}

/// Sends one whole message.
fn send(mut stream: &UnixStream, message: &[u8], descriptors: &[OwnedFd]) -> io::Result<()> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MOST_DESCRIPTORS))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    let borrowed: Vec<_> = descriptors.iter().map(AsFd::as_fd).collect();
    if !borrowed.is_empty() {
        control.push(SendAncillaryMessage::ScmRights(&borrowed));
    }
    let parts = [IoSlice::new(message)];
    let sent = sendmsg(stream.as_fd(), &parts, &mut control, SendFlags::NOSIGNAL)?;
    stream.write_all(message.get(sent..).unwrap_or(&[]))
}
