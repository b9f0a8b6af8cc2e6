//! The fault recording registers, as far as they decide whether a fault is seen.

/// Which fault recording registers are free, and FSTS.PFO.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FaultRecords {
    /// F of each register.
    taken: Vec<bool>,
    next: usize,
    /// FSTS.PFO.
    pub overflow: bool,
}

impl FaultRecords {
    pub(crate) fn new(count: usize) -> Self {
        Self { taken: vec![false; count], next: 0, overflow: false }
    }

    /// Whether the next fault is recorded: not while PFO is set, nor where the next register in turn is taken.
    #[must_use]
    pub fn has_room(&self) -> bool {
        !self.overflow && self.taken.get(self.next) == Some(&false)
    }

    /// FSTS.PPF.
    #[must_use]
    pub fn is_pending(&self) -> bool {
        self.taken.contains(&true)
    }

    /// A fault happens: its register is taken and returned, or PFO set.
    pub fn record(&mut self) -> Option<usize> {
        if !self.has_room() {
            self.overflow = true;
            return None;
        }
        let at = self.next;
        if let Some(taken) = self.taken.get_mut(at) {
            *taken = true;
        }
        self.next = (at + 1) % self.taken.len();
        Some(at)
    }

    /// Software clears F of a register.
    pub(crate) fn clear(&mut self, at: u64) {
        let at = usize::try_from(at).ok().and_then(|at| self.taken.get_mut(at));
        if let Some(taken) = at {
            *taken = false;
        }
    }
}
