//! The registers that say how requests are translated and what is invalidated, as the guest writes and reads them.

use vtd::RootTable;
use vtd::spec::Capabilities;
use vtd::spec::descriptor::{ContextCacheInvalidation, Descriptor, IotlbInvalidation};
use vtd::spec::register::{
    ContextCommand, GlobalCommand, GlobalStatus, InvalidateAddress, IotlbCommand, QueueAddress,
    RootTableAddress, offset,
};

use super::told::{Invalidation, Told};

/// How many modes a request may be answered in while the guest has not been told which it is.
const MOST_MODES: usize = 8;

/// How requests are translated; `None` while they are not.
pub(super) type Mode = Option<RootTable>;

/// The registers, as far as an audit needs them.
#[derive(Debug)]
pub(super) struct Registers {
    root: u64,
    latched_root: u64,
    pub(super) queue_address: u64,
    pub(super) queue_tail: u64,
    invalidate_address: u64,
    context_command: u64,
    iotlb_command: u64,
    translation: bool,
    queue: bool,
    /// The modes that requests may be answered in, and the last line before the guest wanted another. The last is what it wants.
    modes: Vec<(Mode, Option<u64>)>,
    /// There were more.
    is_crowded: bool,
    /// Where SRTP was written, until the guest is told that the table is latched.
    root_asked: Option<u64>,
    context_asked: Option<(ContextCacheInvalidation, u64)>,
    iotlb_asked: Option<(IotlbInvalidation, u64)>,
}

/// What a write of the guest begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Begun {
    /// The queue is enabled, with this address.
    Queue(QueueAddress),
    /// The queue has a new tail.
    Tail,
    /// ICS.IWC is cleared.
    WaitCleared,
}

impl Default for Registers {
    fn default() -> Self {
        Self {
            root: 0,
            latched_root: 0,
            queue_address: 0,
            queue_tail: 0,
            invalidate_address: 0,
            context_command: 0,
            iotlb_command: 0,
            translation: false,
            queue: false,
            modes: vec![(None, None)],
            is_crowded: false,
            root_asked: None,
            context_asked: None,
            iotlb_asked: None,
        }
    }
}

impl Registers {
    /// The modes that requests may be answered in now, each with the last line at which the guest wanted it; the one that it wants
    /// now without.
    pub(super) fn modes(&self) -> impl Iterator<Item = (Mode, Option<u64>)> {
        self.modes.iter().copied()
    }

    /// What the guest wants.
    pub(super) fn mode(&self) -> Mode {
        self.modes.last().and_then(|(mode, _)| *mode)
    }

    /// Whether there are more modes than those.
    pub(super) fn is_crowded(&self) -> bool {
        self.is_crowded
    }

    /// The guest writes.
    pub(super) fn write(
        &mut self,
        line: u64,
        caps: &Capabilities,
        (place, size, value): (u64, u8, u64),
    ) -> Option<Begun> {
        let access = Access { place, size, value };
        let iva = caps.invalidate_register_offset();
        access.merge(offset::RTADDR, &mut self.root);
        access.merge(offset::IQA, &mut self.queue_address);
        access.merge(offset::IQT, &mut self.queue_tail);
        access.merge(iva, &mut self.invalidate_address);
        access.merge(offset::CCMD, &mut self.context_command);
        access.merge(iva + 8, &mut self.iotlb_command);
        if access.half(offset::CCMD + 4).is_some() {
            let command = ContextCommand::from_bits(self.context_command);
            let asked = command.invalidation().filter(|_| command.invalidate);
            self.context_asked = asked.map(|asked| (asked, line)).or(self.context_asked);
        }
        if access.half(iva + 12).is_some() {
            let command = IotlbCommand::from_bits(self.iotlb_command);
            let pages = InvalidateAddress::from_bits(self.invalidate_address);
            let asked = command.invalidation(pages).filter(|_| command.invalidate);
            self.iotlb_asked = asked.map(|asked| (asked, line)).or(self.iotlb_asked);
        }
        if let Some(command) = access.half(offset::GCMD) {
            return self.command(line, caps, GlobalCommand::from_bits(command));
        }
        if access.half(offset::ICS).is_some_and(|status| status & 1 == 1) {
            return Some(Begun::WaitCleared);
        }
        access.half(offset::IQT).filter(|_| self.queue).map(|_| Begun::Tail)
    }

    fn command(&mut self, line: u64, caps: &Capabilities, command: GlobalCommand) -> Option<Begun> {
        if command.srtp {
            self.latched_root = self.root;
            self.root_asked = Some(line);
        }
        self.translation = command.te;
        let root = RootTable::new(RootTableAddress::from_bits(self.latched_root), caps);
        let mode = command.te.then_some(root);
        if self.mode() != mode || self.modes.is_empty() {
            self.modes.retain(|(other, _)| *other != mode);
            for (_, replaced) in &mut self.modes {
                *replaced = replaced.or(Some(line.saturating_sub(1)));
            }
            self.modes.push((mode, None));
        }
        if self.modes.len() > MOST_MODES {
            self.modes.remove(0);
            self.is_crowded = true;
        }
        let enabled = command.qie && !self.queue;
        self.queue = command.qie;
        enabled.then(|| Begun::Queue(QueueAddress::from_bits(self.queue_address)))
    }

    /// The guest reads, and is told what it has asked for.
    pub(super) fn read(
        &mut self,
        line: u64,
        caps: &Capabilities,
        (place, size, value): (u64, u8, u64),
    ) -> Option<Told> {
        let access = Access { place, size, value };
        let told = |what, asked| Some(Told { what, asked, done: line });
        if let Some(status) = access.half(offset::GSTS) {
            let status = GlobalStatus::from_bits(status);
            let latched = self.root_asked.is_none() || status.rtps;
            if status.tes == self.translation && latched {
                self.modes = vec![(self.mode(), None)];
                self.is_crowded = false;
                let asked = self.root_asked.take()?;
                let drops = caps.enhanced_root_table_pointer();
                return told(Invalidation::RootTable, asked).filter(|_| drops);
            }
        }
        if let Some(high) = access.half(offset::CCMD + 4) {
            let command = ContextCommand::from_bits(u64::from(high) << 32);
            if !command.invalidate
                && let Some((asked, since)) = self.context_asked.take()
            {
                let what = Invalidation::Descriptor(Descriptor::ContextCache(asked));
                return told(what, since).filter(|_| command.actual != 0);
            }
        }
        let high = access.half(caps.invalidate_register_offset() + 12)?;
        let command = IotlbCommand::from_bits(u64::from(high) << 32);
        if command.invalidate {
            return None;
        }
        let (asked, since) = self.iotlb_asked.take()?;
        let what = Invalidation::Descriptor(Descriptor::Iotlb(asked));
        told(what, since).filter(|_| command.actual != 0)
    }
}

/// An access to the registers, which a unit takes in aligned pieces of 4 bytes.
#[derive(Clone, Copy)]
pub(super) struct Access {
    pub(super) place: u64,
    pub(super) size: u8,
    pub(super) value: u64,
}

impl Access {
    /// What the access moves of the 4 bytes at `register`.
    pub(super) fn half(self, register: u64) -> Option<u32> {
        let aligned = matches!(self.size, 4 | 8) && self.place.is_multiple_of(self.size.into());
        let within = register.checked_sub(self.place).filter(|_| aligned)?;
        match (within, self.size) {
            (0, _) => u32::try_from(self.value & 0xffff_ffff).ok(),
            (4, 8) => u32::try_from(self.value >> 32).ok(),
            _ => None,
        }
    }

    /// Takes what the access moves of the 8 bytes at `register`.
    fn merge(self, register: u64, bits: &mut u64) {
        if let Some(low) = self.half(register) {
            *bits = *bits >> 32 << 32 | u64::from(low);
        }
        if let Some(high) = self.half(register + 4) {
            *bits = *bits & 0xffff_ffff | u64::from(high) << 32;
        }
    }
}
