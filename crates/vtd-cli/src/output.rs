//! Standard output, which may go away at any time.

use std::fmt::Display;
use std::io::{self, BufWriter, ErrorKind, StdoutLock, Write};

/// Standard output. The first failure is kept, and what follows it is dropped: the replay goes on, since its result is also in
/// the exit status.
pub(crate) struct Output {
    inner: BufWriter<StdoutLock<'static>>,
    failure: Option<io::Error>,
}

impl Output {
    pub(crate) fn new() -> Self {
        Self { inner: BufWriter::new(io::stdout().lock()), failure: None }
    }

    /// Prints a text as it is.
    pub(crate) fn print(&mut self, text: &impl Display) {
        if self.failure.is_none() {
            self.failure = write!(self.inner, "{text}").err();
        }
    }

    /// Sends out what was printed so far.
    pub(crate) fn flush(&mut self) {
        if self.failure.is_none() {
            self.failure = self.inner.flush().err();
        }
    }

    /// What went wrong, if anything. That the reader has gone away, as `head` does, is not wrong.
    pub(crate) fn finish(mut self) -> Option<io::Error> {
        self.flush();
        // What could not be written is not tried again.
        let _ = self.inner.into_parts();
        self.failure.filter(|error| error.kind() != ErrorKind::BrokenPipe)
    }
}
