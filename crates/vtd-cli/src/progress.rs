//! The progress bar.

use std::io::{self, Read};
use std::path::Path;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressFinish, ProgressStyle};

/// A file whose reading moves a progress bar on standard error. The bar goes away with the value.
pub(crate) struct Watched<R> {
    inner: R,
    bar: ProgressBar,
    shown: bool,
}

/// A replay that is done by then shows no bar: it would only flicker.
const PATIENCE: Duration = Duration::from_millis(300);

impl<R> Watched<R> {
    pub(crate) fn new(inner: R, path: &Path, length: u64) -> Self {
        let bar = ProgressBar::with_draw_target(Some(length), ProgressDrawTarget::hidden())
            .with_style(style())
            .with_prefix(path.file_name().unwrap_or_default().display().to_string())
            .with_finish(ProgressFinish::AndClear);
        Self { inner, bar, shown: false }
    }
}

/// A style that cannot be read is the default one; none of this is worth an error.
fn style() -> ProgressStyle {
    ProgressStyle::with_template("{prefix} [{bar:40}] {percent:>3} %, {eta} left")
        .unwrap_or_else(|_| ProgressStyle::default_bar())
        .progress_chars("=> ")
}

impl<R: Read> Read for Watched<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let length = self.inner.read(buffer)?;
        if !self.shown && self.bar.elapsed() > PATIENCE {
            // On anything but a terminal it stays hidden.
            self.bar.set_draw_target(ProgressDrawTarget::stderr());
            self.shown = true;
        }
        self.bar.inc(length as u64);
        Ok(length)
    }
}
