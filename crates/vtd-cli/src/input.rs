//! Where a recording is read from.

use std::fs::File;
use std::io::{self, BufRead, BufReader};
use std::path::Path;

use crate::progress::Watched;

/// Opens a file, or standard input for `-`. Reading a file moves a progress bar where that is wanted.
pub(crate) fn open(path: &Path, with_progress: bool) -> io::Result<Box<dyn BufRead>> {
    if path.as_os_str() == "-" {
        return Ok(Box::new(io::stdin().lock()));
    }
    let file = File::open(path)?;
    let metadata = file.metadata()?;
    // It opens like a file on some systems, and reading it then fails.
    if metadata.is_dir() {
        return Err(io::ErrorKind::IsADirectory.into());
    }
    let length = metadata.len();
    // Pipes and devices do not know their length.
    if with_progress && length > 0 {
        return Ok(Box::new(BufReader::new(Watched::new(file, path, length))));
    }
    Ok(Box::new(BufReader::new(file)))
}
