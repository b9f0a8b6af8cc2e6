//! docs/performance.md.

use std::fs;
use std::io::ErrorKind;
use std::path::Path;

use super::error::BenchError;
use super::platform::Platform;
use super::report::Report;

/// Between these lines is what is measured. What is before and behind them is written by hand.
const START: &str = "<!-- Written by cargo xtask bench. -->";
const END: &str = "<!-- Up to here. -->";

/// Writes what was measured into a page, or makes a page of it.
pub(crate) fn write(file: &Path, report: &Report, platform: &Platform) -> Result<(), BenchError> {
    let at = |error| BenchError::failed(file.display(), error);
    let page = match fs::read_to_string(file) {
        Ok(page) => page,
        Err(error) if error.kind() == ErrorKind::NotFound => "# Performance\n".into(),
        Err(error) => return Err(at(error)),
    };
    let text = format!("{}\n\n{}", machine(platform), report.markdown());
    fs::write(file, with(&page, &text)).map_err(at)
}

fn machine(platform: &Platform) -> String {
    let Platform { processor, cores, rustc, has_membarrier } = platform;
    let cores = if *cores == 1 { "1 core".to_string() } else { format!("{cores} cores") };
    let membarrier = if *has_membarrier { "with" } else { "without" };
    format!("{processor}, {cores}, {membarrier} membarrier; rustc {rustc}.")
}

/// The page with this where something was before, or behind all.
fn with(page: &str, text: &str) -> String {
    let parts = page.split_once(START).and_then(|(before, rest)| {
        let (_, after) = rest.split_once(END)?;
        Some((before, after))
    });
    let (before, after) = parts.map_or_else(
        || (format!("{}\n\n", page.trim_end()), "\n"),
        |(before, after)| (before.to_string(), after),
    );
    format!("{before}{START}\n\n{text}\n\n{END}{after}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_by_hand_stays() {
        let first = with("# Performance\n\nText.\n", "| a |");
        assert_eq!(first, format!("# Performance\n\nText.\n\n{START}\n\n| a |\n\n{END}\n"));
        let second = with(&format!("{first}\nMore.\n"), "| b |");
        let expected = format!("# Performance\n\nText.\n\n{START}\n\n| b |\n\n{END}\n\nMore.\n");
        assert_eq!(second, expected);
    }

    #[test]
    fn a_page_names_its_machine() {
        let platform = Platform {
            processor: "AMD EPYC".into(),
            cores: 2,
            rustc: "1.88.0".into(),
            has_membarrier: true,
        };
        let text = machine(&platform);
        assert_eq!(text, "AMD EPYC, 2 cores, with membarrier; rustc 1.88.0.");
    }
}
