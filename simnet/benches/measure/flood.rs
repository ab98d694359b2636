//! A flood of messages over a real mesh of degree eight: the kernel at work.

use std::time::Instant;

use simnet::{
    kernel::{Actor, CalendarQueue, Draws, EventQueue as _, Purpose, Time, ratio},
    network::{Coords, HOP_MICROS, Underlay as _},
};

/// What came of a flood.
pub(crate) struct Flood {
    /// First deliveries of a message to a node, its author's own among them.
    pub(crate) reached: u64,
    pub(crate) events: u64,
    pub(crate) most_pending: usize,
    pub(crate) seconds: f64,
    /// When each node had the first message, in microseconds.
    pub(crate) delays: Vec<u64>,
}

/// Who sends a message.
pub(crate) fn author(message: u32, nodes: u32, draws: Draws) -> u32 {
    let drawn = draws.below(Purpose::Request, u64::from(message), 0, nodes.into());
    u32::try_from(drawn).expect("a node's number")
}

/// The union of four random permutations and their inverses: eight neighbours each.
fn mesh(nodes: u32, draws: Draws) -> Vec<[u32; 8]> {
    let mut mesh = vec![[0; 8]; nodes as usize];
    for part in 0..4u32 {
        let mut order: Vec<_> = (0..nodes)
            .map(|node| (draws.word(Purpose::Place, node.into(), 100 + u64::from(part)), node))
            .collect();
        order.sort_unstable();
        for (place, (_, node)) in order.iter().enumerate() {
            let (_, next) = order[(place + 1) % order.len()];
            mesh[*node as usize][part as usize * 2] = next;
            mesh[next as usize][part as usize * 2 + 1] = *node;
        }
    }
    mesh
}

/// Sends at most 64 messages at once and waits until nobody has anything to forward.
pub(crate) fn flood(nodes: u32, messages: u32, underlay: &Coords, draws: Draws) -> Flood {
    let mesh = mesh(nodes, draws);
    let mut queue = CalendarQueue::default();
    let mut seen = vec![0u64; nodes as usize];
    for message in 0..messages {
        let node = Actor::node(author(message, nodes, draws));
        queue.push(Time(0), node, node, message);
    }
    let started = Instant::now();
    let (mut events, mut most_pending, mut delays) = (0u64, 0, Vec::new());
    while let Some(next) = queue.pop() {
        events += 1;
        let node = next.to.index().expect("no chain takes part");
        if seen[node] >> next.event & 1 == 1 {
            continue;
        }
        seen[node] |= 1 << next.event;
        if next.event == 0 {
            delays.push(next.at.0);
        }
        let me = next.to.0 - 1;
        for peer in mesh[node] {
            if Actor::node(peer) != next.from {
                let jitter = ratio(draws.word(Purpose::Gossip, events, peer.into()));
                let delay = (underlay.delay(me, peer) as f64 * (0.5 + jitter)) as u64;
                let at = next.at.after(HOP_MICROS + delay);
                queue.push(at, Actor::node(peer), next.to, next.event);
            }
        }
        most_pending = most_pending.max(queue.pending());
    }
    let reached = seen.iter().map(|messages| u64::from(messages.count_ones())).sum();
    Flood { reached, events, most_pending, seconds: started.elapsed().as_secs_f64(), delays }
}
