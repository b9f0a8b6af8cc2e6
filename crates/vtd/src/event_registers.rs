//! The registers of an event: FECTL, IECTL and PECTL with their message.

use vtd_spec::register::EventControl;

use crate::InterruptMessage;

/// One event: its mask, whether it is held, and the message that it sends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct EventRegisters {
    mask: bool,
    pending: bool,
    data: u32,
    address: u32,
    upper_address: u32,
}

impl EventRegisters {
    /// After a reset an event is masked.
    pub(crate) const RESET: Self =
        Self { mask: true, pending: false, data: 0, address: 0, upper_address: 0 };

    /// The registers as they are saved: control, data, address and upper address.
    pub(crate) fn words(&self) -> [u32; 4] {
        let control = EventControl { mask: self.mask, pending: self.pending };
        [control.bits(), self.data, self.address, self.upper_address]
    }

    pub(crate) fn from_words([control, data, address, upper_address]: [u32; 4]) -> Self {
        let EventControl { mask, pending } = EventControl::from_bits(control);
        Self { mask, pending, data, address, upper_address }
    }

    /// Writes one of the four registers. Clearing the mask of a held event sends it.
    pub(crate) fn write(&mut self, index: u64, value: u32) -> Option<InterruptMessage> {
        match index {
            0 => {
                self.mask = EventControl::from_bits(value).mask;
                if !self.mask && self.pending {
                    self.pending = false;
                    return Some(self.message());
                }
            }
            1 => self.data = value,
            2 => self.address = value & !3,
            _ => self.upper_address = value,
        }
        None
    }

    /// A cause has come up while there was none: the message to send, unless the event is masked and held.
    pub(crate) fn raise(&mut self) -> Option<InterruptMessage> {
        if self.mask {
            self.pending = true;
            return None;
        }
        Some(self.message())
    }

    /// All causes are gone: there is nothing to hold any more.
    pub(crate) fn settle(&mut self) {
        self.pending = false;
    }

    fn message(&self) -> InterruptMessage {
        let address = u64::from(self.upper_address) << 32 | u64::from(self.address);
        InterruptMessage { address, data: self.data }
    }
}
