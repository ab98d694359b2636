//! What peers have done, in bounded memory that outlives their connections.
//!
//! One table for both planes. A score decides who stays when places are few, and who is refused; it is
//! never the reason to believe anything. It halves with time, so that neither merit nor guilt lasts for
//! ever, and the peers of whom least is known are forgotten first: an attacker who floods the table with
//! fresh names displaces other fresh names.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use protocol::NodeId;

/// Peers that are remembered.
const MAX_PEERS: usize = 4096;
/// The highest score, and the lowest.
const BOUND: i64 = 1 << 20;
/// Time in which a score halves.
const HALF_LIFE: Duration = Duration::from_secs(600);
/// At this score a peer is refused.
const REFUSED: i64 = -128_000;

/// What a peer did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Deed {
    /// It brought something that was new and valid, or answered.
    Useful,
    /// It brought something that can never be valid.
    Invalid,
    /// It broke the protocol: sixteen times at once are too many.
    Violation,
}

impl Deed {
    const fn worth(self) -> i64 {
        match self {
            Self::Useful => 1_000,
            Self::Invalid => -4_000,
            Self::Violation => -8_000,
        }
    }
}

/// Scores of peers; clones share them.
#[derive(Debug, Clone, Default)]
pub(crate) struct Reputation(Arc<Mutex<BTreeMap<NodeId, Score>>>);

#[derive(Debug, Clone, Copy)]
struct Score {
    value: i64,
    at: Instant,
}

impl Score {
    /// The score as it is now.
    fn now(self, now: Instant) -> i64 {
        let halvings = now.saturating_duration_since(self.at).as_secs() / HALF_LIFE.as_secs();
        // A negative number shifted to the right ends at -1: division ends at 0.
        self.value / (1 << halvings.min(32))
    }

    fn with(self, change: i64, now: Instant) -> Self {
        let since = now.saturating_duration_since(self.at).as_secs() / HALF_LIFE.as_secs();
        let at = if since > 0 { now } else { self.at };
        let value = self.now(now).saturating_add(change).clamp(-BOUND, BOUND);
        Self { value, at }
    }
}

impl Reputation {
    fn scores(&self) -> MutexGuard<'_, BTreeMap<NodeId, Score>> {
        self.0.lock().expect("no holder panics")
    }

    /// The score of a peer; 0 for one that is not known.
    pub(crate) fn score(&self, peer: &NodeId, now: Instant) -> i64 {
        self.scores().get(peer).map_or(0, |score| score.now(now))
    }

    /// Whether the peer did too much harm to be let in.
    pub(crate) fn is_refused(&self, peer: &NodeId, now: Instant) -> bool {
        self.score(peer, now) <= REFUSED
    }

    /// Notes what a peer did.
    pub(crate) fn note(&self, peer: NodeId, deed: Deed, now: Instant) {
        let mut scores = self.scores();
        if scores.len() >= MAX_PEERS && !scores.contains_key(&peer) {
            let nearest = scores.iter().min_by_key(|(_, score)| score.now(now).abs());
            if let Some(forgotten) = nearest.map(|(peer, _)| *peer) {
                scores.remove(&forgotten);
            }
        }
        let score = scores.entry(peer).or_insert(Score { value: 0, at: now });
        *score = score.with(deed.worth(), now);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn peer(number: u32) -> NodeId {
        let mut id = NodeId([9; 32]);
        id.0[..4].copy_from_slice(&number.to_be_bytes());
        id
    }

    #[test]
    fn sixteen_violations_in_a_row_are_refused_and_forgiven_with_time() {
        let (reputation, now) = (Reputation::default(), Instant::now());
        for _ in 0..16 {
            assert!(!reputation.is_refused(&peer(1), now));
            reputation.note(peer(1), Deed::Violation, now);
        }
        assert!(reputation.is_refused(&peer(1), now));
        assert!(!reputation.is_refused(&peer(2), now));
        assert!(!reputation.is_refused(&peer(1), now + HALF_LIFE));
        assert_eq!(reputation.score(&peer(1), now + HALF_LIFE * 40), 0);
    }

    #[test]
    fn a_flood_of_names_displaces_neither_the_guilty_nor_the_useful() {
        let (reputation, now) = (Reputation::default(), Instant::now());
        for _ in 0..20 {
            reputation.note(peer(1), Deed::Violation, now);
            reputation.note(peer(2), Deed::Useful, now);
        }
        for number in 0..3 * MAX_PEERS {
            reputation.note(peer(1_000 + u32::try_from(number).unwrap()), Deed::Invalid, now);
        }
        assert!(reputation.is_refused(&peer(1), now));
        assert_eq!(reputation.score(&peer(2), now), 20_000);
        assert_eq!(reputation.scores().len(), MAX_PEERS);
    }
}
