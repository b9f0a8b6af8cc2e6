//! Whether something has changed since it was used last.

use std::collections::hash_map::DefaultHasher;
use std::fs;
use std::hash::{Hash, Hasher};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use super::error::{self, GuestError};

/// A number that is another one, all but surely, when what went into it is.
///
/// A later Rust may count otherwise; then what depends on it is made once more than needed.
#[derive(Debug, Default)]
pub(crate) struct Fingerprint(DefaultHasher);

impl Fingerprint {
    pub(crate) fn take(&mut self, what: impl Hash) {
        what.hash(&mut self.0);
    }

    /// Takes a file: its content, and whether it can be run.
    pub(crate) fn take_file(&mut self, file: &Path) -> Result<(), GuestError> {
        let content = fs::read(file).map_err(error::file("cannot read", file))?;
        let metadata = file.metadata().map_err(error::file("cannot read", file))?;
        self.take(metadata.permissions().mode() & 0o111 != 0);
        self.take(content);
        Ok(())
    }

    /// Takes a folder: the names and contents of its files.
    pub(crate) fn take_folder(&mut self, folder: &Path) -> Result<(), GuestError> {
        let failed = || error::file("cannot read", folder);
        let entries = folder.read_dir().map_err(failed())?;
        let mut paths = Vec::new();
        for entry in entries {
            paths.push(entry.map_err(failed())?.path());
        }
        paths.sort();
        for path in paths {
            self.take(path.file_name());
            if path.is_dir() {
                self.take_folder(&path)?;
            } else {
                self.take_file(&path)?;
            }
        }
        Ok(())
    }

    pub(crate) fn finish(&self) -> String {
        format!("{:016x}", self.0.finish())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_change_of_a_folder_counts() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path();
        let of = || {
            let mut fingerprint = Fingerprint::default();
            fingerprint.take_folder(path).unwrap();
            fingerprint.finish()
        };
        let mut seen = vec![of()];
        fs::create_dir(path.join("module")).unwrap();
        seen.push(of());
        fs::write(path.join("module/a.c"), "one").unwrap();
        seen.push(of());
        fs::write(path.join("module/a.c"), "two").unwrap();
        seen.push(of());
        fs::rename(path.join("module/a.c"), path.join("module/b.c")).unwrap();
        seen.push(of());
        fs::set_permissions(path.join("module/b.c"), PermissionsExt::from_mode(0o755)).unwrap();
        seen.push(of());
        assert_eq!(of(), of());
        let mut different = seen.clone();
        different.sort();
        different.dedup();
        assert_eq!(different.len(), seen.len());
    }
}
