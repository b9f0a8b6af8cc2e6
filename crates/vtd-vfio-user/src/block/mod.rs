//! A virtio block device, version 1 of virtio over PCI, whose disk is a file.
//!
//! All of its DMA, rings and data, goes through a DMA handle of the unit without PASID; a driver that does not take
//! `VIRTIO_F_ACCESS_PLATFORM` is refused. Each queue has a thread of its own while the driver has it enabled.
//!
//! | what a guest does | what becomes of it |
//! | --- | --- |
//! | a request with a header or data that fault, or past the end of the disk | its status is `VIRTIO_BLK_S_IOERR` |
//! | a request of a kind that the device does not have | its status is `VIRTIO_BLK_S_UNSUPP` |
//! | a ring, a descriptor or a status that faults; a chain that never ends, has more than 256 descriptors, has the driver's buffers behind the device's, or has no room for a header and a status; an index that is ahead by more than the queue's size | that queue stops, `DEVICE_NEEDS_RESET` |
//! | a queue that is enabled with a size or an address that no queue can have | it does not run, `DEVICE_NEEDS_RESET` |
//! | bus master turned off | no access follows; queues that are at rest go on when it is turned on again, what is under way fails |
//! | a reset of the queue, the device or the function | what is under way ends before the write returns |

mod access_window;
mod buffers;
mod device_state;
mod disk;
mod dma;
mod features;
mod halt;
mod layout;
mod queue_worker;
mod registers;
mod request;

use std::sync::Arc;

use vtd::{AttachError, UnknownDevice};

pub use disk::{Disk, DiskError, SECTOR};

use crate::config_space::{ConfigSpace, Identity};
use crate::function::Function;
use crate::guest_map::GuestMap;
use crate::interrupts::Interrupts;
use crate::machine_unit::{MachineDma, MachineUnit};
use crate::pci_address::PciAddress;
use access_window::AccessWindow;
use device_state::DeviceState;
use dma::{BlockDma, BusMaster};
use layout::Place;
use queue_worker::{QueueWorker, Work};
use registers::{Registers, Wish};
use request::DiskId;

/// How many queues there are.
const QUEUES: usize = 2;
/// How many descriptors a queue, and a request, has at most.
const QUEUE_SIZE: u16 = 256;
/// One for the configuration and one for each queue.
const VECTORS: u16 = 3;
/// The size of the device configuration in bytes.
const DEVICE_SIZE: u32 = 0x40;

/// Why there is no block device.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BlockError {
    /// It cannot be attached to the unit.
    #[error(transparent)]
    Attach(#[from] AttachError),
    /// The unit has no DMA for it.
    #[error(transparent)]
    Dma(#[from] UnknownDevice),
}

/// A block device.
#[derive(Debug)]
pub struct BlockDevice {
    config: ConfigSpace,
    memory: GuestMap,
    interrupts: Interrupts,
    handle: MachineDma,
    bus_master: BusMaster,
    disk: Arc<Disk>,
    id: DiskId,
    state: Arc<DeviceState>,
    registers: Registers,
    workers: [Option<QueueWorker>; QUEUES],
}

impl BlockDevice {
    /// Attaches a block device to the unit, as a device without ATS.
    ///
    /// # Errors
    /// [`BlockError`]: its source-id is taken, or the unit gives it no DMA.
    pub fn attach(unit: &MachineUnit, address: PciAddress, disk: Disk) -> Result<Self, BlockError> {
        let identity = Identity {
            vendor: 0x1af4,
            device: 0x1042,
            subsystem_vendor: 0x1af4,
            subsystem: 0x1100,
            revision: 1,
            // Mass storage of no particular kind.
            class: 0x01_80_00,
        };
        let queues = u32::try_from(QUEUES).unwrap_or(0);
        let config = ConfigSpace::new(identity)
            .with_pci_express()
            .with_msi_x(VECTORS)
            .with_virtio(DEVICE_SIZE, queues);
        let handle = unit.dma(unit.attach_emulated(address.source_id())?, None)?;
        let interrupts = Interrupts::new(VECTORS);
        let state = Arc::new(DeviceState::new(interrupts.clone()));
        let mut id = [0; 20];
        for (to, from) in id.iter_mut().zip(format!("vtd-{address}").bytes()) {
            *to = from;
        }
        Ok(Self {
            config,
            memory: GuestMap::default(),
            interrupts,
            handle,
            bus_master: BusMaster::default(),
            disk: Arc::new(disk),
            id,
            registers: Registers::new(Arc::clone(&state)),
            state,
            workers: Default::default(),
        })
    }

    /// What a driver reads about the disk.
    fn device_config(&self) -> [u8; DEVICE_SIZE as usize] {
        let mut bytes = [0; DEVICE_SIZE as usize];
        let mut put = |at: usize, value: &[u8]| {
            for (to, from) in bytes.iter_mut().skip(at).zip(value) {
                *to = *from;
            }
        };
        put(0x00, &self.disk.sectors().to_le_bytes());
        // A header and a status are descriptors too.
        put(0x0c, &u32::from(QUEUE_SIZE - 2).to_le_bytes());
        put(0x14, &u32::try_from(SECTOR).unwrap_or(0).to_le_bytes());
        put(0x22, &u16::try_from(QUEUES).unwrap_or(1).to_le_bytes());
        bytes
    }

    fn grant(&mut self, wish: Wish) {
        match wish {
            Wish::Reset => self.forget(),
            Wish::StopQueue(number) => {
                if let Some(worker) = self.workers.get_mut(number) {
                    *worker = None;
                }
            }
            Wish::Run => {
                for number in 0..QUEUES {
                    if let Err(CannotRun) = self.run(number) {
                        self.state.needs_reset();
                    }
                }
            }
        }
    }

    /// Runs a queue that is enabled, unless it runs already.
    fn run(&mut self, number: usize) -> Result<(), CannotRun> {
        let queue = self.registers.queue(number).map_err(|_| CannotRun)?;
        if let (Some(queue), Some(worker @ None)) = (queue, self.workers.get_mut(number)) {
            let work = Work {
                number,
                queue,
                dma: BlockDma::new(self.handle.clone(), self.bus_master.clone()),
                bus_master: self.bus_master.clone(),
                map: self.memory.clone(),
                disk: Arc::clone(&self.disk),
                id: self.id,
                state: Arc::clone(&self.state),
                write_through: !self.registers.can_flush(),
            };
            *worker = Some(QueueWorker::start(work).map_err(|_| CannotRun)?);
        }
        Ok(())
    }

    /// Ends what the queues do, then forgets what the driver has set.
    fn forget(&mut self) {
        self.workers = Default::default();
        self.registers.reset();
    }
}

/// A queue is enabled and does not run.
struct CannotRun;

impl Function for BlockDevice {
    fn config(&mut self) -> &mut ConfigSpace {
        &mut self.config
    }

    fn interrupts(&self) -> &Interrupts {
        &self.interrupts
    }

    fn memory(&self) -> &GuestMap {
        &self.memory
    }

    fn read_config(&mut self, offset: u64, data: &mut [u8]) {
        if let Some(window) =
            AccessWindow::of(&self.config).filter(|it| it.is_met(offset, data.len()))
            && let Some(target) = window.target(&self.config)
        {
            let mut bytes = [0; 4];
            if let Some(bytes) = bytes.get_mut(..target.length) {
                self.read_bar(layout::BAR.into(), target.offset, bytes);
            }
            window.set_data(&mut self.config, &bytes);
        }
        self.config.read(offset, data);
    }

    fn write_config(&mut self, offset: u64, data: &[u8]) {
        self.config.write(offset, data);
        if let Some(window) =
            AccessWindow::of(&self.config).filter(|it| it.is_met(offset, data.len()))
            && let Some(target) = window.target(&self.config)
            && let Some(bytes) = window.data(&self.config).get(..target.length)
        {
            self.write_bar(layout::BAR.into(), target.offset, bytes);
        }
        let (before, now) = (self.bus_master.is_on(), self.config.is_bus_master());
        self.bus_master.set(now);
        if now && !before {
            self.workers.iter().flatten().for_each(QueueWorker::notify);
        }
    }

    fn read_bar(&mut self, bar: usize, offset: u64, data: &mut [u8]) {
        data.fill(0);
        if bar != usize::from(layout::BAR) {
            return;
        }
        let fill = |bytes: &[u8], from: u64, data: &mut [u8]| {
            let from = usize::try_from(from).unwrap_or(usize::MAX);
            for (to, byte) in data.iter_mut().zip(bytes.iter().skip(from)) {
                *to = *byte;
            }
        };
        match Place::at(offset) {
            Some(Place::Common(from)) => fill(&self.registers.bytes(), from, data),
            Some(Place::Isr) => fill(&[self.state.take_isr()], 0, data),
            Some(Place::Device(from)) => fill(&self.device_config(), from, data),
            Some(Place::Notify(_)) | None => {}
        }
    }

    fn write_bar(&mut self, bar: usize, offset: u64, data: &[u8]) {
        if bar != usize::from(layout::BAR) {
            return;
        }
        match Place::at(offset) {
            Some(Place::Common(at)) => {
                if let Some(wish) = self.registers.write(at, data) {
                    self.grant(wish);
                }
            }
            Some(Place::Notify(number)) => {
                if let Some(Some(worker)) = self.workers.get(number) {
                    worker.notify();
                }
            }
            Some(Place::Isr | Place::Device(_)) | None => {}
        }
    }

    fn reset(&mut self) {
        self.forget();
        self.bus_master.set(self.config.is_bus_master());
    }
}
