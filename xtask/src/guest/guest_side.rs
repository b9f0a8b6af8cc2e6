//! What runs in the guest: the kernel, and an initramfs built from the project's folder `guest/`.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::cache::remove_folder;
use super::chroot::Chroot;
use super::error::{self, GuestError};
use super::fingerprint::Fingerprint;
use super::preparation::{KERNELS, Kernel};
use super::steps::Steps;

/// What QEMU boots, as paths inside.
#[derive(Clone, Debug)]
pub(crate) struct GuestSide {
    pub(crate) kernel: String,
    pub(crate) initramfs: String,
    /// With the kernel and the other one in it, to be started by kexec.
    pub(crate) initramfs_for_kexec: String,
}

impl GuestSide {
    /// Builds it for this kernel, unless that has been done since the folder or the kernel changed.
    pub(crate) fn build(
        source: &Path,
        kernel: &Kernel,
        chroot: &Chroot,
        steps: &mut Steps<'_>,
    ) -> Result<Self, GuestError> {
        let release = kernel.release.as_str();
        // Named after what it is made from, so that one run never takes away what another one boots.
        let out = format!("/vtd-guest/{release}-{}", fingerprint(source, release, chroot)?);
        let built = Self {
            kernel: format!("{out}/vmlinuz"),
            initramfs: format!("{out}/initramfs.cpio.gz"),
            initramfs_for_kexec: format!("{out}/initramfs-kexec.cpio.gz"),
        };
        let outside = chroot.outside(&out);
        if outside.is_dir() {
            return Ok(built);
        }
        // Two runs may build side by side, each of them what it has seen.
        let own = format!("/vtd-guest/part-{}", std::process::id());
        let part = Part(chroot.outside(&own));
        remove_folder(&part.0)?;
        copy_folder(source, &part.0.join("source"))?;
        let mut command = chroot.contained(&format!("{own}/source/build"));
        command.args([release, &format!("{own}/source"), &format!("{own}/out")]);
        steps.run(&format!("building the guest for {release}"), &mut command)?;
        let new = part.0.join("out");
        for name in ["vmlinuz", "initramfs.cpio.gz", "initramfs-kexec.cpio.gz"] {
            if !new.join(name).is_file() {
                return Err(GuestError::Other(format!(
                    "guest/build says nothing, and has made no {name}"
                )));
            }
        }
        match fs::rename(&new, &outside) {
            // Another run was there first.
            Err(_) if outside.is_dir() => {}
            result => result.map_err(error::file("cannot put in its place", &outside))?,
        }
        remove_old(&chroot.outside("/vtd-guest"), Duration::from_secs(24 * 60 * 60))?;
        Ok(built)
    }
}

/// A folder that goes away.
struct Part(PathBuf);

impl Drop for Part {
    fn drop(&mut self) {
        // What stays is removed by the next run.
        let _ = remove_folder(&self.0);
    }
}

/// Removes what was built longer ago than this: no run takes so long.
fn remove_old(folder: &Path, age: Duration) -> Result<(), GuestError> {
    let entries = folder.read_dir().map_err(error::file("cannot read", folder))?;
    for entry in entries.flatten() {
        let built = entry.metadata().and_then(|metadata| metadata.modified());
        if built.is_ok_and(|built| built.elapsed().is_ok_and(|elapsed| elapsed > age)) {
            remove_folder(&entry.path())?;
        }
    }
    Ok(())
}

/// Of everything that a guest is built from.
fn fingerprint(source: &Path, release: &str, chroot: &Chroot) -> Result<String, GuestError> {
    let mut fingerprint = Fingerprint::default();
    fingerprint.take(release);
    fingerprint.take_folder(source)?;
    let kernels = chroot.outside(KERNELS);
    let entries = kernels.read_dir().map_err(error::file("cannot read", &kernels))?;
    let mut packages: Vec<_> = entries.flatten().map(|entry| entry.file_name()).collect();
    packages.retain(|name| name.to_string_lossy().contains(release));
    packages.sort();
    fingerprint.take(packages);
    Ok(fingerprint.finish())
}

fn copy_folder(from: &Path, to: &Path) -> Result<(), GuestError> {
    fs::create_dir_all(to).map_err(error::file("cannot make", to))?;
    for entry in from.read_dir().map_err(error::file("cannot read", from))? {
        let from = entry.map_err(error::file("cannot read", from))?.path();
        let Some(name) = from.file_name() else { continue };
        let to = to.join(name);
        if from.is_dir() {
            copy_folder(&from, &to)?;
        } else {
            fs::copy(&from, &to).map_err(error::file("cannot copy", &from))?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_built_long_ago_is_removed() {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("7.3.4")).unwrap();
        remove_old(folder.path(), Duration::from_secs(60)).unwrap();
        assert!(folder.path().join("7.3.4").exists());
        std::thread::sleep(Duration::from_millis(10));
        remove_old(folder.path(), Duration::from_millis(1)).unwrap();
        assert!(!folder.path().join("7.3.4").exists());
    }

    #[test]
    fn a_folder_is_copied_with_all_that_is_in_it() {
        let (from, to) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        fs::create_dir(from.path().join("module")).unwrap();
        fs::write(from.path().join("module/Makefile"), "obj-m").unwrap();
        let to = to.path().join("deep/source");
        copy_folder(from.path(), &to).unwrap();
        assert_eq!(fs::read_to_string(to.join("module/Makefile")).unwrap(), "obj-m");
    }
}
