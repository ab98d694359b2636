//! Who says that they have which blob: hints from gossip, in bounded memory.
//!
//! Saying so costs nothing, so each author is heard at a rate and has so many places. When all are
//! taken, the author with most of them loses its oldest: however much some say, what others said
//! stays.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use protocol::{BlobRef, Hash, NodeId};

/// Hints in all.
const MAX_HINTS: usize = 1 << 16;
/// Hints of one author.
const MAX_OF_AUTHOR: usize = 8192;
/// Authors that are heard.
const MAX_AUTHORS: usize = 4096;
/// Holders of one blob.
const MAX_HOLDERS: usize = 16;
/// Blobs that an author may announce at once after a long silence: a large set of data.
const BURST: u64 = 8192;
/// Time that earns an author leave to announce one more.
const PER_BLOB: Duration = Duration::from_millis(50);
/// What a message costs at least, in blobs: forwarding it costs as much as a few.
const MIN_COST: u64 = 20;

/// Hints, by blob and by author.
#[derive(Debug, Default)]
pub(crate) struct Holders {
    /// For each blob who has it, by when they said so.
    of_blob: BTreeMap<Hash, BTreeMap<u64, NodeId>>,
    authors: BTreeMap<NodeId, Author>,
    /// How many hints each author has, the one with fewest first.
    counts: BTreeSet<(usize, NodeId)>,
    hints: usize,
    /// Counts what was said; larger is later.
    clock: u64,
}

#[derive(Debug)]
struct Author {
    /// What it has, by when it said so.
    said: BTreeMap<u64, Hash>,
    when: BTreeMap<Hash, u64>,
    /// Blobs that it may still announce, as of a time.
    left: u64,
    at: Instant,
}

impl Author {
    /// Takes the cost of a message from what the author has left.
    fn pay(&mut self, cost: u64, now: Instant) -> bool {
        let earned = now.saturating_duration_since(self.at).as_millis() / PER_BLOB.as_millis();
        let earned = u64::try_from(earned).unwrap_or(BURST).min(BURST);
        if earned > 0 {
            self.left = (self.left + earned).min(BURST);
            self.at = now;
        }
        match self.left.checked_sub(cost) {
            Some(left) => {
                self.left = left;
                true
            }
            None => false,
        }
    }
}

impl Holders {
    /// Remembers what a member says that it has; `false` where it says more than it may.
    pub(crate) fn learn(&mut self, author: NodeId, blobs: &[BlobRef], now: Instant) -> bool {
        if !self.authors.contains_key(&author) {
            self.make_room_for_author();
            let fresh =
                Author { said: BTreeMap::new(), when: BTreeMap::new(), left: BURST, at: now };
            self.authors.insert(author, fresh);
            self.counts.insert((0, author));
        }
        let cost = (blobs.len() as u64).max(MIN_COST);
        if !self.authors.get_mut(&author).is_some_and(|known| known.pay(cost, now)) {
            return false;
        }
        for blob in blobs {
            self.hint(author, blob.hash);
        }
        true
    }

    /// Who has a blob, whoever said so last first.
    pub(crate) fn of(&self, blob: &Hash) -> Vec<NodeId> {
        self.of_blob.get(blob).into_iter().flat_map(|all| all.values().rev().copied()).collect()
    }

    fn hint(&mut self, author: NodeId, blob: Hash) {
        self.clock += 1;
        let stamp = self.clock;
        if let Some(before) = self.authors.get(&author).and_then(|a| a.when.get(&blob)).copied() {
            self.remove(author, before);
        }
        let of_author = self.authors.get(&author).map_or(0, |known| known.said.len());
        if of_author >= MAX_OF_AUTHOR {
            self.remove_oldest(author);
        } else if self.hints >= MAX_HINTS
            && let Some((_, richest)) = self.counts.last().copied()
        {
            self.remove_oldest(richest);
        }
        let holders = self.of_blob.get(&blob).filter(|holders| holders.len() >= MAX_HOLDERS);
        if let Some((oldest, holder)) = holders.and_then(|h| h.first_key_value()) {
            let (oldest, holder) = (*oldest, *holder);
            self.remove(holder, oldest);
        }
        let Some(known) = self.authors.get_mut(&author) else { return };
        self.counts.remove(&(known.said.len(), author));
        known.said.insert(stamp, blob);
        known.when.insert(blob, stamp);
        self.counts.insert((known.said.len(), author));
        self.of_blob.entry(blob).or_default().insert(stamp, author);
        self.hints += 1;
    }

    fn remove_oldest(&mut self, author: NodeId) {
        let oldest = self.authors.get(&author).and_then(|known| known.said.first_key_value());
        if let Some(stamp) = oldest.map(|(stamp, _)| *stamp) {
            self.remove(author, stamp);
        }
    }

    /// Removes what an author said at a time.
    fn remove(&mut self, author: NodeId, stamp: u64) {
        let Some(known) = self.authors.get_mut(&author) else { return };
        self.counts.remove(&(known.said.len(), author));
        if let Some(blob) = known.said.remove(&stamp) {
            known.when.remove(&blob);
            self.hints -= 1;
            if let Some(holders) = self.of_blob.get_mut(&blob) {
                holders.remove(&stamp);
                if holders.is_empty() {
                    self.of_blob.remove(&blob);
                }
            }
        }
        self.counts.insert((known.said.len(), author));
    }

    /// Forgets the author that has been silent for longest, where there is no room for another.
    fn make_room_for_author(&mut self) {
        if self.authors.len() < MAX_AUTHORS {
            return;
        }
        let silent = self.authors.iter().min_by_key(|(_, author)| author.at).map(|(id, _)| *id);
        let Some(silent) = silent else { return };
        while self.authors.get(&silent).is_some_and(|author| !author.said.is_empty()) {
            self.remove_oldest(silent);
        }
        self.authors.remove(&silent);
        self.counts.remove(&(0, silent));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(name: u32) -> NodeId {
        let mut id = NodeId([7; 32]);
        id.0[..4].copy_from_slice(&name.to_be_bytes());
        id
    }

    fn blobs(from: u32, count: u32) -> Vec<BlobRef> {
        let blob = |number: u32| {
            let mut hash = Hash([1; 32]);
            hash.0[..4].copy_from_slice(&number.to_be_bytes());
            BlobRef::new(hash, 9)
        };
        (from..from + count).map(blob).collect()
    }

    #[test]
    fn an_author_is_heard_at_a_rate_and_the_flood_is_not_passed_on() {
        let (mut holders, start) = (Holders::default(), Instant::now());
        let heard = |holders: &mut Holders, now| {
            (0..1_000).filter(|n| holders.learn(node(1), &blobs(n * 1_000, 1_000), now)).count()
        };
        assert_eq!(heard(&mut holders, start), 8);
        assert_eq!(heard(&mut holders, start + Duration::from_secs(60)), 1);
        // Many small messages cost as well.
        let mut small = Holders::default();
        let passed = (0..10_000).filter(|n| small.learn(node(1), &blobs(*n, 1), start)).count();
        assert_eq!(passed as u64, BURST / MIN_COST);
    }

    #[test]
    fn what_others_said_outlasts_a_flood_of_many_authors() {
        let (mut holders, start) = (Holders::default(), Instant::now());
        let honest = blobs(0, 500);
        assert!(holders.learn(node(0), &honest, start));
        for author in 1..40 {
            for part in 0..8 {
                let first = author * 100_000 + part * 1_000;
                assert!(holders.learn(node(author), &blobs(first, 1_000), start));
            }
        }
        assert!(holders.hints <= MAX_HINTS);
        assert!(honest.iter().all(|blob| holders.of(&blob.hash) == [node(0)]));
        let remembered: usize = holders.of_blob.values().map(BTreeMap::len).sum();
        assert_eq!(remembered, holders.hints);
        for name in 0..2 * u32::try_from(MAX_AUTHORS).unwrap() {
            let later = start + Duration::from_millis(u64::from(name));
            holders.learn(node(10_000 + name), &blobs(7, 1), later);
        }
        assert!(holders.authors.len() <= MAX_AUTHORS && holders.counts.len() <= MAX_AUTHORS);
        let of_one = holders.of(&blobs(7, 1)[0].hash);
        assert_eq!(of_one.len(), MAX_HOLDERS, "the last who said so");
    }

    #[test]
    fn saying_it_again_makes_it_new_and_takes_no_more_room() {
        let (mut holders, start) = (Holders::default(), Instant::now());
        for author in [1, 2, 1] {
            assert!(holders.learn(node(author), &blobs(0, 3), start));
        }
        assert_eq!(holders.hints, 6);
        assert_eq!(holders.of(&blobs(0, 1)[0].hash), [node(1), node(2)]);
    }
}
