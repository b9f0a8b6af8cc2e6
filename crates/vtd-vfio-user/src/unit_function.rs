//! The remapping unit as a PCI function: its register page is BAR 0.

use std::sync::mpsc::Sender;

use crate::config_space::{ConfigSpace, Identity};
use crate::function::Function;
use crate::guest_map::GuestMap;
use crate::interrupts::Interrupts;
use crate::machine_unit::MachineUnit;

/// The remapping unit's function.
///
/// It is no device that a driver binds: the guest finds its registers through the DMAR table. It reads as bus master whatever
/// is written, because nobody enables that for it and its interrupts are writes.
#[derive(Debug)]
pub struct UnitFunction {
    unit: MachineUnit,
    config: ConfigSpace,
    memory: GuestMap,
    interrupts: Interrupts,
    /// Where BAR 0 was last seen, and who is told when it is elsewhere.
    base: Option<u32>,
    moved: Sender<u32>,
}

impl UnitFunction {
    /// The function of `unit`, whose guest memory is `memory`. `moved` is told where the register page lies whenever the firmware
    /// or the guest has given it another place.
    #[must_use]
    pub fn new(unit: MachineUnit, memory: GuestMap, moved: Sender<u32>) -> Self {
        let identity = Identity {
            vendor: 0x5654,
            device: 0x0002,
            subsystem_vendor: 0x5654,
            subsystem: 0x0002,
            revision: 1,
            // Of no class. Linux maps the registers before it looks at PCI, then finds BAR 0 taken and gives it another place, unless
            // the class says that it is not to be touched.
            class: 0x00_00_00,
        };
        let size = unit.unit().register_page_size().next_power_of_two();
        let config = ConfigSpace::new(identity)
            .with_bar(0, u32::try_from(size).unwrap_or(4096))
            .with_pci_express()
            .with_bus_master();
        Self { unit, config, memory, interrupts: Interrupts::new(0), base: None, moved }
    }
}

impl Function for UnitFunction {
    fn config(&mut self) -> &mut ConfigSpace {
        &mut self.config
    }

    fn interrupts(&self) -> &Interrupts {
        &self.interrupts
    }

    fn memory(&self) -> &GuestMap {
        &self.memory
    }

    fn read_bar(&mut self, _bar: usize, offset: u64, data: &mut [u8]) {
        let size = u8::try_from(data.len()).unwrap_or(0);
        let value = self.unit.read(offset, size).to_le_bytes();
        for (to, from) in data.iter_mut().zip(value) {
            *to = from;
        }
    }

    fn write_bar(&mut self, _bar: usize, offset: u64, data: &[u8]) {
        let size = u8::try_from(data.len()).unwrap_or(0);
        let mut value = [0; 8];
        for (to, from) in value.iter_mut().zip(data) {
            *to = *from;
        }
        self.unit.write(offset, size, u64::from_le_bytes(value));
    }

    fn config_written(&mut self) {
        let base = self.config.bar_address(0);
        if let Some(address) = base
            && base != self.base
        {
            self.base = base;
            // Nobody listens any more when the machine ends.
            let _ended = self.moved.send(address);
        }
    }

    fn reset(&mut self) {
        self.unit.reset();
    }
}
