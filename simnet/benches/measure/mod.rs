//! What the benches and `examples/scale` share: time of one thread, and the hold model.

use std::{
    fs,
    time::{Duration, Instant},
};

use simnet::kernel::{Actor, EventQueue, Time};

/// Nodes among which the hold model draws.
pub(crate) const NODES: u32 = 1_000_000;

/// Time that this thread really ran since `start`; wall time where the system doesn't tell.
pub(crate) struct Stopwatch {
    start: Instant,
    before: Option<Duration>,
}

impl Stopwatch {
    /// From now on.
    pub(crate) fn start() -> Self {
        Self { before: ran(), start: Instant::now() }
    }

    /// Time of the thread so far.
    pub(crate) fn seconds(&self) -> f64 {
        let own = ran().zip(self.before).map(|(now, before)| now.saturating_sub(before));
        own.unwrap_or_else(|| self.start.elapsed()).as_secs_f64()
    }
}

fn ran() -> Option<Duration> {
    let told = fs::read_to_string("/proc/thread-self/schedstat").ok()?;
    told.split(' ').next()?.parse().ok().map(Duration::from_nanos)
}

/// The middle of some times.
pub(crate) fn median(mut times: Vec<f64>) -> f64 {
    times.sort_unstable_by(f64::total_cmp);
    times[times.len() / 2]
}

/// SplitMix64, so that the draws cost nothing beside the queue.
fn draw(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut z = *state;
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// Delays of 20 to 220 ms, as between peers.
fn push(queue: &mut impl EventQueue<u32>, now: Time, state: &mut u64) {
    let word = draw(state);
    let node = |bits: u64| Actor(u32::try_from(bits % u64::from(NODES)).expect("a node"));
    let at = now.after(20_000 + (word >> 44) % 200_000);
    queue.push(at, node(word & 0x3f_ffff), node((word >> 22) & 0x3f_ffff), 0);
}

/// A queue in the hold model: each event that is taken gives one anew.
pub(crate) struct Hold<Q> {
    queue: Q,
    state: u64,
}

impl<Q: EventQueue<u32>> Hold<Q> {
    /// With so many pending.
    pub(crate) fn new(mut queue: Q, pending: u64) -> Self {
        let mut state = 1;
        (0..pending).for_each(|_| push(&mut queue, Time(0), &mut state));
        Self { queue, state }
    }

    /// Takes and gives so many events.
    pub(crate) fn run(&mut self, holds: u64) {
        for _ in 0..holds {
            let next = self.queue.pop().expect("as many come as go");
            push(&mut self.queue, next.at, &mut self.state);
        }
    }

    /// Millions of events in a second of this thread.
    pub(crate) fn rate(&mut self, holds: u64) -> f64 {
        let watch = Stopwatch::start();
        self.run(holds);
        holds as f64 / watch.seconds() / 1e6
    }
}
