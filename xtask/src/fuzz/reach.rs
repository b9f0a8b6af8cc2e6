//! What inputs reach, as libFuzzer sees it.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use super::FuzzError;
use super::campaign::{Campaign, at};
use crate::interruption::Interruption;

/// The edges that an input reaches, by libFuzzer's numbers of them.
pub(crate) type Edges = BTreeSet<u32>;

/// The edges that each file in these folders reaches. Those that end the process reach nothing.
pub(crate) fn reach(
    campaign: &Campaign,
    folders: &[&Path],
    interruption: &Interruption,
) -> Result<BTreeMap<PathBuf, Edges>, FuzzError> {
    let scratch = tempfile::tempdir().map_err(|error| FuzzError::failed("a folder", error))?;
    let (control, into) = (scratch.path().join("control"), scratch.path().join("into"));
    fs::create_dir(&into).map_err(at(&into))?;
    let mut command = campaign.command();
    // How often an edge is passed counts as something of its own in a campaign; to keep, once is enough.
    command.args(["-set_cover_merge=1", "-use_counters=0"]);
    command.arg(format!("-merge_control_file={}", control.display())).arg(&into).args(folders);
    campaign.wait_for(command, interruption)?;
    // A merge of nothing writes nothing.
    let text = fs::read_to_string(&control).unwrap_or_default();
    Ok(parse(&text))
}

/// The files, then lines `FT NUMBER EDGE…`; those two numbers stand before all.
fn parse(text: &str) -> BTreeMap<PathBuf, Edges> {
    let mut lines = text.lines();
    let count = lines.next().and_then(|line| line.parse().ok()).unwrap_or(0);
    let files: Vec<_> = lines.by_ref().skip(1).take(count).collect();
    let mut reached = BTreeMap::new();
    for line in lines {
        let mut words = line.split(' ');
        if words.next() != Some("FT") {
            continue;
        }
        let number = words.next().and_then(|word| word.parse::<usize>().ok());
        if let Some(file) = number.and_then(|number| files.get(number)) {
            reached
                .insert(PathBuf::from(file), words.filter_map(|word| word.parse().ok()).collect());
        }
    }
    reached
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_control_file() {
        let text = "2\n0\na/x\nb/y\nSTARTED 0 16\nFT 0 1 7\nCOV 0 5\nSTARTED 1 8\nFT 1\n";
        let reached = parse(text);
        assert_eq!(reached[Path::new("a/x")], Edges::from([1, 7]));
        assert_eq!(reached[Path::new("b/y")], Edges::new());
        assert_eq!(parse("").len(), 0);
    }
}
