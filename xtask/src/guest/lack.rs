//! What a machine may lack, by name.

use std::fmt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::cache::Cache;
use super::error::{self, GuestError};
use crate::process::is_on_path;

/// Something without which no guest can be started here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Lack {
    /// The packages are those of x86-64, and run here.
    Platform(String),
    Root,
    Chroot(String),
    Debootstrap(String),
    Network(String),
    DiskSpace {
        free: u64,
        needed: u64,
        at: PathBuf,
    },
}

impl fmt::Display for Lack {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Platform(what) => {
                write!(
                    f,
                    "Linux on x86-64: this is {what}, and the packages with QEMU and the kernels are for that"
                )
            }
            Self::Root => write!(
                f,
                "root: QEMU runs with chroot in a folder of packages, and both that and making the folder need it"
            ),
            Self::Chroot(why) => write!(f, "a working chroot: {why}"),
            Self::Debootstrap(why) => write!(f, "debootstrap: {why}"),
            Self::Network(why) => write!(f, "network to Debian's packages: {why}"),
            Self::DiskSpace { free, needed, at } => write!(
                f,
                "disk space: {} MiB are free in {}, and {} MiB are needed",
                free >> 20,
                at.display(),
                needed >> 20
            ),
        }
    }
}

/// A folder with QEMU, two kernels and their headers takes 1.3 GiB, and while they are being unpacked their packages as well.
const TO_PREPARE: u64 = 3 << 30;

/// A boot's disk image, memory and recording.
const TO_BOOT: u64 = 512 << 20;

/// What this machine lacks, as far as it can be told before anything is done.
pub(crate) fn survey(cache: &Cache) -> Result<Vec<Lack>, GuestError> {
    let mut lacks = Vec::new();
    let here = (std::env::consts::OS, std::env::consts::ARCH);
    if here != ("linux", "x86_64") {
        lacks.push(Lack::Platform(format!("{} on {}", here.0, here.1)));
    }
    if !rustix::process::geteuid().is_root() {
        lacks.push(Lack::Root);
    } else if let Err(why) = try_chroot() {
        lacks.push(Lack::Chroot(why));
    }
    let root = cache.root();
    if !root.exists() && !is_on_path("debootstrap") && !is_on_path("apt-get") {
        let why = "it is not installed, and there is no apt-get to install it with";
        lacks.push(Lack::Debootstrap(why.into()));
    }
    let needed = if root.exists() { TO_BOOT } else { TO_PREPARE };
    let free = free_space(cache.folder())?;
    if free < needed {
        lacks.push(Lack::DiskSpace { free, needed, at: cache.folder().into() });
    }
    Ok(lacks)
}

fn try_chroot() -> Result<(), String> {
    let output = Command::new("chroot")
        .args(["/", "true"])
        .stdin(Stdio::null())
        .output()
        .map_err(|error| format!("the program chroot cannot be run: {error}"))?;
    if output.status.success() {
        return Ok(());
    }
    Err(String::from_utf8_lossy(&output.stderr).trim().to_string())
}

fn free_space(folder: &Path) -> Result<u64, GuestError> {
    let free = rustix::fs::statvfs(folder)
        .map_err(|errno| error::file("cannot ask for the free space of", folder)(errno.into()))?;
    Ok(free.f_bavail.saturating_mul(free.f_frsize))
}

/// Whether the output of debootstrap or apt-get says that packages could not be reached, and the line that does.
pub(crate) fn network_failure(output: &str) -> Option<&str> {
    const SIGNS: &[&str] = &[
        "Failed getting release file",
        "Couldn't download",
        "Could not resolve",
        "Temporary failure resolving",
        "Could not connect",
        "Connection failed",
        "Connection timed out",
        "Network is unreachable",
        "Unable to connect",
        "Failed to fetch",
    ];
    output.lines().find(|line| SIGNS.iter().any(|sign| line.contains(sign))).map(str::trim)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packages_that_cannot_be_reached_are_told_from_other_failures() {
        let debootstrap =
            "I: Retrieving InRelease\nE: Failed getting release file http://x/InRelease\n";
        assert_eq!(
            network_failure(debootstrap),
            Some("E: Failed getting release file http://x/InRelease")
        );
        let apt = "Err:1 http://x trixie InRelease\n  Temporary failure resolving 'x'\n";
        assert_eq!(network_failure(apt), Some("Temporary failure resolving 'x'"));
        assert_eq!(network_failure("E: Unable to locate package qemu"), None);
    }

    #[test]
    fn each_lack_has_a_name() {
        let space = Lack::DiskSpace { free: 1 << 20, needed: 3 << 30, at: "/cache".into() };
        assert_eq!(
            space.to_string(),
            "disk space: 1 MiB are free in /cache, and 3072 MiB are needed"
        );
        let error = GuestError::MachineLacks(vec![Lack::Root, space]).to_string();
        assert!(error.contains("\n  - root: "), "{error}");
        assert!(error.contains("\n  - disk space: "), "{error}");
    }
}
