//! What a machine may lack, by name.

use std::fmt;
use std::process::{Command, Stdio};

/// Something without which no target can be built here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Lack {
    CargoFuzz,
    CppCompiler,
    Nightly,
    Tarpaulin,
}

impl fmt::Display for Lack {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::CargoFuzz => "cargo-fuzz (cargo install cargo-fuzz --locked)",
            Self::CppCompiler => "c++, a C++ compiler (Debian: apt-get install g++)",
            Self::Nightly => "a nightly toolchain (rustup toolchain install nightly)",
            Self::Tarpaulin => {
                "cargo-tarpaulin (cargo install cargo-tarpaulin --locked --no-default-features)"
            }
        })
    }
}

impl Lack {
    fn is_there(self) -> bool {
        let (program, arguments): (_, &[&str]) = match self {
            Self::CargoFuzz => ("cargo", &["fuzz", "--version"]),
            Self::CppCompiler => ("c++", &["--version"]),
            Self::Nightly => ("cargo", &["+nightly", "--version"]),
            Self::Tarpaulin => ("cargo", &["tarpaulin", "--version"]),
        };
        let mut command = Command::new(program);
        command.args(arguments).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        command.status().is_ok_and(|status| status.success())
    }
}

/// Those of `needed` that are missing.
pub(crate) fn survey(needed: &[Lack]) -> Vec<Lack> {
    needed.iter().copied().filter(|lack| !lack.is_there()).collect()
}
