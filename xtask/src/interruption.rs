//! Ctrl-C, noticed between one wait and the next, so that everything is put away.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::flag;

/// Somebody wants this to end.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Interrupted;

/// Whether somebody wants this to end.
#[derive(Clone, Debug, Default)]
pub(crate) struct Interruption(Arc<AtomicBool>);

impl Interruption {
    /// Notices SIGINT, SIGTERM and SIGHUP from now on. The second of them ends the process at once.
    pub(crate) fn listen() -> io::Result<Self> {
        let interruption = Self::default();
        for signal in [SIGINT, SIGTERM, SIGHUP] {
            // In this order, so that it is the second one that ends the process.
            flag::register_conditional_shutdown(signal, 130, interruption.0.clone())?;
            flag::register(signal, interruption.0.clone())?;
        }
        Ok(interruption)
    }

    pub(crate) fn has_come(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }

    /// An error once it has come.
    pub(crate) fn check(&self) -> Result<(), Interrupted> {
        if self.has_come() { Err(Interrupted) } else { Ok(()) }
    }

    #[cfg(test)]
    pub(crate) fn come(&self) {
        self.0.store(true, Ordering::Relaxed);
    }
}
