//! A model of Kademlia lookups (Maymounkov and Mazières, IPTPS 2002), as libp2p makes them.
//!
//! Identifiers are uniform, and a bucket has [`BUCKET`] random peers of all that share a prefix of so
//! many bits with the target. The nearest of those shares `G` bits more, with
//! `P(G > g) = 1 - (1 - 2⁻ᵍ)ᵏ`. The target itself is one of those that may be in the bucket, for sure
//! where there are no more than `k`; one's own table is the first to be looked at. So a lookup takes about `log₂(N/k) / b` steps, where
//! `b` is the mean of `G`: 5.7 bits for buckets of twenty.
//!
//! Each step asks [`ALPHA`] peers at once and goes on with the first that answers. A peer that is gone
//! costs [`PEER_TIMEOUT`]; when all of those asked are gone, the next are asked, until the bucket is
//! empty: the lookup then fails, as it does after [`QUERY_TIMEOUT`].

use crate::kernel::{Draws, Purpose, ratio, real};

/// Peers of a bucket: libp2p's `K_VALUE`.
pub const BUCKET: u64 = 20;
/// Peers that are asked at once: libp2p's `ALPHA_VALUE`.
pub const ALPHA: u64 = 3;
/// After this time a peer does not answer any more: libp2p's default.
pub const PEER_TIMEOUT: u64 = 10_000_000;
/// After this time a lookup is given up: libp2p's default.
pub const QUERY_TIMEOUT: u64 = 60_000_000;

/// Which draw of a step says whether the bucket has the target.
const TARGET: u64 = 1 << 16;

/// The tables of peers of a network.
#[derive(Debug, Clone, Copy)]
pub struct Kademlia {
    /// Nodes that are in tables: those that can be dialled.
    pub servers: u64,
}

/// A lookup that found its target.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lookup {
    /// Steps, each of [`ALPHA`] questions at once.
    pub steps: u32,
    /// How long it took, in microseconds.
    pub took: u64,
}

impl Kademlia {
    /// Looks for a node while a share of the peers in tables is gone; `None` when it is not found.
    /// `trip` is the round trip to a peer that a word draws; `word` tells lookups apart.
    pub(crate) fn look_up(
        self,
        draws: Draws,
        word: u64,
        gone: f64,
        trip: impl Fn(u64) -> u64,
    ) -> Option<Lookup> {
        let draw = |step: u32, which: u64| {
            draws.word(Purpose::Lookup, word, u64::from(step) << 32 | which)
        };
        let mut found = Lookup { steps: 0, took: 0 };
        // Bits of the target that the next bucket's peers share.
        let mut shared = bits(draw(0, 0));
        let knows = |shared: f64| real(BUCKET) * shared.exp2() / real(self.servers.max(1));
        while ratio(draw(found.steps, TARGET)) >= knows(shared) {
            found.steps += 1;
            let nearest = 1.0 - ratio(draw(found.steps, 0)).powf(1.0 / real(BUCKET));
            shared += (-nearest.log2()).ceil().max(1.0);
            found.took += step(gone, |which| draw(found.steps, 1 + which), &trip)?;
            if found.took > QUERY_TIMEOUT {
                return None;
            }
        }
        Some(found)
    }
}

/// Bits until two identifiers differ, that one counted: one in half of all cases, two in a quarter.
fn bits(word: u64) -> f64 {
    f64::from(word.leading_zeros() + 1)
}

/// The time until one of a bucket's peers answers.
fn step(gone: f64, draw: impl Fn(u64) -> u64, trip: impl Fn(u64) -> u64) -> Option<u64> {
    let mut waited = 0;
    for first in (0..BUCKET).step_by(ALPHA as usize) {
        let asked = first..BUCKET.min(first + ALPHA);
        let answers = asked.filter(|peer| ratio(draw(2 * peer)) >= gone);
        if let Some(fastest) = answers.map(|peer| trip(draw(2 * peer + 1))).min() {
            return Some(waited + fastest.min(PEER_TIMEOUT));
        }
        waited += PEER_TIMEOUT;
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOOKUPS: u64 = 20_000;

    fn lookups(servers: u64, gone: f64) -> Vec<Option<Lookup>> {
        let (kademlia, draws) = (Kademlia { servers }, Draws::new(3));
        (0..LOOKUPS).map(|word| kademlia.look_up(draws, word, gone, |_| 100_000)).collect()
    }

    fn mean_steps(servers: u64) -> f64 {
        let steps = lookups(servers, 0.0).into_iter().map(|found| f64::from(found.unwrap().steps));
        steps.sum::<f64>() / real(LOOKUPS)
    }

    /// Expected steps by the recurrence over shared bits, and their growth with the network.
    #[test]
    fn lookups_take_the_steps_of_the_closed_form() {
        let more_than = |g: i32| 1.0 - (1.0 - 0.5f64.powi(g)).powi(BUCKET as i32);
        for servers in [100u64, 4_096, 1_000_000, 100_000_000] {
            // `expected[m]`: steps of who shares so many bits with the target.
            let mut expected = vec![0.0; 64];
            for shared in (1..40).rev() {
                let knows = real(BUCKET) * 2f64.powi(shared as i32) / real(servers);
                let after = (1..24).map(|g| {
                    let exactly = more_than(g as i32 - 1) - more_than(g as i32);
                    exactly * expected[shared + g]
                });
                expected[shared] = (1.0 - knows).max(0.0) * (1.0 + after.sum::<f64>());
            }
            let first = (1..40).map(|bits| 0.5f64.powi(bits as i32) * expected[bits]);
            let (first, found) = (first.sum::<f64>(), mean_steps(servers));
            // Five standard deviations of a mean of 20,000 lookups are below 0.03 steps.
            assert!((found - first).abs() < 0.03, "{servers}: {found}, {first}");
        }
        let bits_per_step: f64 = (0..60).map(more_than).sum();
        assert!((bits_per_step - 5.7).abs() < 0.05, "{bits_per_step}");
        let growth = mean_steps(1 << 40) - mean_steps(1 << 20);
        assert!((growth - 20.0 / bits_per_step).abs() < 0.05, "{growth}");
        assert!(mean_steps(BUCKET).abs() < 1e-9, "everybody knows everybody");
    }

    /// The same over real tables: identifiers, buckets of random peers, greedy lookups.
    #[test]
    fn lookups_take_the_steps_of_a_network_of_tables() {
        let (servers, draws) = (4_096usize, Draws::new(9));
        let id = |node: usize| draws.word(Purpose::Place, node as u64, 0);
        let ids: Vec<u64> = (0..servers).map(id).collect();
        let nearest_known = |from: usize, target: usize| {
            // The bucket in which the target is: those that share the prefix that it shares with us.
            let prefix = (ids[from] ^ ids[target]).leading_zeros();
            let mut bucket: Vec<usize> = (0..servers)
                .filter(|peer| *peer != from && (ids[*peer] ^ ids[from]).leading_zeros() == prefix)
                .collect();
            bucket.sort_by_key(|peer| draws.word(Purpose::Nat, from as u64, *peer as u64));
            bucket.truncate(BUCKET as usize);
            bucket.into_iter().min_by_key(|peer| ids[*peer] ^ ids[target]).unwrap()
        };
        let steps = |lookup: usize| {
            let target = draws.below(Purpose::Role, lookup as u64, 0, servers as u64) as usize;
            let mut here = (target + 1 + lookup) % servers;
            let mut asked = 0u32;
            loop {
                here = nearest_known(here, target);
                if here == target {
                    return f64::from(asked);
                }
                asked += 1;
            }
        };
        let found = (0..400).map(steps).sum::<f64>() / 400.0;
        let model = mean_steps(servers as u64);
        // Five standard deviations of a mean of 400 lookups.
        assert!((found - model).abs() < 0.17, "tables: {found}, model: {model}");
    }

    /// With a share g of the peers gone a step waits Σ g^(3j) timeouts and finds nobody with g^20.
    #[test]
    fn peers_that_are_gone_cost_timeouts_and_lookups() {
        let gone = 0.8f64;
        let found = lookups(1_000, gone);
        let steps = mean_steps(1_000);
        let failed = found.iter().filter(|found| found.is_none()).count() as f64 / real(LOOKUPS);
        let nobody = 1.0 - (1.0 - gone.powi(20)).powf(steps);
        // Six of seven rounds are a minute, so the limit of the query adds what needs all of them.
        let late = 1.0 - (1.0 - gone.powi(18)).powf(steps);
        assert!(failed > nobody * 0.8 && failed < late * 1.6, "{nobody} {failed} {late}");
        let few = lookups(1_000, 0.3);
        let waited: u64 = few.iter().flatten().map(|found| found.took / PEER_TIMEOUT).sum();
        let waited = real(waited) / real(LOOKUPS);
        let expected = steps * (0.3f64.powi(3) / (1.0 - 0.3f64.powi(3)));
        assert!((waited / expected - 1.0).abs() < 0.1, "{waited}, {expected}");
    }
}
