//! Files of a boot that are kept for people to look at.

use std::fs;
use std::path::{Path, PathBuf};

use super::cache::remove_folder;
use super::error::{self, GuestError};
use super::machine::Files;

/// Copies the files of a boot into a folder of its name below this one, in place of those of a boot before.
pub(crate) fn keep(files: &Files, parent: &Path, name: &str) -> Result<PathBuf, GuestError> {
    let folder = parent.join(name);
    remove_folder(&folder)?;
    fs::create_dir_all(&folder).map_err(error::file("cannot make", &folder))?;
    for file in [
        files.recording(),
        files.log(),
        files.console(),
        files.machine(),
        files.qemu(),
        files.dmar(),
    ] {
        let Some(name) = file.file_name().filter(|_| file.is_file()) else { continue };
        fs::copy(&file, folder.join(name)).map_err(error::file("cannot copy", &file))?;
    }
    Ok(folder)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_there_is_kept_and_what_was_there_goes() {
        let (run, parent) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let files = Files::new(run.path().into());
        fs::write(files.recording(), "one").unwrap();
        fs::write(files.log(), "unit").unwrap();
        fs::write(run.path().join("disk.img"), "").unwrap();
        let kept = keep(&files, parent.path(), "linux-7.3-legacy").unwrap();
        assert_eq!(fs::read_to_string(kept.join("recording.rec")).unwrap(), "one");
        assert!(!kept.join("disk.img").exists());
        fs::remove_file(files.log()).unwrap();
        assert_eq!(keep(&files, parent.path(), "linux-7.3-legacy").unwrap(), kept);
        assert!(!kept.join("unit.log").exists());
    }
}
