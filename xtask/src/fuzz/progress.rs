//! What libFuzzer prints while it runs.

/// A line of libFuzzer: how far it is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Progress {
    pub(crate) executions: u64,
    /// Edges.
    pub(crate) coverage: u64,
    /// Inputs.
    pub(crate) corpus: u64,
}

impl Progress {
    /// Reads a line such as `#4096 pulse  cov: 931 ft: 2417 corp: 204/10Kb lim: 400 exec/s: 2048 rss: 61Mb`.
    pub(crate) fn read(line: &str) -> Option<Self> {
        let mut words = line.strip_prefix('#')?.split_whitespace();
        let mut progress = Self { executions: words.next()?.parse().ok()?, ..Self::default() };
        while let Some(word) = words.next() {
            match word {
                "cov:" => progress.coverage = words.next()?.parse().ok()?,
                "corp:" => progress.corpus = words.next()?.split('/').next()?.parse().ok()?,
                _ => {}
            }
        }
        Some(progress)
    }

    /// What several processes that share a corpus have come to.
    pub(crate) fn together(all: &[Self]) -> Self {
        let most = |what: fn(&Self) -> u64| all.iter().map(what).max().unwrap_or(0);
        Self {
            executions: all.iter().map(|one| one.executions).sum(),
            coverage: most(|one| one.coverage),
            corpus: most(|one| one.corpus),
        }
    }
}

/// The file that a line says an input was written to.
pub(crate) fn artifact(line: &str) -> Option<&str> {
    line.split_once("Test unit written to ").map(|(_, file)| file.trim())
}

/// A name for a regression, from what the oracle said.
pub(crate) fn name(message: &str, input: &[u8]) -> String {
    let first = message.split([';', '{', '[', '(']).next().unwrap_or(message);
    let mut name: String = first
        .chars()
        .map(
            |letter| if letter.is_ascii_alphanumeric() { letter.to_ascii_lowercase() } else { '-' },
        )
        .take(48)
        .collect();
    while name.contains("--") {
        name = name.replace("--", "-");
    }
    // FNV-1a, so that two of the same oracle have two names.
    let hash = input
        .iter()
        .fold(0x811c_9dc5_u32, |hash, byte| (hash ^ u32::from(*byte)).wrapping_mul(0x0100_0193));
    format!("{}-{hash:08x}", name.trim_matches('-'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_libfuzzer() {
        let line = "#4096\tpulse  cov: 931 ft: 2417 corp: 204/10Kb lim: 400 exec/s: 2048 rss: 61Mb";
        let progress = Progress { executions: 4096, coverage: 931, corpus: 204 };
        assert_eq!(Progress::read(line), Some(progress));
        assert_eq!(Progress::read("INFO: Seed: 1"), None);
        assert_eq!(Progress::read("#x"), None);
        let two =
            Progress::together(&[progress, Progress { executions: 4, coverage: 1000, corpus: 3 }]);
        assert_eq!(two, Progress { executions: 4100, coverage: 1000, corpus: 204 });
    }

    #[test]
    fn where_an_input_is() {
        let line = "artifact_prefix='a/'; Test unit written to a/crash-12";
        assert_eq!(artifact(line), Some("a/crash-12"));
        assert_eq!(artifact("#2 INITED"), None);
    }

    #[test]
    fn regressions_are_named_after_the_oracle() {
        assert_eq!(name("waits: 3 completes (x.rs:1)", b"a"), "waits-3-completes-e40c292c");
        assert!(name("answers: it could have been Fault(…)", b"").starts_with("answers-it-could"));
    }
}
