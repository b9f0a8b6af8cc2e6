//! What the tables have said, and a unit may still hold.

use std::collections::BTreeMap;
use std::ops::RangeBounds;

use super::told::Told;

/// How many versions of one thing are kept. A guest that changes it more often without an invalidation gets away with anything
/// there, which costs less than a walk through all of them for each request.
const MOST: usize = 16;

/// How many versions of one thing are kept of those that may be held no more.
const MOST_REVOKED: usize = 4;

/// Everything of one kind that the tables have said of each of many things.
#[derive(Debug)]
pub(super) struct Held<K, T> {
    things: BTreeMap<K, Versions<T>>,
    /// What may be held no more, for the report: the last few of each thing.
    revoked: BTreeMap<K, Vec<(T, Revoked)>>,
}

/// Everything that the tables have said of one thing.
#[derive(Debug)]
struct Versions<T> {
    seen: Vec<(T, Times)>,
    /// When there were last too many, so that what was seen then may be anything.
    crowded: Option<Times>,
}

/// The lines at which something was last read from the tables, and what led there.
///
/// They differ where a request went by way of what a unit may hold although the tables have changed: what is read behind it is as
/// new as it is itself to an invalidation that concerns it alone, and as old as what led there to one that concerns that too.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Times {
    /// The root table was the one that the guest wanted.
    pub(super) root: u64,
    /// The context entry was read.
    pub(super) context: u64,
    /// It was read itself.
    pub(super) own: u64,
}

impl Times {
    fn latest(self, other: Self) -> Self {
        Self {
            root: self.root.max(other.root),
            context: self.context.max(other.context),
            own: self.own.max(other.own),
        }
    }
}

/// Something that the tables said until the guest was told that it is invalid.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Revoked {
    /// The last line at which the tables said so.
    pub(super) seen: u64,
    pub(super) told: Told,
}

impl<K, T> Default for Held<K, T> {
    fn default() -> Self {
        Self { things: BTreeMap::new(), revoked: BTreeMap::new() }
    }
}

impl<K: Ord + Copy, T: PartialEq + Clone> Held<K, T> {
    /// The tables say this at these times.
    pub(super) fn see(&mut self, key: K, value: &T, times: Times) {
        let new = Versions { seen: Vec::new(), crowded: None };
        let versions = self.things.entry(key).or_insert(new);
        if let Some((_, seen)) = versions.seen.iter_mut().find(|(known, _)| known == value) {
            *seen = seen.latest(times);
            return;
        }
        if versions.seen.len() == MOST {
            versions.seen.remove(0);
            versions.crowded = Some(versions.crowded.map_or(times, |seen| seen.latest(times)));
        }
        versions.seen.push((value.clone(), times));
        if let Some(gone) = self.revoked.get_mut(&key) {
            gone.retain(|(gone, _)| gone != value);
        }
    }

    /// Everything that may be held of a thing.
    pub(super) fn of(&self, key: K) -> impl Iterator<Item = &(T, Times)> {
        self.things.get(&key).into_iter().flat_map(|versions| &versions.seen)
    }

    /// Whether more may be held of a thing than is known.
    pub(super) fn is_crowded(&self, key: K) -> bool {
        self.things.get(&key).is_some_and(|versions| versions.crowded.is_some())
    }

    /// What was last taken away of a thing, and is not held again.
    pub(super) fn revoked(&self, key: K) -> impl Iterator<Item = &(T, Revoked)> {
        self.revoked.get(&key).into_iter().flatten()
    }

    /// The guest is told that what `covers` says is invalid, of things within a range. What the tables have said since it asked
    /// for that stays: by the time that `since` picks.
    pub(super) fn forget(
        &mut self,
        told: &Told,
        since: impl Fn(&Times) -> u64,
        keys: impl RangeBounds<K>,
        covers: impl Fn(&K, &T) -> bool,
    ) {
        let mut empty = Vec::new();
        for (key, versions) in self.things.range_mut(keys) {
            versions.seen.retain(|(value, times)| {
                let stays = since(times) >= told.asked || !covers(key, value);
                if !stays {
                    let revoked = self.revoked.entry(*key).or_default();
                    if revoked.len() == MOST_REVOKED {
                        revoked.remove(0);
                    }
                    revoked.push((value.clone(), Revoked { seen: times.own, told: *told }));
                }
                stays
            });
            if versions.seen.is_empty() {
                versions.crowded = versions.crowded.filter(|times| since(times) >= told.asked);
                if versions.crowded.is_none() {
                    empty.push(*key);
                }
            }
        }
        for key in empty {
            self.things.remove(&key);
        }
    }
}
