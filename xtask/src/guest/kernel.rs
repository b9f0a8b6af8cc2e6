//! Which kernels there are, and which one is taken.

use std::fmt;
use std::str::FromStr;

/// A series of kernels, such as 6.12.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Series {
    major: u16,
    minor: u16,
}

impl Series {
    const fn new(major: u16, minor: u16) -> Self {
        Self { major, minor }
    }

    /// Debian's stable kernel, and the newest one of its backports that has been tried.
    pub(crate) const TRIED: [Self; 2] = [Self::new(6, 12), Self::new(7, 3)];
}

impl fmt::Display for Series {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.major, self.minor)
    }
}

/// One series or all that have been tried, as the command line names them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kernels {
    All,
    One(Series),
}

impl Kernels {
    pub(crate) fn series(self) -> Vec<Series> {
        match self {
            Self::All => Series::TRIED.to_vec(),
            Self::One(series) => vec![series],
        }
    }
}

impl FromStr for Kernels {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text == "all" {
            return Ok(Self::All);
        }
        text.split_once('.')
            .and_then(|(major, minor)| Some(Series::new(major.parse().ok()?, minor.parse().ok()?)))
            .map(Self::One)
            .ok_or_else(|| format!("{text:?} is no series of kernels such as 6.12, nor all"))
    }
}

/// A kernel as its packages are named, such as `6.12.107+deb13-cloud-amd64`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Release(String);

/// The flavour for virtual machines: small, and with what they need built in.
const FLAVOUR: &str = "-cloud-amd64";

/// What the packages of a kernel begin with: the whole kernel, or the kernel without its modules and they apart.
const IMAGES: [&str; 3] = ["linux-image-", "linux-binary-", "linux-modules-"];

const HEADERS: &str = "linux-headers-";

/// A regular expression of apt-cache's for all packages that matter here.
pub(crate) const PACKAGES: &str = "^linux-(image|binary|modules|headers)-[0-9].*-cloud-amd64$";

impl Release {
    pub(crate) fn new(text: &str) -> Self {
        Self(text.into())
    }

    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }

    /// The package with what a module is built against.
    pub(crate) fn headers(&self) -> String {
        format!("{HEADERS}{}", self.0)
    }

    /// Of the packages that there are, those with the kernel and its modules.
    pub(crate) fn images(&self, packages: &[String]) -> Vec<String> {
        let wanted = IMAGES.map(|prefix| format!("{prefix}{}", self.0));
        let mut images: Vec<_> =
            wanted.into_iter().filter(|image| packages.contains(image)).collect();
        if images.len() == 3 {
            // Only a name for the other two together.
            images.remove(0);
        }
        images
    }

    /// All numbers in the name, in order: what makes one release newer than another.
    fn numbers(&self) -> Vec<u64> {
        let version = self.0.strip_suffix(FLAVOUR).unwrap_or(&self.0);
        let numbers = version.split(|character: char| !character.is_ascii_digit());
        numbers.filter_map(|number| number.parse().ok()).collect()
    }

    fn is_of(&self, series: Series) -> bool {
        self.0.starts_with(&format!("{series}."))
    }
}

impl fmt::Display for Release {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

/// The newest kernel of the series among these packages; where there is none any more, the newest of the same major number.
///
/// A kernel without headers is of no use: no module can be built for it.
pub(crate) fn newest(series: Series, packages: &[String]) -> Option<Release> {
    let releases = packages
        .iter()
        .filter_map(|package| package.strip_prefix("linux-image-"))
        .filter(|release| release.ends_with(FLAVOUR))
        .map(Release::new)
        .filter(|release| packages.contains(&release.headers()));
    let (of_series, others): (Vec<_>, Vec<_>) = releases.partition(|release| release.is_of(series));
    let newest = |releases: Vec<Release>| releases.into_iter().max_by_key(Release::numbers);
    let of_major = |release: &Release| release.0.starts_with(&format!("{}.", series.major));
    newest(of_series).or_else(|| newest(others.into_iter().filter(of_major).collect()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn packages(names: &[&str]) -> Vec<String> {
        names.iter().map(ToString::to_string).collect()
    }

    fn series(text: &str) -> Series {
        text.parse::<Kernels>().unwrap().series()[0]
    }

    #[test]
    fn the_newest_with_headers_is_taken() {
        let there = packages(&[
            "linux-headers-6.12.107+deb13-cloud-amd64",
            "linux-headers-6.12.94+deb13-cloud-amd64",
            "linux-headers-7.3.4+deb13-cloud-amd64",
            "linux-image-6.12.107+deb13-cloud-amd64",
            "linux-image-6.12.94+deb13-cloud-amd64",
            "linux-image-6.12.110+deb13-cloud-amd64",
            "linux-image-7.3.4+deb13-cloud-amd64",
            "linux-binary-7.3.4+deb13-cloud-amd64",
            "linux-modules-7.3.4+deb13-cloud-amd64",
        ]);
        let old = newest(series("6.12"), &there).unwrap();
        assert_eq!(old.as_str(), "6.12.107+deb13-cloud-amd64");
        assert_eq!(old.images(&there), ["linux-image-6.12.107+deb13-cloud-amd64"]);
        let new = newest(series("7.3"), &there).unwrap();
        assert_eq!(
            new.images(&there),
            ["linux-binary-7.3.4+deb13-cloud-amd64", "linux-modules-7.3.4+deb13-cloud-amd64"]
        );
    }

    #[test]
    fn when_a_series_is_gone_the_newest_of_its_major_number_is_taken() {
        let there = packages(&[
            "linux-headers-7.2.12+deb13-cloud-amd64",
            "linux-image-7.2.12+deb13-cloud-amd64",
            "linux-headers-7.10.1+deb13-cloud-amd64",
            "linux-image-7.10.1+deb13-cloud-amd64",
            "linux-image-7.11.1+deb13-amd64",
        ]);
        assert_eq!(newest(series("7.3"), &there).unwrap().as_str(), "7.10.1+deb13-cloud-amd64");
        assert_eq!(newest(series("6.12"), &there), None);
    }

    #[test]
    fn one_minor_number_is_not_the_beginning_of_another() {
        let there = packages(&[
            "linux-headers-6.1.9+deb13-cloud-amd64",
            "linux-image-6.1.9+deb13-cloud-amd64",
            "linux-headers-6.12.3+deb13-cloud-amd64",
            "linux-image-6.12.3+deb13-cloud-amd64",
        ]);
        assert_eq!(newest(series("6.1"), &there).unwrap().as_str(), "6.1.9+deb13-cloud-amd64");
    }

    #[test]
    fn what_the_command_line_may_say() {
        assert_eq!("all".parse::<Kernels>().unwrap().series(), Series::TRIED);
        assert_eq!(series("6.12").to_string(), "6.12");
        for wrong in ["", "6", "six.12", "6.12.107"] {
            assert!(wrong.parse::<Kernels>().is_err(), "{wrong}");
        }
    }
}
