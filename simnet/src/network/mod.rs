//! What the network does to messages: the model, and its only numbers.
//!
//! - **Delay** between two nodes: the [`Underlay`]'s, varied by up to the share `jitter`, uniformly,
//!   both ways. Through a relay it is two delays and a typical one.
//! - **Gossip** (gossipsub with a mesh of [`MESH`]): a receiver is `h` hops away, where a share
//!   `flood · (MESH-1)^(h-1) / N` of all receivers is at distance `h`; each hop leads through a node
//!   drawn at random, the nearer of [`CHOICES`] (the last one of all [`MESH`] neighbours), since the
//!   first copy of a message wins, and costs its delay and [`HOP_MICROS`] of validation. A share
//!   `loss` of receivers misses a message altogether.
//!   Messages are small: they take no bandwidth.
//! - **Pull sync**: what was missed is asked of a random peer, first after [`GRACE_MICROS`] and then
//!   every `pull`; a share `loss` of questions gets no answer.
//! - **Transfers**: a round trip, then the bytes over both access lines, first come, first served;
//!   three delays more for each lost attempt.
//! - **Lookups** (`dht = "kademlia"`): before each transfer between nodes, see [`kademlia`]; otherwise
//!   addresses are known.
//! - **The chain**: transactions and blocks take a typical delay. Nodes read one shared view, so a
//!   node sees at least the block that it was told.
//!
//! When a message reaches a node is a function of (seed, message, node): it is computed when somebody
//! asks, and costs nothing where nobody does. Packets, reordering within a transfer, and congestion
//! inside the underlay are not modelled.

mod access;
pub mod kademlia;
mod underlay;

pub use access::Route;
pub use underlay::{Coords, Matrix, Trace, Underlay, Uniform, build};

use access::{Lines, Nat};
use kademlia::{Kademlia, Lookup};

use crate::{
    Scenario,
    faults::Faults,
    kernel::{Draws, Purpose, Time, ratio, real, whole},
    scenario::{Dht, FaultKind},
};

/// Neighbours in the gossip mesh: gossipsub's default.
pub const MESH: u64 = 8;
/// Peers from which the next hop of a path is the nearest: fitted to a flood over a real mesh of
/// this degree (`examples/flood.rs`).
pub const CHOICES: u64 = 2;
/// Time that a peer takes to validate and forward a message.
pub const HOP_MICROS: u64 = 500;
/// After this time without a message, a node asks for it.
pub const GRACE_MICROS: u64 = 1_000_000;
/// Time to make a record durable.
pub(crate) const FSYNC_MICROS: u64 = 5_000;
/// Time to read one cell from a disk that seeks.
pub(crate) const SEEK_MICROS: u64 = 10_000;
/// Attempts after which a transfer is given up.
const MAX_ATTEMPTS: u64 = 8;
/// Questions after which a lost record stays lost: with nine of ten unanswered, one in 800 is.
const MAX_PULLS: u64 = 64;

/// Delays, losses and lines of one network.
pub struct Network {
    underlay: Box<dyn Underlay>,
    faults: Faults,
    lines: Lines,
    nat: Nat,
    draws: Draws,
    nodes: u32,
    jitter: f64,
    loss: f64,
    pull: u64,
    relay: f64,
    /// Tables of peers, where addresses have to be looked up.
    tables: Option<Kademlia>,
    /// Of 2³² draws, how many lie within one hop more each.
    hops: Vec<u64>,
    /// Share of a victim's peers that withhold; by node, zero for all others.
    eclipsed: Vec<f32>,
}

impl Network {
    /// The network of a scenario over an underlay.
    pub fn new(scenario: &Scenario, underlay: Box<dyn Underlay>, faults: Faults) -> Self {
        let draws = Draws::new(scenario.seed);
        let nodes = scenario.population.nodes;
        Self {
            underlay,
            faults,
            lines: Lines::new(&scenario.net, nodes, draws),
            nat: Nat::new(&scenario.net, draws),
            draws,
            nodes,
            jitter: scenario.net.jitter,
            loss: scenario.net.loss,
            pull: scenario.net.pull.0,
            relay: scenario.net.relay_mbit,
            tables: tables(scenario),
            hops: hop_quantiles(u64::from(nodes), scenario.net.flood.into()),
            eclipsed: Vec::new(),
        }
    }

    /// What goes wrong, and when.
    pub const fn faults(&self) -> &Faults {
        &self.faults
    }

    /// Delays and places.
    pub fn underlay(&self) -> &dyn Underlay {
        &*self.underlay
    }

    /// Rates of a node's line (down, up), in Mbit/s.
    pub fn rates(&self, node: u32) -> (f64, f64) {
        self.lines.rates(node)
    }

    /// Puts withholding peers around a node: a share of all that it asks.
    pub(crate) fn eclipse(&mut self, victim: u32, share: f64) {
        self.eclipsed.resize(self.nodes as usize, 0.0);
        if let Some(of) = self.eclipsed.get_mut(victim as usize) {
            #[expect(clippy::cast_possible_truncation, reason = "a share to seven digits")]
            let share = share as f32;
            *of = of.max(share);
        }
    }

    fn withheld(&self, node: u32) -> f64 {
        self.eclipsed.get(node as usize).map_or(0.0, |share| f64::from(*share))
    }

    fn varied(&self, delay: u64, word: u64) -> u64 {
        share_of(delay, 1.0 - self.jitter + 2.0 * self.jitter * ratio(word))
    }

    /// One way between a node and what is not a node; `which` tells the messages apart.
    pub(crate) fn to_server(&self, node: u32, which: u64) -> u64 {
        self.varied(self.underlay.typical(), self.draws.word(Purpose::Chain, node.into(), which))
    }

    /// No record reaches another node in less, in microseconds.
    pub(crate) fn least_delay(&self) -> u64 {
        share_of(self.underlay.least(), 1.0 - self.jitter) + HOP_MICROS
    }

    /// When a message that its author sent reaches another node.
    pub fn arrival(&self, message: u32, (author, sent): (u32, Time), to: u32) -> Time {
        if author == to {
            return sent;
        }
        let word = |which| self.draws.word(Purpose::Gossip, which, pair(message, to));
        let loss = self.loss.max(self.faults.loss(sent));
        let gossiped = sent.after(self.path(author, to, word(0) & u64::from(u32::MAX), word(1)));
        let withheld = self.withheld(to);
        let is_lost = ratio(word(2)) < loss || withheld > 0.0;
        let arrived =
            if is_lost { self.pulled(sent, loss.max(withheld), to, word(3)) } else { gossiped };
        let places = ((author, self.region(author)), (to, self.region(to)));
        match self.faults.separated(arrived, places.0, places.1) {
            Some(healed) => self.pulled(healed, loss.max(withheld), to, word(4)),
            None => arrived,
        }
    }

    fn region(&self, node: u32) -> usize {
        self.underlay.region(node)
    }

    /// The delays of a path of gossip to a node, hop by hop backwards.
    fn path(&self, author: u32, to: u32, place: u64, word: u64) -> u64 {
        let further = self.hops.iter().filter(|within| place >= **within).count() as u64;
        let (mut here, mut sum) = (to, 0u64);
        for hop in 0..further {
            let candidate = |choice| {
                let drawn = self.draws.word(Purpose::Request, word, hop * MESH + choice);
                let peer = crate::kernel::scale(drawn, self.nodes.into());
                let peer = u32::try_from(peer).expect("a node's number");
                (self.varied(self.underlay.delay(peer, here), drawn.rotate_left(21)), peer)
            };
            let choices = if hop == 0 { MESH } else { CHOICES };
            let (delay, peer) = (0..choices).map(candidate).min().expect("there are choices");
            (here, sum) = (peer, sum + delay + HOP_MICROS);
        }
        sum + self.varied(self.underlay.delay(author, here), word.rotate_left(13)) + HOP_MICROS
    }

    /// When a node that asks one peer after the other has what it lacks.
    fn pulled(&self, since: Time, loss: f64, node: u32, word: u64) -> Time {
        let draw = |which| ratio(self.draws.word(Purpose::Request, word, which));
        let lost = (1..MAX_PULLS).take_while(|attempt| draw(*attempt) < loss).count() as u64;
        let phase = share_of(self.pull, draw(0));
        let trip =
            2 * self.varied(self.underlay.typical(), word.rotate_left(u32::from(node as u8)));
        since.after(GRACE_MICROS + phase).after(lost.saturating_mul(self.pull)).after(trip)
    }

    /// How long a node that comes back takes to have all records again; `None` while nobody tells it
    /// of peers.
    pub fn sync(&self, now: Time, node: u32, which: u64) -> Option<Time> {
        let region = self.region(node);
        if let Some(end) = self.faults.until(FaultKind::BootstrapOutage, now, node, region) {
            return (end.0 < u64::MAX).then_some(end);
        }
        let word = self.draws.word(Purpose::Session, which, node.into());
        Some(self.pulled(now, self.loss.max(self.withheld(node)), node, word))
    }

    /// Whether one node can ask another now, and how.
    pub fn reaches(&self, now: Time, from: u32, to: u32) -> Option<Route> {
        let places = ((from, self.region(from)), (to, self.region(to)));
        let is_cut = self.faults.separated(now, places.0, places.1).is_some()
            || self.faults.separated(now, places.1, places.0).is_some();
        if is_cut {
            return None;
        }
        let route = self.nat.route(from, to);
        let is_down = route == Route::Relayed
            && self.faults.until(FaultKind::RelayOutage, now, from, places.0.1).is_some();
        (!is_down).then_some(route)
    }

    /// How long a node takes to find the address of another while a share of all is offline; `None`
    /// where nothing is looked up, and an inner `None` where it is not found.
    pub(crate) fn look_up(&self, node: u32, which: u64, offline: f64) -> Option<Option<Lookup>> {
        let tables = self.tables?;
        // Neighbours that withhold answers are as good as gone.
        let gone = 1.0 - (1.0 - offline) * (1.0 - self.withheld(node));
        let trip = |word: u64| {
            let drawn = crate::kernel::scale(word, self.nodes.into());
            let peer = u32::try_from(drawn).expect("a node's number");
            2 * self.varied(self.underlay.delay(node, peer), word.rotate_left(17)) + HOP_MICROS
        };
        Some(tables.look_up(self.draws, u64::from(node) << 32 ^ which, gone, trip))
    }

    /// When bytes that a node asks another (a server without one) for at `now` are there; `None` when
    /// the other is not reached or it was given up. `which` tells transfers apart.
    pub fn transfer(
        &mut self,
        now: Time,
        from: Option<u32>,
        to: u32,
        bytes: u64,
        which: u64,
    ) -> Option<Time> {
        let route = match from {
            Some(from) => self.reaches(now, to, from)?,
            None => Route::Direct,
        };
        let typical = self.underlay.typical();
        let own = from.map_or(typical, |from| self.underlay.delay(from, to));
        let (one_way, limit) = match route {
            Route::Direct => (own, f64::INFINITY),
            Route::Relayed => (own + typical, self.relay),
        };
        let loss = self.loss.max(self.faults.loss(now));
        let word = |n| self.draws.word(Purpose::Request, pair(to, from.unwrap_or(to)) ^ which, n);
        let lost = (0..MAX_ATTEMPTS).take_while(|n| ratio(word(*n)) < loss).count() as u64;
        if lost == MAX_ATTEMPTS {
            return None;
        }
        let asked = now.after(self.varied(one_way, word(90))).after(lost * 3 * one_way);
        Some(self.lines.send(asked, from, to, bytes, limit, self.varied(one_way, word(91))))
    }
}

/// Who is behind NAT cannot be dialled by all, so it is in nobody's tables.
fn tables(scenario: &Scenario) -> Option<Kademlia> {
    let servers = real(scenario.population.nodes.into()) * (1.0 - scenario.net.nat);
    let is_on = scenario.net.dht == Dht::Kademlia;
    is_on.then_some(Kademlia { servers: whole(servers) })
}

const fn pair(one: u32, other: u32) -> u64 {
    (one as u64) << 32 | other as u64
}

fn share_of(value: u64, share: f64) -> u64 {
    whole(real(value) * share)
}

/// Cumulative shares of receivers within 1, 2, … hops, in units of 2⁻³², without the last.
fn hop_quantiles(nodes: u64, first: u64) -> Vec<u64> {
    let mut quantiles = Vec::new();
    let (mut ring, mut reached) = (first, first);
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
    use crate::{
        scenario::{FaultEvent, Net},
        units::Span,
    };

    fn network(loss: f64, events: &[FaultEvent]) -> Network {
        let net = Net { loss, latency: Span::millis(100), ..Net::default() };
        let scenario = Scenario { net, ..Scenario::default() };
        let faults = Faults::new(events, &[], Draws::new(7)).unwrap();
        Network::new(&scenario, Box::new(Uniform(100_000)), faults)
    }

    #[test]
    fn gossip_takes_the_hops_of_the_mesh_and_what_is_lost_is_pulled() {
        let network = network(0.1, &[]);
        let sent = Time(5_000_000);
        let delays: Vec<_> =
            (1..1000).map(|to| network.arrival(9, (0, sent), to).0 - sent.0).collect();
        // A thousand nodes are within 8 + 56 + 392 < 999 <= 8 + 56 + 392 + 2744: four hops.
        let pulled = delays.iter().filter(|delay| **delay >= GRACE_MICROS).count();
        // Expected 100; five standard deviations are 48.
        assert!((52..=148).contains(&pulled), "{pulled}");
        let gossiped: Vec<_> = delays.iter().filter(|delay| **delay < GRACE_MICROS).collect();
        assert!(gossiped.iter().all(|delay| **delay <= 4 * 150_500));
        assert_eq!(network.arrival(9, (0, sent), 0), sent, "the author has it at once");
        assert_eq!(network.arrival(9, (0, sent), 5), network.arrival(9, (0, sent), 5));
    }

    #[test]
    fn a_message_crosses_a_partition_only_after_it_has_healed() {
        let cut = FaultEvent::new(Span::ZERO, FaultKind::Partition, Span::seconds(60));
        let network = network(0.0, &[cut]);
        let side = |node| network.faults().spells()[0].strikes(node, 0);
        let same = (1..1000).find(|node| side(*node) == side(0)).unwrap();
        let other = (1..1000).find(|node| side(*node) != side(0)).unwrap();
        assert!(network.arrival(1, (0, Time(0)), same).0 < 2_000_000);
        assert!(network.arrival(1, (0, Time(0)), other).0 > 60_000_000);
        assert_eq!(network.reaches(Time(0), 0, other), None);
        assert_eq!(network.reaches(Time(0), 0, same), Some(Route::Direct));
    }

    #[test]
    fn an_eclipsed_node_hears_only_what_it_pulls() {
        let mut network = network(0.0, &[]);
        network.eclipse(5, 0.9);
        let mean = |to| {
            let of = |message| network.arrival(message, (0, Time(0)), to).0;
            (0..500).map(of).sum::<u64>() / 500
        };
        // Nine of ten questions of two seconds each are not answered.
        assert!((14_000_000..26_000_000).contains(&mean(5)), "{}", mean(5));
        assert!(mean(6) < 1_000_000);
    }

    #[test]
    fn a_transfer_costs_a_round_trip_and_its_bytes() {
        let mut network = network(0.0, &[]);
        let taken = network.transfer(Time(0), Some(1), 2, 250_000, 0).unwrap().0;
        // Two million bits at 20 Mbit/s are 100 ms; two delays of 100 ms, each varied by half.
        assert!((200_000..=400_000).contains(&taken), "{taken}");
    }
}
