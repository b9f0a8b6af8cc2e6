//! Where the host gets its Debian packages from, so that the guest's come from the same place.

use std::fs;
use std::path::Path;

/// The mirror that the host's apt uses, if the host is a Debian. `None` leaves the choice to debootstrap.
pub(crate) fn of_host() -> Option<String> {
    of_root(Path::new("/"))
}

/// The mirror that apt uses in the Debian in this folder.
pub(crate) fn of_root(root: &Path) -> Option<String> {
    let apt = root.join("etc/apt");
    let mut files = vec![apt.join("sources.list")];
    let entries = fs::read_dir(apt.join("sources.list.d")).into_iter().flatten().flatten();
    let mut others: Vec<_> = entries.map(|entry| entry.path()).collect();
    others.sort();
    files.append(&mut others);
    files.iter().filter_map(|file| fs::read_to_string(file).ok()).find_map(|text| of_sources(&text))
}

/// The first mirror in a list of sources, in either of apt's two formats.
fn of_sources(text: &str) -> Option<String> {
    text.lines().map(str::trim).find_map(|line| {
        let places = match line.strip_prefix("URIs:") {
            Some(places) => places,
            None => line.strip_prefix("deb ")?,
        };
        places.split_whitespace().find(|place| is_mirror(place)).map(Into::into)
    })
}

/// Whether this is a mirror of the archive itself, and not one of security updates or of somebody else's packages.
fn is_mirror(place: &str) -> bool {
    let web = place.starts_with("http://") || place.starts_with("https://");
    web && place.trim_end_matches('/').ends_with("/debian")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_formats_are_read() {
        let sources = "Types: deb\n# http://snapshot.example/debian\nURIs: http://security.example/debian-security http://mirror.example/debian/\nSuites: trixie\n";
        assert_eq!(of_sources(sources).as_deref(), Some("http://mirror.example/debian/"));
        let list = "# deb http://old.example/debian etch main\ndeb [arch=amd64 signed-by=/x] https://mirror.example/debian trixie main\n";
        assert_eq!(of_sources(list).as_deref(), Some("https://mirror.example/debian"));
    }

    #[test]
    fn what_is_no_mirror_of_debian_is_left() {
        assert_eq!(of_sources("deb http://archive.example/ubuntu noble main\n"), None);
        assert_eq!(of_sources("URIs: https://packages.example/node_20.x\n"), None);
        assert_eq!(of_sources("deb cdrom:[Debian]/ trixie main\n"), None);
        assert_eq!(of_sources(""), None);
    }
}
