//! Outputs of recordings that can be looked at or fail.

use std::io::{self, Write};
use std::sync::{Arc, Mutex};

/// An output that can be looked at while the recorder has it.
#[derive(Clone, Default)]
pub(crate) struct Output(Arc<Mutex<Written>>);

#[derive(Default)]
struct Written {
    bytes: Vec<u8>,
    /// How many of them are no news.
    told: usize,
}

impl Write for Output {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().bytes.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Output {
    pub(crate) fn text(&self) -> String {
        String::from_utf8(self.0.lock().unwrap().bytes.clone()).unwrap()
    }

    /// The lines since this was last called, shortened to 50 characters: without the zeros at the end of a line of memory.
    pub(crate) fn news(&self) -> Vec<String> {
        let mut written = self.0.lock().unwrap();
        let news = str::from_utf8(&written.bytes[written.told..]).unwrap();
        let news = news.lines().map(|line| line.chars().take(50).collect()).collect();
        written.told = written.bytes.len();
        news
    }
}

/// An output that takes so many bytes, then fails, and after that takes everything again.
pub(crate) struct Full {
    pub(crate) output: Output,
    pub(crate) left: usize,
}

impl Write for Full {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let taken = bytes.get(..self.left.min(bytes.len())).unwrap();
        if taken.is_empty() {
            self.left = usize::MAX;
            return Err(io::Error::new(io::ErrorKind::StorageFull, "full"));
        }
        self.left -= taken.len();
        self.output.write(taken)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
