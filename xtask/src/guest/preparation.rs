//! Everything that comes from packages: a Debian of its own in the cache folder, with QEMU, the kernels and what builds modules.
//!
//! Each step looks whether it has been done before it does anything, and what takes long appears under its name as a whole or
//! not at all. So a preparation that was killed is simply run again.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::cache::{Cache, Use, remove_folder, write_whole};
use super::chroot::{Chroot, set_environment};
use super::error::{self, GuestError};
use super::kernel::{self, Release, Series};
use super::lack::Lack;
use super::mirror;
use super::steps::Steps;
use crate::interruption::Interruption;
use crate::process::{contained, is_on_path};

const SUITE: &str = "trixie";

/// The suites that packages come from; where the second has a package too, it is taken from there.
const SUITES: [&str; 3] = ["trixie", "trixie-updates", "trixie-backports"];

const BACKPORTS: &str = "trixie-backports";

/// What is installed besides the smallest Debian.
const PACKAGES: &[&str] = &[
    // With vfio-user-pci: 11 of backports has it.
    "qemu-system-x86",
    "seabios",
    // The guest's programs.
    "busybox-static",
    // What builds the module, the guest's own programs and the initramfs.
    "gcc-14",
    "libc6-dev",
    "make",
    "cpio",
];

/// The folder inside with the packages of the kernels, which are unpacked and not installed.
pub(crate) const KERNELS: &str = "/kernels";

/// What a guest needs, prepared.
#[derive(Debug)]
pub(crate) struct Prepared {
    pub(crate) chroot: Chroot,
    pub(crate) kernels: Vec<Kernel>,
    pub(crate) qemu_version: String,
}

impl Prepared {
    /// The kernel that was taken for a series, by its name; by that of the series if none was.
    pub(crate) fn release(&self, series: Series) -> String {
        let kernel = self.kernels.iter().find(|kernel| kernel.series == series);
        kernel.map_or(series.to_string(), |kernel| kernel.release.to_string())
    }
}

/// A kernel whose packages are there.
#[derive(Clone, Debug)]
pub(crate) struct Kernel {
    pub(crate) series: Series,
    pub(crate) release: Release,
}

/// Prepares what is not prepared yet. With `renew` it looks for newer packages as well.
pub(crate) fn prepare(
    cache: &Cache,
    series: &[Series],
    renew: bool,
    interruption: &Interruption,
) -> Result<Prepared, GuestError> {
    cache.lock(Use::Boots, interruption)?;
    let mut preparation = Preparation {
        cache,
        chroot: Chroot::new(cache.root()),
        steps: Steps::open(cache.folder().join("preparation.log"), interruption)?,
    };
    if !renew && let Some(prepared) = preparation.what_is_there(series)? {
        return Ok(prepared);
    }
    cache.lock(Use::Changes, interruption)?;
    // Another run may have done it all while this one waited.
    if renew || preparation.what_is_there(series)?.is_none() {
        preparation.do_all(series, renew)?;
    }
    cache.lock(Use::Boots, interruption)?;
    preparation.what_is_there(series)?.ok_or_else(|| {
        GuestError::Other(format!(
            "the preparation is over, and something is missing nevertheless; see {}",
            preparation.steps.log().display()
        ))
    })
}

struct Preparation<'a> {
    cache: &'a Cache,
    chroot: Chroot,
    steps: Steps<'a>,
}

impl Preparation<'_> {
    /// What is there, if it is all there.
    fn what_is_there(&mut self, series: &[Series]) -> Result<Option<Prepared>, GuestError> {
        if !self.chroot.root().is_dir() {
            return Ok(None);
        }
        let mut kernels = Vec::new();
        for &series in series {
            match self.chosen(series)? {
                Some(release) => kernels.push(Kernel { series, release }),
                None => return Ok(None),
            }
        }
        let mut needed: Vec<_> = PACKAGES.iter().map(ToString::to_string).collect();
        needed.extend(kernels.iter().map(|kernel| kernel.release.headers()));
        if !self.missing(&needed)?.is_empty() {
            return Ok(None);
        }
        let qemu_version = self.version("qemu-system-x86")?;
        Ok(Some(Prepared { chroot: self.chroot.clone(), kernels, qemu_version }))
    }

    fn do_all(&mut self, series: &[Series], renew: bool) -> Result<(), GuestError> {
        self.steps.say(&format!("preparing {}", self.cache.folder().display()))?;
        self.make_root()?;
        self.write_sources()?;
        self.chroot
            .renew_name_resolution()
            .map_err(error::file("cannot renew name resolution in", self.chroot.root()))?;
        self.finish_what_was_cut()?;
        // Something is missing, so the network is needed; an old list may name what is gone.
        self.run("reading the lists of packages", &["apt-get", "update", "-qq", "--error-on=any"])?;
        if renew {
            self.run("taking newer packages", &["apt-get", "upgrade", "-y", "-qq"])?;
        }
        self.install(&PACKAGES.iter().map(ToString::to_string).collect::<Vec<_>>())?;
        for &series in series {
            if renew || self.chosen(series)?.is_none() {
                self.choose(series)?;
            }
            if let Some(release) = self.chosen(series)? {
                self.install(&[release.headers()])?;
            }
        }
        // They are of no use any more, and as large as what was in them.
        self.quietly("dropping downloaded packages", &["apt-get", "clean"])?;
        Ok(())
    }

    /// Makes the smallest Debian, beside its place, and puts it there when it is whole.
    fn make_root(&mut self) -> Result<(), GuestError> {
        let root = self.cache.root();
        let part = self.cache.folder().join("trixie.part");
        remove_folder(&part)?;
        if root.is_dir() {
            return Ok(());
        }
        self.have_debootstrap()?;
        let mut command = contained("debootstrap");
        command.args(["--variant=minbase", "--arch=amd64"]);
        let mirror = mirror::of_host();
        if mirror.as_ref().is_some_and(|mirror| mirror.starts_with("https:")) {
            command.arg("--include=ca-certificates");
        }
        command.arg(SUITE).arg(&part).args(mirror);
        set_environment(&mut command);
        self.steps.run(&format!("debootstrap: the smallest Debian {SUITE}"), &mut command)?;
        fs::rename(&part, &root).map_err(error::file("cannot put in its place", &part))
    }

    /// Installs debootstrap on the host if it is missing.
    fn have_debootstrap(&mut self) -> Result<(), GuestError> {
        if is_on_path("debootstrap") || Path::new("/usr/sbin/debootstrap").exists() {
            return Ok(());
        }
        self.steps.say("installing on this machine: debootstrap")?;
        let mut failed = None;
        for arguments in [
            &["update", "-qq"][..],
            &["install", "-y", "-qq", "--no-install-recommends", "debootstrap"],
        ] {
            let mut command = contained("apt-get");
            set_environment(&mut command);
            // Some sources of the host's may be out of order without any harm to this.
            match self.steps.run("apt-get on this machine", command.args(arguments)) {
                Err(GuestError::Interrupted) => return Err(GuestError::Interrupted),
                result => failed = result.err(),
            }
        }
        match failed {
            None => Ok(()),
            Some(why) => Err(GuestError::MachineLacks(vec![Lack::Debootstrap(format!(
                "it is not installed, and apt-get install did not work: {why}"
            ))])),
        }
    }

    /// Names the suites to apt.
    fn write_sources(&self) -> Result<(), GuestError> {
        let place = self.chroot.outside("/etc/apt/sources.list");
        let there = fs::read_to_string(&place).unwrap_or_default();
        let mirror = mirror::of_root(self.chroot.root()).ok_or_else(|| {
            GuestError::Other(format!(
                "{} names no mirror of Debian: remove {} to begin anew",
                place.display(),
                self.chroot.root().display()
            ))
        })?;
        let wanted: String =
            SUITES.iter().map(|suite| format!("deb {mirror} {suite} main\n")).collect();
        if there == wanted {
            return Ok(());
        }
        write_whole(&place, wanted.as_bytes())
    }

    /// Lets dpkg and apt finish what a killed run has left in the middle.
    fn finish_what_was_cut(&mut self) -> Result<(), GuestError> {
        self.quietly(
            "finishing what was cut",
            &["dpkg", "--configure", "-a", "--force-confdef", "--force-confold"],
        )?;
        let broken = self.quietly("looking for broken packages", &["dpkg", "--audit"])?;
        if !broken.trim().is_empty() {
            self.run("mending packages that were cut", &["apt-get", "install", "-f", "-y", "-qq"])?;
        }
        Ok(())
    }

    /// Installs those packages that are missing, and names them.
    fn install(&mut self, packages: &[String]) -> Result<(), GuestError> {
        let missing = self.missing(packages)?;
        if missing.is_empty() {
            return Ok(());
        }
        let with = ["-y", "-qq", "--no-install-recommends", "-t", BACKPORTS];
        let mut arguments = vec!["apt-get", "install", "--simulate"];
        arguments.extend(with);
        arguments.extend(missing.iter().map(String::as_str));
        let plan = self.quietly("asking which packages that are", &arguments)?;
        let coming: Vec<_> = plan.lines().filter_map(coming_package).collect();
        self.steps.say("installing in the cache folder, from packages of Debian:")?;
        for (package, version) in &coming {
            let named = if missing.iter().any(|name| name == package) {
                ""
            } else {
                "  (needed by another)"
            };
            self.steps.say(&format!("  {package} {version}{named}"))?;
        }
        arguments.retain(|argument| *argument != "--simulate");
        self.run(&format!("installing {} packages", coming.len()), &arguments)?;
        Ok(())
    }

    /// Those of the packages that are not installed, or only in part.
    fn missing(&mut self, packages: &[String]) -> Result<Vec<String>, GuestError> {
        let status = self.chroot.outside("/var/lib/dpkg/status");
        let status = fs::read_to_string(&status).map_err(error::file("cannot read", &status))?;
        Ok(packages
            .iter()
            .filter(|package| installed_version(&status, package).is_none())
            .cloned()
            .collect())
    }

    fn version(&mut self, package: &str) -> Result<String, GuestError> {
        let status = self.chroot.outside("/var/lib/dpkg/status");
        let status = fs::read_to_string(&status).map_err(error::file("cannot read", &status))?;
        Ok(installed_version(&status, package).unwrap_or_default().into())
    }

    /// Chooses the newest kernel of a series, fetches its packages, and notes it.
    fn choose(&mut self, series: Series) -> Result<(), GuestError> {
        let search = ["apt-cache", "search", "--names-only", kernel::PACKAGES];
        let packages = self.quietly("asking which kernels there are", &search)?;
        let packages: Vec<_> = packages
            .lines()
            .filter_map(|line| line.split_whitespace().next())
            .map(Into::into)
            .collect();
        let release = kernel::newest(series, &packages).ok_or_else(|| {
            GuestError::Other(format!(
                "Debian {SUITE} has no kernel {series} with headers, nor a later one"
            ))
        })?;
        let gone = if release.as_str().starts_with(&format!("{series}.")) {
            ""
        } else {
            " (there is none of that series any more)"
        };
        self.steps.say(&format!("kernel {series}: {release}{gone}"))?;
        let images = release.images(&packages);
        self.fetch(&images)?;
        // The note comes last: with it, everything is there.
        let note: String = std::iter::once(release.as_str())
            .chain(images.iter().map(String::as_str))
            .map(|line| format!("{line}\n"))
            .collect();
        write_whole(&self.note_of(series), note.as_bytes())
    }

    /// Fetches packages without installing them, beside their place.
    fn fetch(&mut self, packages: &[String]) -> Result<(), GuestError> {
        let kernels = self.chroot.outside(KERNELS);
        let missing: Vec<_> =
            packages.iter().filter(|package| package_file(&kernels, package).is_none()).collect();
        if missing.is_empty() {
            return Ok(());
        }
        let part = self.chroot.outside("/kernels.part");
        remove_folder(&part)?;
        for folder in [&kernels, &part] {
            fs::create_dir_all(folder).map_err(error::file("cannot make", folder))?;
        }
        let mut script =
            "cd /kernels.part && exec apt-get download -qq -o APT::Sandbox::User=root".to_string();
        for package in missing {
            self.steps.say(&format!("fetching, to be unpacked only: {package}"))?;
            script.push(' ');
            script.push_str(package);
        }
        self.run("fetching the kernel", &["sh", "-c", &script])?;
        let entries = fs::read_dir(&part).map_err(error::file("cannot read", &part))?;
        for entry in entries.flatten() {
            let place = kernels.join(entry.file_name());
            fs::rename(entry.path(), &place)
                .map_err(error::file("cannot put in its place", &place))?;
        }
        remove_folder(&part)
    }

    fn note_of(&self, series: Series) -> PathBuf {
        self.chroot.outside(KERNELS).join(format!("chosen-{series}"))
    }

    /// The kernel that was chosen for a series, if all of it is there.
    fn chosen(&self, series: Series) -> Result<Option<Release>, GuestError> {
        let Ok(note) = fs::read_to_string(self.note_of(series)) else {
            return Ok(None);
        };
        let kernels = self.chroot.outside(KERNELS);
        let mut lines = note.lines();
        let release = lines.next().map(Release::new);
        Ok(release.filter(|_| lines.all(|image| package_file(&kernels, image).is_some())))
    }

    fn run(&mut self, what: &str, arguments: &[&str]) -> Result<String, GuestError> {
        let mut command = self.inside(arguments);
        self.steps.run(what, &mut command)
    }

    fn quietly(&mut self, what: &str, arguments: &[&str]) -> Result<String, GuestError> {
        let mut command = self.inside(arguments);
        self.steps.run_quietly(what, &mut command)
    }

    fn inside(&self, arguments: &[&str]) -> Command {
        let (program, rest) = arguments.split_first().unwrap_or((&"true", &[]));
        let mut command = self.chroot.contained(program);
        command.args(rest);
        command
    }
}

/// Of a line of a simulated installation, the package and the version that would come.
fn coming_package(line: &str) -> Option<(&str, &str)> {
    // Inst make (4.4.1-2 Debian:13/stable [amd64]), or with the old version in brackets before.
    let (package, rest) = line.strip_prefix("Inst ")?.split_once(' ')?;
    let (_, rest) = rest.split_once('(')?;
    Some((package, rest.split(' ').next()?))
}

/// The version of a package that is wholly installed, of dpkg's file of states.
fn installed_version<'s>(status: &'s str, package: &str) -> Option<&'s str> {
    let paragraph = status.split("\n\n").find(|paragraph| {
        paragraph.trim_start().lines().next().and_then(|line| line.strip_prefix("Package: "))
            == Some(package)
    })?;
    let field = |name: &str| paragraph.lines().find_map(|line| line.strip_prefix(name));
    field("Status: ")?.ends_with(" ok installed").then(|| field("Version: ").unwrap_or_default())
}

/// The file of a package in a folder, whatever its version.
fn package_file(folder: &Path, package: &str) -> Option<PathBuf> {
    let entries = fs::read_dir(folder).ok()?;
    let mut files = entries.flatten().map(|entry| entry.path());
    files.find(|file| {
        let name = file.file_name().unwrap_or_default().to_string_lossy();
        name.ends_with(".deb") && name.split('_').next() == Some(package)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_wholly_installed_counts() {
        let status = "\
Package: make
Status: install ok installed
Version: 4.4.1-2

Package: make-guile
Status: install ok half-configured
Version: 4.4.1-2

Package: cpio
Status: deinstall ok config-files
Version: 2.15
";
        assert_eq!(installed_version(status, "make"), Some("4.4.1-2"));
        assert_eq!(installed_version(status, "make-guile"), None);
        assert_eq!(installed_version(status, "cpio"), None);
        assert_eq!(installed_version(status, "gcc-14"), None);
    }

    #[test]
    fn the_packages_that_come_are_named() {
        let new = "Inst make (4.4.1-2 Debian:13.5/stable [amd64])";
        assert_eq!(coming_package(new), Some(("make", "4.4.1-2")));
        let newer =
            "Inst linux-libc-dev [6.12.94-1] (7.3.4-1~bpo13+1 Debian Backports:stable [all])";
        assert_eq!(coming_package(newer), Some(("linux-libc-dev", "7.3.4-1~bpo13+1")));
        assert_eq!(coming_package("Conf make (4.4.1-2 Debian:13.5/stable [amd64])"), None);
    }

    #[test]
    fn a_package_file_is_found_whatever_its_version() {
        let folder = tempfile::tempdir().unwrap();
        let name = "linux-image-6.12.107+deb13-cloud-amd64";
        assert_eq!(package_file(folder.path(), name), None);
        let file = folder.path().join(format!("{name}_6.12.107-1_amd64.deb"));
        fs::write(&file, "").unwrap();
        fs::write(folder.path().join(format!("{name}-dbg_6.12.107-1_amd64.deb")), "").unwrap();
        assert_eq!(package_file(folder.path(), name), Some(file));
    }
}
