//! The folder in which everything is kept that a guest needs, and its lock.

use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;

use super::error::{self, GuestError};
use crate::interruption::Interruption;

/// The folder in which everything is kept that a guest needs.
#[derive(Debug)]
pub(crate) struct Cache {
    folder: PathBuf,
    lock: File,
}

/// Says who may use the cache next to whom.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Use {
    /// Nothing is changed but what is a run's own: any number of them.
    Boots,
    /// Packages come and go: nobody else.
    Changes,
}

impl Cache {
    /// Opens the folder and makes it if it is not there.
    pub(crate) fn open(folder: &Path) -> Result<Self, GuestError> {
        fs::create_dir_all(folder).map_err(error::file("cannot make the cache folder", folder))?;
        let folder =
            folder.canonicalize().map_err(error::file("cannot find the cache folder", folder))?;
        let path = folder.join("lock");
        let lock = OpenOptions::new().create(true).append(true).open(&path);
        let lock = lock.map_err(error::file("cannot open", &path))?;
        Ok(Self { folder, lock })
    }

    /// Where the cache is if the command line does not say so.
    pub(crate) fn default_folder() -> Option<PathBuf> {
        choose(|name| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from))
    }

    pub(crate) fn folder(&self) -> &Path {
        &self.folder
    }

    /// The folder with Debian in it.
    pub(crate) fn root(&self) -> PathBuf {
        self.folder.join("trixie")
    }

    /// Takes the lock for this use, or changes it. It is given back with the last one of the process.
    pub(crate) fn lock(&self, wanted: Use, interruption: &Interruption) -> Result<(), GuestError> {
        let operation = match wanted {
            Use::Boots => FlockOperation::NonBlockingLockShared,
            Use::Changes => FlockOperation::NonBlockingLockExclusive,
        };
        let mut said = false;
        loop {
            match flock(&self.lock, operation) {
                Ok(()) => return Ok(()),
                Err(Errno::WOULDBLOCK | Errno::INTR) => {}
                Err(errno) => {
                    return Err(error::file("cannot lock", &self.folder)(errno.into()));
                }
            }
            interruption.check()?;
            if !said {
                eprintln!("waiting: another run uses {}", self.folder.display());
                said = true;
            }
            std::thread::sleep(Duration::from_millis(200));
        }
    }
}

/// Chooses the folder by what the environment says.
fn choose(variable: impl Fn(&str) -> Option<PathBuf>) -> Option<PathBuf> {
    variable("VTD_GUEST_CACHE")
        .or_else(|| Some(variable("XDG_CACHE_HOME")?.join("vtd-guest")))
        .or_else(|| Some(variable("HOME")?.join(".cache/vtd-guest")))
}

/// Writes a file so that it is there as a whole or not at all.
pub(crate) fn write_whole(path: &Path, content: &[u8]) -> Result<(), GuestError> {
    let folder = path.parent().unwrap_or(Path::new("."));
    let write = || {
        // For everybody to read, as far as the user lets it: a temporary file is its owner's alone.
        let permissions = fs::Permissions::from_mode(0o644);
        let mut file = tempfile::Builder::new().permissions(permissions).tempfile_in(folder)?;
        file.write_all(content)?;
        file.persist(path)?;
        Ok(())
    };
    write().map_err(error::file("cannot write", path))
}

/// Removes a folder with all that is in it, if it is there. Never goes into another file system: a killed preparation may
/// have left one mounted.
pub(crate) fn remove_folder(folder: &Path) -> Result<(), GuestError> {
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    if let Some(mount) = mounted_below(&mounts, folder) {
        return Err(GuestError::Other(format!(
            "cannot remove {}: {mount} is mounted there; unmount it first",
            folder.display()
        )));
    }
    match fs::remove_dir_all(folder) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(error::file("cannot remove", folder)(error))
        }
        _ => Ok(()),
    }
}

/// The first place below the folder where something is mounted, of the lines of `/proc/self/mountinfo`.
fn mounted_below<'m>(mounts: &'m str, folder: &Path) -> Option<&'m str> {
    let mut places = mounts.lines().filter_map(|line| line.split(' ').nth(4));
    places.rfind(|place| Path::new(place).starts_with(folder))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_environment_chooses_the_folder() {
        let set = |names: &'static [&'static str]| {
            choose(|name| names.contains(&name).then(|| PathBuf::from(format!("/{name}"))))
        };
        assert_eq!(
            set(&["VTD_GUEST_CACHE", "XDG_CACHE_HOME", "HOME"]),
            Some("/VTD_GUEST_CACHE".into())
        );
        assert_eq!(set(&["XDG_CACHE_HOME", "HOME"]), Some("/XDG_CACHE_HOME/vtd-guest".into()));
        assert_eq!(set(&["HOME"]), Some("/HOME/.cache/vtd-guest".into()));
        assert_eq!(set(&[]), None);
    }

    #[test]
    fn boots_go_side_by_side_and_changes_alone() {
        let folder = tempfile::tempdir().unwrap();
        let caches = [(); 2].map(|()| Cache::open(folder.path()).unwrap());
        let [first, second] = &caches;
        let (patient, impatient) = (Interruption::default(), Interruption::default());
        impatient.come();
        first.lock(Use::Boots, &patient).unwrap();
        second.lock(Use::Boots, &patient).unwrap();
        let refused = first.lock(Use::Changes, &impatient).unwrap_err();
        assert!(matches!(refused, GuestError::Interrupted), "{refused}");
        drop(caches);
        let alone = Cache::open(folder.path()).unwrap();
        alone.lock(Use::Changes, &patient).unwrap();
        let other = Cache::open(folder.path()).unwrap();
        assert!(other.lock(Use::Boots, &impatient).is_err());
    }

    #[test]
    fn a_mount_below_a_folder_is_seen() {
        let mounts = "22 28 0:20 / /proc rw - proc proc rw\n90 28 0:20 / /cache/trixie.part/proc rw - proc proc rw\n";
        assert_eq!(
            mounted_below(mounts, Path::new("/cache/trixie.part")),
            Some("/cache/trixie.part/proc")
        );
        assert_eq!(mounted_below(mounts, Path::new("/cache/trixie")), None);
    }

    #[test]
    fn a_folder_that_is_not_there_is_removed_already() {
        let folder = tempfile::tempdir().unwrap();
        let inner = folder.path().join("a");
        remove_folder(&inner).unwrap();
        fs::create_dir_all(inner.join("b/c")).unwrap();
        remove_folder(&inner).unwrap();
        assert!(!inner.exists());
    }
}
