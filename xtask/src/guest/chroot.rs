//! The folder with Debian in it, and commands that run inside.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::process;

/// The folder with Debian in it.
#[derive(Clone, Debug)]
pub(crate) struct Chroot {
    root: PathBuf,
}

impl Chroot {
    pub(crate) fn new(root: PathBuf) -> Self {
        Self { root }
    }

    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    /// Where something that is at this absolute path inside is from outside.
    pub(crate) fn outside(&self, inside: &str) -> PathBuf {
        self.root.join(inside.trim_start_matches('/'))
    }

    /// Where something in this folder is from inside.
    pub(crate) fn inside(&self, outside: &Path) -> PathBuf {
        Path::new("/").join(outside.strip_prefix(&self.root).unwrap_or(outside))
    }

    /// A program inside that is killed when we die.
    pub(crate) fn command(&self, program: &str) -> Command {
        self.enter(process::bound_to_us("chroot"), program)
    }

    /// A program inside whose children all end with it, for programs that start many.
    pub(crate) fn contained(&self, program: &str) -> Command {
        self.enter(process::contained("chroot"), program)
    }

    fn enter(&self, mut command: Command, program: &str) -> Command {
        command.arg(&self.root).arg(program);
        set_environment(&mut command);
        command
    }

    /// Gives it the host's way of finding names, which may have changed since the folder was made.
    pub(crate) fn renew_name_resolution(&self) -> std::io::Result<()> {
        for file in ["etc/resolv.conf", "etc/hosts"] {
            if let Ok(content) = fs::read(Path::new("/").join(file)) {
                fs::write(self.root.join(file), content)?;
            }
        }
        Ok(())
    }
}

/// Gives a command an environment of Debian's: the host's has paths that mean nothing inside.
pub(crate) fn set_environment(command: &mut Command) {
    let proxies = std::env::vars_os().filter(|(name, _)| {
        name.to_str().is_some_and(|name| name.to_ascii_lowercase().ends_with("_proxy"))
    });
    command
        .env_clear()
        .envs(proxies)
        .env("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin")
        .env("HOME", "/root")
        .env("LC_ALL", "C.UTF-8")
        .env("DEBIAN_FRONTEND", "noninteractive");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_inside_and_outside() {
        let chroot = Chroot::new("/cache/trixie".into());
        assert_eq!(chroot.outside("/run/vtd"), Path::new("/cache/trixie/run/vtd"));
        assert_eq!(chroot.inside(Path::new("/cache/trixie/run/vtd")), Path::new("/run/vtd"));
    }
}
