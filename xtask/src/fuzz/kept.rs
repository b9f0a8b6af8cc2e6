//! `--keep`: which inputs the project keeps.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use super::FuzzError;
use super::campaign::{Campaign, at};
use super::finding::fingerprint;
use super::reach::{Edges, reach};
use crate::interruption::Interruption;

/// The size of a program's records.
const RECORD: usize = 16;
/// The most pieces that an input is taken apart into.
const MOST_PIECES: usize = 32;
/// How often a piece is taken out of an input.
const ROUNDS: usize = 16;

/// An input, and what it is kept for: edges that nothing else reaches.
struct Chosen {
    bytes: Vec<u8>,
    reason: Edges,
    /// It may still be made smaller.
    shrinks: bool,
}

/// Keeps as few of the inputs that libFuzzer has found as reach all that no kept one does, each as small as it can be. What is kept
/// already stays as it is. In words, what came of it.
pub(crate) fn keep(campaign: &Campaign, interruption: &Interruption) -> Result<String, FuzzError> {
    let kept = reach(campaign, &[&campaign.kept], interruption)?;
    let found = reach(campaign, &[&campaign.corpus], interruption)?;
    let mut known: Edges = kept.values().flatten().copied().collect();
    let before = known.len();
    let mut chosen = Vec::new();
    for (path, reason) in choose(&found, &mut known) {
        chosen.push(Chosen { bytes: fs::read(&path).map_err(at(&path))?, reason, shrinks: true });
    }
    for _ in 0..ROUNDS {
        if !shrink(campaign, &mut chosen, interruption)? {
            break;
        }
    }
    let mut bytes = 0;
    for input in &chosen {
        bytes += input.bytes.len();
        // Named by what is in it, so that the same is never kept twice.
        let path = campaign.kept.join(format!("{:016x}", fingerprint(&input.bytes)));
        fs::write(&path, &input.bytes).map_err(at(&path))?;
    }
    let (files, edges) = (chosen.len(), known.len() - before);
    Ok(format!("{files} inputs kept, {bytes} bytes, for {edges} edges that no kept one reached"))
}

/// The inputs that reach what is not known, one after another those that reach most of it, and the smallest of these.
fn choose(found: &BTreeMap<PathBuf, Edges>, known: &mut Edges) -> Vec<(PathBuf, Edges)> {
    let size = |path: &Path| path.metadata().map_or(u64::MAX, |metadata| metadata.len());
    let mut left: Vec<_> =
        found.iter().map(|(path, edges)| (path, size(path), edges.clone())).collect();
    let mut chosen = Vec::new();
    loop {
        for (_, _, edges) in &mut left {
            edges.retain(|edge| !known.contains(edge));
        }
        left.retain(|(_, _, edges)| !edges.is_empty());
        let best =
            left.iter().max_by_key(|(_, size, edges)| (edges.len(), std::cmp::Reverse(*size)));
        let Some((path, _, edges)) = best else { return chosen };
        known.extend(edges);
        chosen.push(((*path).clone(), edges.clone()));
    }
}

/// Takes a piece out of each input that reaches all it is kept for without it; whether there was one.
fn shrink(
    campaign: &Campaign,
    chosen: &mut [Chosen],
    interruption: &Interruption,
) -> Result<bool, FuzzError> {
    let folder = tempfile::tempdir().map_err(|error| FuzzError::failed("a folder", error))?;
    for (number, input) in chosen.iter_mut().enumerate() {
        if !std::mem::take(&mut input.shrinks) {
            continue;
        }
        for (variant, bytes) in smaller(&input.bytes).enumerate() {
            let path = folder.path().join(format!("{number}-{variant}"));
            fs::write(&path, bytes).map_err(at(&path))?;
        }
    }
    let reached = reach(campaign, &[folder.path()], interruption)?;
    let mut any = false;
    for (path, edges) in reached {
        let name = path.file_name().map(|name| name.to_string_lossy().into_owned());
        let number = name.and_then(|name| name.split('-').next()?.parse::<usize>().ok());
        let Some(input) = number.and_then(|number| chosen.get_mut(number)) else { continue };
        let bytes = fs::read(&path).map_err(at(&path))?;
        if bytes.len() < input.bytes.len() && input.reason.is_subset(&edges) {
            (input.bytes, input.shrinks) = (bytes, true);
            any = true;
        }
    }
    Ok(any)
}

/// The input without what is behind each of its pieces, and without each of its pieces.
fn smaller(bytes: &[u8]) -> impl Iterator<Item = Vec<u8>> {
    // Whole records, where there are some.
    let grain = if bytes.len() > 2 * RECORD { RECORD } else { 1 };
    let piece = bytes.len().div_ceil(MOST_PIECES).next_multiple_of(grain).max(1);
    let places = (0..bytes.len()).step_by(piece);
    let shorter = places.clone().map(|place| bytes.iter().take(place).copied().collect());
    let without = places.map(move |place| {
        bytes.iter().take(place).chain(bytes.iter().skip(place + piece)).copied().collect()
    });
    shorter.chain(without)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_one_that_reaches_most_is_chosen_first_and_nothing_twice() {
        let found = [("a", vec![1, 2, 3]), ("b", vec![3, 4]), ("c", vec![2, 3]), ("d", vec![9])];
        let found = found.map(|(name, edges)| (PathBuf::from(name), Edges::from_iter(edges)));
        let mut known = Edges::from([9]);
        let chosen = choose(&BTreeMap::from(found), &mut known);
        assert_eq!(chosen, [("a".into(), Edges::from([1, 2, 3])), ("b".into(), Edges::from([4]))]);
        assert_eq!(known, Edges::from([1, 2, 3, 4, 9]));
    }

    #[test]
    fn smaller_inputs_are_of_whole_records() {
        let input: Vec<u8> = (0..64).collect();
        let lengths: Vec<_> = smaller(&input).map(|input| input.len()).collect();
        assert_eq!(lengths, [0, 16, 32, 48, 48, 48, 48, 48]);
        assert_eq!(smaller(&[1, 2]).collect::<Vec<_>>(), [vec![], vec![1], vec![2], vec![1]]);
        assert_eq!(smaller(&[]).count(), 0);
    }
}
