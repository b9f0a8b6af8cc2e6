//! Folders of single runs: sockets, the disk, the recording. Each goes away with its run.

use std::fs;
use std::path::Path;

use tempfile::TempDir;

use super::cache::remove_folder;
use super::chroot::Chroot;
use super::error::{self, GuestError};

const PREFIX: &str = "vtd-run-";

/// Makes a folder inside, where QEMU sees it as well. Named after this process, so that another one can tell when it is left.
pub(crate) fn make(chroot: &Chroot) -> Result<TempDir, GuestError> {
    let parent = chroot.outside("/run");
    tempfile::Builder::new()
        .prefix(&format!("{PREFIX}{}-", std::process::id()))
        .tempdir_in(&parent)
        .map_err(error::file("cannot make a folder in", &parent))
}

/// Removes the folders of processes that are no more: those that were killed.
pub(crate) fn remove_left(chroot: &Chroot) -> Result<(), GuestError> {
    let parent = chroot.outside("/run");
    let entries = parent.read_dir().map_err(error::file("cannot read", &parent))?;
    let others = chroot.outside("/vtd-guest").read_dir().into_iter().flatten();
    for entry in entries.chain(others).flatten() {
        if owner(&entry.file_name().to_string_lossy()).is_some_and(|owner| !is_alive(owner)) {
            remove_folder(&entry.path())?;
        }
    }
    Ok(())
}

/// The process that a folder belongs to, by its name.
fn owner(name: &str) -> Option<u32> {
    let rest = name.strip_prefix(PREFIX).or_else(|| name.strip_prefix("part-"))?;
    rest.split('-').next()?.parse().ok()
}

fn is_alive(process: u32) -> bool {
    fs::exists(Path::new("/proc").join(process.to_string())).unwrap_or(true)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_a_dead_process_left_is_removed() {
        let root = tempfile::tempdir().unwrap();
        let chroot = Chroot::new(root.path().into());
        for folder in [
            "run",
            "run/vtd-run-4294967295-abc",
            "run/lock",
            "run/vtd-other",
            "vtd-guest/part-4294967295",
        ] {
            fs::create_dir_all(root.path().join(folder)).unwrap();
        }
        let ours = make(&chroot).unwrap();
        remove_left(&chroot).unwrap();
        assert!(ours.path().exists());
        assert!(!root.path().join("run/vtd-run-4294967295-abc").exists());
        assert!(!root.path().join("vtd-guest/part-4294967295").exists());
        assert!(
            root.path().join("run/lock").exists() && root.path().join("run/vtd-other").exists()
        );
    }
}
