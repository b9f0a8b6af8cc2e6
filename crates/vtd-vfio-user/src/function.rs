//! A PCI function, and how it is served.

use std::fs::File;
use std::io;
use std::os::unix::net::UnixListener;

use vfio_bindings::bindings::vfio::{
    VFIO_IRQ_INFO_EVENTFD, VFIO_IRQ_SET_DATA_EVENTFD, VFIO_IRQ_SET_DATA_NONE,
    VFIO_PCI_CONFIG_REGION_INDEX, VFIO_PCI_MSIX_IRQ_INDEX, VFIO_PCI_NUM_IRQS, VFIO_PCI_NUM_REGIONS,
    VFIO_REGION_INFO_FLAG_READ, VFIO_REGION_INFO_FLAG_WRITE, vfio_region_info,
};
use vfio_user::{DmaMapFlags, DmaUnmapFlags, IrqInfo, Server, ServerBackend, ServerRegion};

use crate::config_space::{CONFIG_SPACE_SIZE, ConfigSpace};
use crate::guest_map::GuestMap;
use crate::interrupts::Interrupts;

/// The size of what describes a region, in bytes.
const REGION_INFO_SIZE: u32 = 32;

/// What a PCI function does. One thread calls it at a time.
pub trait Function: Send {
    /// Its configuration space.
    fn config(&mut self) -> &mut ConfigSpace;
    /// Its MSI-X vectors.
    fn interrupts(&self) -> &Interrupts;
    /// The guest memory that it may reach.
    fn memory(&self) -> &GuestMap;
    /// The guest reads `data.len()` bytes at `offset` of a BAR, which lie within its size.
    fn read_bar(&mut self, bar: usize, offset: u64, data: &mut [u8]);
    /// The guest writes.
    fn write_bar(&mut self, bar: usize, offset: u64, data: &[u8]);
    /// The guest reads in the configuration space.
    fn read_config(&mut self, offset: u64, data: &mut [u8]) {
        self.config().read(offset, data);
    }
    /// The guest writes to the configuration space.
    fn write_config(&mut self, offset: u64, data: &[u8]) {
        self.config().write(offset, data);
        self.config_written();
    }
    /// The guest has written to the configuration space.
    fn config_written(&mut self) {}
    /// The machine, or the function alone, is reset. The configuration space has been.
    fn reset(&mut self);
}

/// Serves a function to one VMM that connects, until it goes away.
///
/// # Errors
/// What the connection ended with, unless the VMM closed it.
pub fn serve(listener: &UnixListener, function: &mut dyn Function) -> Result<(), vfio_user::Error> {
    let listener = listener.try_clone().map_err(vfio_user::Error::SocketAccept)?;
    let server = Server::from_owned_fd(listener.into(), true, irqs(function), regions(function));
    let answer = server.run(&mut Backend { function });
    // Memory of a VMM that is gone, and its interrupts, are gone too.
    function.interrupts().clear();
    let _always_fits = function.memory().clear();
    answer
}

fn irqs(function: &dyn Function) -> Vec<IrqInfo> {
    let vectors = u32::try_from(function.interrupts().count()).unwrap_or(0);
    (0..VFIO_PCI_NUM_IRQS)
        .map(|index| IrqInfo {
            index,
            flags: VFIO_IRQ_INFO_EVENTFD,
            count: if index == VFIO_PCI_MSIX_IRQ_INDEX { vectors } else { 0 },
        })
        .collect()
}

fn regions(function: &mut dyn Function) -> Vec<ServerRegion> {
    (0..VFIO_PCI_NUM_REGIONS)
        .map(|index| {
            let size = match index {
                0..=5 => function.config().bar_size(index as usize).into(),
                VFIO_PCI_CONFIG_REGION_INDEX => CONFIG_SPACE_SIZE as u64,
                _ => 0,
            };
            let access = VFIO_REGION_INFO_FLAG_READ | VFIO_REGION_INFO_FLAG_WRITE;
            let region_info = vfio_region_info {
                argsz: REGION_INFO_SIZE,
                flags: if size > 0 { access } else { 0 },
                index,
                cap_offset: 0,
                size,
                offset: 0,
            };
            ServerRegion { region_info, sparse_areas: Vec::new(), mmap_fd: None }
        })
        .collect()
}

/// A function, as the protocol's server calls it.
struct Backend<'f> {
    function: &'f mut dyn Function,
}

impl Backend<'_> {
    /// The BAR, if the access lies within it.
    fn bar(&mut self, region: u32, offset: u64, length: usize) -> Option<usize> {
        let bar = usize::try_from(region).ok().filter(|bar| *bar < 6)?;
        let size = u64::from(self.function.config().bar_size(bar));
        let end = offset.checked_add(length as u64)?;
        (end <= size).then_some(bar)
    }
}

impl ServerBackend for Backend<'_> {
    fn region_read(&mut self, region: u32, offset: u64, data: &mut [u8]) -> io::Result<()> {
        if region == VFIO_PCI_CONFIG_REGION_INDEX {
            self.function.read_config(offset, data);
        } else if let Some(bar) = self.bar(region, offset, data.len()) {
            self.function.read_bar(bar, offset, data);
        }
        Ok(())
    }

    fn region_write(&mut self, region: u32, offset: u64, data: &[u8]) -> io::Result<()> {
        if region == VFIO_PCI_CONFIG_REGION_INDEX {
            self.function.write_config(offset, data);
        } else if let Some(bar) = self.bar(region, offset, data.len()) {
            self.function.write_bar(bar, offset, data);
        }
        Ok(())
    }

    fn dma_map(
        &mut self,
        flags: DmaMapFlags,
        offset: u64,
        address: u64,
        size: u64,
        fd: Option<File>,
    ) -> io::Result<()> {
        let memory = self.function.memory();
        match fd.filter(|_| flags.contains(DmaMapFlags::READ_WRITE)) {
            Some(file) => memory.map(address, size, file, offset),
            None => memory.unmap(address, size),
        }
        .map_err(io::Error::other)
    }

    fn dma_unmap(&mut self, flags: DmaUnmapFlags, address: u64, size: u64) -> io::Result<()> {
        let memory = self.function.memory();
        match flags.contains(DmaUnmapFlags::UNMAP_ALL) {
            true => memory.clear(),
            false => memory.unmap(address, size),
        }
        .map_err(io::Error::other)
    }

    fn reset(&mut self) -> io::Result<()> {
        self.function.config().reset();
        self.function.reset();
        Ok(())
    }

    fn set_irqs(
        &mut self,
        index: u32,
        flags: u32,
        start: u32,
        count: u32,
        fds: Vec<File>,
    ) -> io::Result<()> {
        if index != VFIO_PCI_MSIX_IRQ_INDEX {
            return Ok(());
        }
        let interrupts = self.function.interrupts();
        if flags & VFIO_IRQ_SET_DATA_EVENTFD != 0 {
            // Descriptors that are missing disable their vectors.
            let events = fds.into_iter().map(Some).chain(std::iter::repeat_with(|| None));
            interrupts.assign(start, events.take(count as usize));
        } else if flags & VFIO_IRQ_SET_DATA_NONE != 0 && count == 0 {
            interrupts.clear();
        }
        Ok(())
    }
}
