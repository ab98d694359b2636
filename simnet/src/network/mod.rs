//! What the network does to messages: the model, and its only numbers.
//!
//! - **Delay**: one way `latency`, varied by up to the share `jitter`, uniformly, both ways.
//! - **Gossip** (gossipsub with a mesh of [`MESH`]): a receiver is `h` hops away, where a share
//!   `MESH · (MESH-1)^(h-1) / N` of all receivers is at distance `h`; each hop costs a delay and
//!   [`HOP_MICROS`] of validation. A share `loss` of receivers misses a message altogether.
//! - **Pull sync**: at every block a node asks one random peer that is online for the records that
//!   it lacks; a share `loss` of questions gets no answer.
//! - **Transfers**: a round trip, the bytes at the bandwidth, and one more round trip for each lost
//!   attempt. A provider never refuses for load: bandwidth is not shared between transfers.
//! - **The chain**: a transaction takes one delay and is in the next block; a block takes one delay
//!   to each node. Nodes read one shared view, so a node sees at least the block that it was told.

use crate::{
    Scenario,
    kernel::{Chance, Stream},
};

/// Neighbours in the gossip mesh: gossipsub's default.
pub const MESH: u64 = 8;
/// Time that a peer takes to validate and forward a message.
pub const HOP_MICROS: u64 = 500;
/// Time to make a record durable.
pub const FSYNC_MICROS: u64 = 5_000;
/// Time to read one cell from a disk that seeks.
pub const SEEK_MICROS: u64 = 10_000;
/// Attempts after which a transfer is given up.
const MAX_ATTEMPTS: u64 = 8;

/// Delays and losses of one network.
#[derive(Debug, Clone)]
pub struct Network {
    latency: u64,
    jitter: u64,
    loss: Chance,
    bits_per_micro: f64,
    /// Of 2³² draws, how many lie within one hop more each.
    hops: Vec<u64>,
}

impl Network {
    /// The network of a scenario.
    pub fn new(scenario: &Scenario) -> Self {
        let latency = scenario.net.latency.0;
        Self {
            latency,
            jitter: share_of(latency, scenario.net.jitter),
            loss: Chance::new(scenario.net.loss),
            bits_per_micro: scenario.net.down_mbit.min(scenario.net.up_mbit),
            hops: hop_quantiles(u64::from(scenario.population.nodes)),
        }
    }

    /// One way between two peers.
    pub fn delay(&self, draws: &mut Stream) -> u64 {
        let spread = self.jitter.saturating_mul(2).saturating_add(1);
        (self.latency - self.jitter).saturating_add(draws.below(spread))
    }

    /// When a receiver has a gossip message; `None` when it misses it. One draw gives loss
    /// and distance, another the jitter.
    pub fn gossip(&self, draws: &mut Stream) -> Option<u64> {
        let word = draws.word();
        if self.loss.takes(word >> 32) {
            return None;
        }
        let place = word & u64::from(u32::MAX);
        let further = self.hops.iter().filter(|within| place >= **within).count() as u64;
        let hops = further + 1;
        // The sum of the hops' jitters is drawn at once, with its standard deviation.
        let spread = self.jitter.saturating_mul(hops.isqrt()).min(self.latency * hops);
        let varied = draws.below(spread.saturating_mul(2).saturating_add(1));
        Some(hops * (self.latency + HOP_MICROS) - spread + varied)
    }

    /// A question to a peer and its answer; `None` when either is lost.
    pub fn round_trip(&self, draws: &mut Stream) -> Option<u64> {
        let is_lost = draws.happens(self.loss);
        let both = self.delay(draws).saturating_add(self.delay(draws));
        (!is_lost).then_some(both)
    }

    /// A transfer of `bytes`; `None` when it was given up.
    pub fn transfer(&self, bytes: u64, draws: &mut Stream) -> Option<u64> {
        let sending = micros_of(bytes, self.bits_per_micro);
        let mut waited = 0u64;
        for _ in 0..MAX_ATTEMPTS {
            match self.round_trip(draws) {
                Some(trip) => return Some(waited + trip + sending),
                None => waited += 3 * self.latency,
            }
        }
        None
    }
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::cast_precision_loss,
    reason = "a share of a delay below an hour is exact enough in 52 bits"
)]
fn share_of(value: u64, share: f64) -> u64 {
    ((value as f64) * share) as u64
}

/// Time of bytes on a line: Mbit/s are bits per microsecond.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::cast_precision_loss,
    reason = "transfers are far below 2^52 bits"
)]
fn micros_of(bytes: u64, mbit: f64) -> u64 {
    (bytes as f64 * 8.0 / mbit) as u64
}

/// Cumulative shares of receivers within 1, 2, … hops, in units of 2⁻³², without the last.
fn hop_quantiles(nodes: u64) -> Vec<u64> {
    let mut quantiles = Vec::new();
    let (mut ring, mut reached) = (MESH, MESH);
    while reached < nodes.saturating_sub(1) {
        quantiles.push((reached << 32) / nodes);
        ring = ring.saturating_mul(MESH - 1);
        reached = reached.saturating_add(ring);
    }
    quantiles
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernel::{Purpose, Streams};
    use crate::{scenario::Net, units::Span};

    fn network(loss: f64) -> Network {
        let mut scenario = Scenario::default();
        scenario.net = Net { loss, latency: Span::millis(100), ..Net::default() };
        Network::new(&scenario)
    }

    #[test]
    fn gossip_is_lost_at_the_given_rate_and_takes_the_hops_of_the_mesh() {
        let mut draws = Streams::new(3).stream(0, Purpose::Gossip);
        let network = network(0.1);
        let delays: Vec<_> = (0..10_000).filter_map(|_| network.gossip(&mut draws)).collect();
        // Expected 9,000; five standard deviations are 150.
        assert!((8_850..=9_150).contains(&delays.len()), "{}", delays.len());
        // A thousand nodes are within 8 + 56 + 392 < 999 <= 8 + 56 + 392 + 2744: four hops.
        assert!(delays.iter().all(|delay| *delay <= 4 * 100_500 + 2 * 50_000));
        let mean = delays.iter().sum::<u64>() / delays.len() as u64;
        assert!((300_000..380_000).contains(&mean), "{mean}");
    }

    #[test]
    fn a_transfer_costs_a_round_trip_and_its_bytes() {
        let mut draws = Streams::new(3).stream(0, Purpose::Request);
        let taken = network(0.0).transfer(250_000, &mut draws).unwrap();
        // Two million bits at 20 Mbit/s are 100 ms; two delays of 100 ms, each varied by half.
        assert!((200_000..=400_000).contains(&taken), "{taken}");
    }
}
