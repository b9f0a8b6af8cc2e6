//! The test endpoint: a PCI function that does DMA of any kind when it is told to.
//!
//! Its registers are described in the project's `docs/test-endpoint.md`.

mod channel;
mod command;
mod device_tlb;
mod dma;
mod outcome;
mod page_requests;

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

use vtd::spec::SourceId;
use vtd::{AttachError, Endpoint};

use crate::capability::{ATS, PASID, PRI};
use crate::config_space::{ConfigSpace, Identity};
use crate::function::Function;
use crate::guest_map::GuestMap;
use crate::interrupts::Interrupts;
use crate::machine_unit::MachineUnit;
use channel::Channel;
use dma::Requester;

/// Vendor and device of a test endpoint.
pub const TEST_ENDPOINT: (u16, u16) = (0x5654, 0x0001);

const CHANNELS: u16 = 8;
const CHANNEL_BASE: u64 = 0x100;
const CHANNEL_SIZE: u64 = 0x80;
const VECTORS: u16 = 9;
const OUTSTANDING: u32 = 32;

/// What the guest has enabled of an endpoint, as its requests ask for it.
#[derive(Debug, Default)]
struct Enabled(AtomicU8);

impl Enabled {
    const ATS: u8 = 1;
    const PRI: u8 = 1 << 1;
    const PASID: u8 = 1 << 2;
    const BUS_MASTER: u8 = 1 << 3;

    fn get(&self) -> u8 {
        self.0.load(Ordering::Acquire)
    }

    fn has(&self, bits: u8) -> bool {
        self.get() & bits == bits
    }

    fn set(&self, bits: u8) {
        self.0.store(bits, Ordering::Release);
    }
}

/// A test endpoint.
#[derive(Debug)]
pub struct TestEndpoint {
    config: ConfigSpace,
    memory: GuestMap,
    interrupts: Interrupts,
    requester: Arc<Requester>,
    channels: Vec<Channel>,
}

impl TestEndpoint {
    /// Attaches an endpoint to the unit. With `page_requests` it shows PRI.
    ///
    /// # Errors
    /// [`AttachError`]: the source-id is taken.
    pub fn attach(
        unit: &MachineUnit,
        source_id: SourceId,
        page_requests: bool,
    ) -> Result<Self, AttachError> {
        let (vendor, device) = TEST_ENDPOINT;
        let identity = Identity {
            vendor,
            device,
            subsystem_vendor: vendor,
            subsystem: device,
            revision: 1,
            class: 0xff_00_00,
        };
        let mut config = ConfigSpace::new(identity)
            .with_bar(0, 4096)
            .with_pci_express()
            .with_msi_x(VECTORS)
            .with_ats();
        if page_requests {
            config = config.with_pri(OUTSTANDING);
        }
        let config = config.with_pasid();
        let memory = GuestMap::default();
        let interrupts = Interrupts::new(VECTORS);
        let requester = Arc::new(Requester::new(unit.clone(), source_id, memory.clone()));
        let endpoint: Arc<dyn Endpoint> = Arc::<Requester>::clone(&requester);
        requester.attached(unit.attach_endpoint(source_id, endpoint)?);
        let channels = (0..CHANNELS)
            .map(|number| Channel::start(number, Arc::clone(&requester), interrupts.clone()))
            .collect();
        Ok(Self { config, memory, interrupts, requester, channels })
    }

    fn register(&self, offset: u64) -> u32 {
        if let Some((channel, offset)) = self.channel(offset) {
            return channel.register(offset);
        }
        let figures = self.requester.figures();
        let half = |value: u64, low: u64| register_half(value, offset == low);
        match offset {
            0x00 => u32::from_le_bytes(*b"VTDE"),
            0x04 => 1,
            0x08 => CHANNELS.into(),
            0x0c => self.requester.enabled.get().into(),
            0x10 => figures.tlb_entries,
            0x18 | 0x1c => half(figures.tlb_invalidations, 0x18),
            0x20 | 0x24 => half(figures.page_requests, 0x20),
            0x28 | 0x2c => half(figures.responses, 0x28),
            0x30 | 0x34 => half(figures.requests, 0x30),
            _ => 0,
        }
    }

    fn channel(&self, offset: u64) -> Option<(&Channel, u64)> {
        let within = offset.checked_sub(CHANNEL_BASE)?;
        let number = usize::try_from(within / CHANNEL_SIZE).ok()?;
        Some((self.channels.get(number)?, within % CHANNEL_SIZE))
    }

    fn enabled(&self) -> u8 {
        let enabled = |id, byte, bit: u8, means| {
            let at = self.config.extended_capability(id);
            let set = at.is_some_and(|at| self.config.byte(at + byte) & bit != 0);
            if set { means } else { 0 }
        };
        let bus_master = if self.config.is_bus_master() { Enabled::BUS_MASTER } else { 0 };
        enabled(ATS, 7, 1 << 7, Enabled::ATS)
            | enabled(PRI, 4, 1, Enabled::PRI)
            | enabled(PASID, 6, 1, Enabled::PASID)
            | bus_master
    }
}

/// What a 4-byte read of a 64-bit register gives: its low half, or its high one.
fn register_half(value: u64, low: bool) -> u32 {
    let [a, b, c, d, e, f, g, h] = value.to_le_bytes();
    u32::from_le_bytes(if low { [a, b, c, d] } else { [e, f, g, h] })
}

impl Function for TestEndpoint {
    fn config(&mut self) -> &mut ConfigSpace {
        &mut self.config
    }

    fn interrupts(&self) -> &Interrupts {
        &self.interrupts
    }

    fn memory(&self) -> &GuestMap {
        &self.memory
    }

    fn read_bar(&mut self, bar: usize, offset: u64, data: &mut [u8]) {
        data.fill(0);
        if bar != 0 || !matches!(data.len(), 4 | 8) || !offset.is_multiple_of(data.len() as u64) {
            return;
        }
        for (place, chunk) in (offset..).step_by(4).zip(data.chunks_exact_mut(4)) {
            chunk.copy_from_slice(&self.register(place).to_le_bytes());
        }
    }

    fn write_bar(&mut self, bar: usize, offset: u64, data: &[u8]) {
        if bar != 0 || !matches!(data.len(), 4 | 8) || !offset.is_multiple_of(data.len() as u64) {
            return;
        }
        let (words, _) = data.as_chunks::<4>();
        for (place, word) in (offset..).step_by(4).zip(words) {
            if let Some((channel, offset)) = self.channel(place) {
                channel.set_register(offset, u32::from_le_bytes(*word));
            }
        }
    }

    fn config_written(&mut self) {
        let before = self.requester.enabled.get();
        let enabled = self.enabled();
        self.requester.enabled.set(enabled);
        // The guest may take back the memory of a function that is no bus master any more.
        if before & !enabled & Enabled::BUS_MASTER != 0 {
            self.requester.drain();
        }
        // A function whose ATS is off holds no translations.
        if before & !enabled & Enabled::ATS != 0 {
            self.requester.drop_translations();
        }
    }

    fn reset(&mut self) {
        for channel in &self.channels {
            channel.reset();
        }
        self.config_written();
        self.requester.drop_translations();
    }
}
