//! One random stream per node and purpose, so that a further node shifts nobody else's draws.

use rand_chacha::{
    ChaCha8Rng,
    rand_core::{Rng as _, SeedableRng as _},
};

/// What a stream is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u64)]
pub enum Purpose {
    /// Keys of nodes.
    Identity = 0,
    /// When a node leaves.
    Session = 1,
    /// Delay and loss of what reaches a node by gossip.
    Gossip = 2,
    /// Delay, loss and choice of peer of a node's own requests.
    Request = 3,
    /// Contents of packs.
    Data = 4,
    /// What a lazy node makes up.
    MadeUp = 5,
    /// Where nodes are.
    Place = 6,
    /// Rates of access lines.
    Access = 7,
    /// NAT and hole punching.
    Nat = 8,
    /// When blocks and transactions arrive.
    Chain = 9,
    /// Whom faults strike.
    Fault = 10,
    /// Choices of adversaries.
    Adversary = 11,
    /// Costs and choices of operators.
    Economy = 12,
    /// How nodes behave.
    Role = 13,
    /// Devices of nodes, and what they compute.
    Compute = 20,
    /// When consumers ask, and what.
    Demand = 21,
    /// Which blocks are replaced.
    Reorg = 14,
    /// Lookups in the table of peers.
    Lookup = 15,
    /// Resampling of results.
    Bootstrap = 100,
    /// Scenarios that are drawn.
    Fuzz = 101,
}

/// A stream of draws.
#[derive(Debug, Clone)]
pub struct Stream(ChaCha8Rng);

impl Stream {
    /// The next 64 bits.
    pub fn word(&mut self) -> u64 {
        self.0.next_u64()
    }

    /// A number below `bound` (below one for zero): multiplied, not divided, so without loops.
    pub fn below(&mut self, bound: u64) -> u64 {
        let wide = u128::from(self.word()) * u128::from(bound.max(1));
        u64::try_from(wide >> 64).expect("the upper half of a product of two words is a word")
    }

    /// Whether an event of a probability happens.
    pub(crate) fn happens(&mut self, probability: Chance) -> bool {
        probability.takes(self.word() >> 32)
    }

    /// Fills a slice with random bytes.
    pub fn fill(&mut self, bytes: &mut [u8]) {
        self.0.fill_bytes(bytes);
    }
}

/// A probability in units of 2⁻³², so that draws compare integers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Chance(u32);

impl Chance {
    /// From a ratio; what is outside of 0 to 1 is cut off.
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "cut off before")]
    pub fn new(ratio: f64) -> Self {
        Self((ratio.clamp(0.0, 1.0) * f64::from(u32::MAX)) as u32)
    }

    /// Whether a draw of 32 bits is among those that it takes.
    pub fn takes(self, draw: u64) -> bool {
        draw < u64::from(self.0)
    }
}

/// Where streams come from.
#[derive(Debug, Clone, Copy)]
pub struct Streams([u8; 32]);

impl Streams {
    /// All streams of a seed.
    pub fn new(seed: u64) -> Self {
        Self(blake3::derive_key("openledger simnet streams v1", &seed.to_be_bytes()))
    }

    /// The stream of a node (or another numbered thing) for a purpose.
    pub fn stream(&self, of: u32, purpose: Purpose) -> Stream {
        let mut rng = ChaCha8Rng::from_seed(self.0);
        rng.set_stream((purpose as u64) << 32 | u64::from(of));
        Stream(rng)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn streams_differ_by_seed_node_and_purpose_only() {
        let first = |seed, of, purpose| Streams::new(seed).stream(of, purpose).word();
        assert_eq!(first(7, 3, Purpose::Gossip), first(7, 3, Purpose::Gossip));
        assert_ne!(first(7, 3, Purpose::Gossip), first(8, 3, Purpose::Gossip));
        assert_ne!(first(7, 3, Purpose::Gossip), first(7, 4, Purpose::Gossip));
        assert_ne!(first(7, 3, Purpose::Gossip), first(7, 3, Purpose::Request));
    }

    #[test]
    fn chances_are_kept_at_their_ends_and_in_the_middle() {
        let mut stream = Streams::new(1).stream(0, Purpose::Session);
        assert!((0..1000).all(|_| !stream.happens(Chance::new(0.0))));
        let hits = (0..10_000).filter(|_| stream.happens(Chance::new(0.25))).count();
        // Expected 2,500; five standard deviations are 217.
        assert!((2_283..=2_717).contains(&hits), "{hits}");
        assert!((0..1000).all(|_| stream.below(7) < 7));
    }
}
