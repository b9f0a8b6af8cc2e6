//! The machine that is measured.

use std::fs;
use std::process::Command;

use super::error::BenchError;

/// What figures depend on, beside our code.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Platform {
    pub(crate) processor: String,
    pub(crate) cores: usize,
    pub(crate) rustc: String,
    /// Guards are opened without a fence.
    pub(crate) has_membarrier: bool,
}

impl Platform {
    pub(crate) fn here() -> Result<Self, BenchError> {
        let text = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
        Ok(Self {
            processor: processor(&text).unwrap_or_else(|| "a processor without a name".into()),
            cores: std::thread::available_parallelism().map_or(1, usize::from),
            rustc: rustc()?,
            has_membarrier: has_membarrier(),
        })
    }
}

/// The compiler's version, as it says it: `1.95.0 (59807616e 2026-04-14)`.
pub(crate) fn rustc() -> Result<String, BenchError> {
    let rustc = std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let output = Command::new(rustc).arg("--version").output();
    let output = output.map_err(|error| BenchError::failed("rustc", error))?;
    let text = String::from_utf8_lossy(&output.stdout);
    Ok(text.trim().trim_start_matches("rustc ").to_string())
}

fn processor(text: &str) -> Option<String> {
    let name = text.lines().find_map(|line| line.strip_prefix("model name"))?;
    Some(name.trim_start().strip_prefix(':')?.trim().to_string())
}

#[cfg(target_os = "linux")]
fn has_membarrier() -> bool {
    use rustix::thread::{MembarrierQuery, membarrier_query};
    membarrier_query().contains(MembarrierQuery::PRIVATE_EXPEDITED)
}

#[cfg(not(target_os = "linux"))]
const fn has_membarrier() -> bool {
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_name_of_a_processor() {
        let text = "processor\t: 0\nmodel\t\t: 2\nmodel name\t: AMD EPYC\nmodel name\t: other\n";
        assert_eq!(processor(text).as_deref(), Some("AMD EPYC"));
        assert_eq!(processor("Features : fp\n"), None);
    }
}
