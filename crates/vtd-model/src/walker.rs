//! A walk under way.

use crate::answer::{Fault, is_qualified};
use crate::path::{Step, Update};
use crate::unit::Unit;

/// One walk: where it reads from and what it has found out.
pub(crate) struct Walker<'a, T> {
    pub(crate) unit: &'a Unit,
    pub(crate) tables: T,
    pub(crate) steps: &'a mut Vec<Step>,
    pub(crate) updates: &'a mut Vec<Update>,
    /// FPD of an entry that was read on the way.
    pub(crate) fpd: bool,
}

impl<T> Walker<'_, T> {
    /// A fault as it is reported.
    pub(crate) fn fault(&self, code: u8) -> Fault {
        Fault { code, recorded: !(self.fpd && is_qualified(code)) }
    }
}
