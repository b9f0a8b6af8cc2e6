//! Where things are.

use std::path::{Path, PathBuf};

/// The folder of the whole project.
pub(crate) fn root() -> PathBuf {
    let xtask = Path::new(env!("CARGO_MANIFEST_DIR"));
    xtask.parent().unwrap_or(xtask).to_path_buf()
}

/// The folder of what cargo builds: `CARGO_TARGET_DIR` where that is set, else `target`.
pub(crate) fn target() -> PathBuf {
    let given = std::env::var_os("CARGO_TARGET_DIR").filter(|given| !given.is_empty());
    // Relative to where cargo was called, which is where this runs.
    let here = std::env::current_dir().unwrap_or_default();
    given.map_or_else(|| root().join("target"), |given| here.join(given))
}

/// As it is said to people: from the project's folder, if it lies in it.
pub(crate) fn short(path: &Path) -> String {
    path.strip_prefix(root()).unwrap_or(path).display().to_string()
}
