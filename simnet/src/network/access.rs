//! Access lines and what stands in front of them.

use crate::{
    kernel::{Draws, Purpose, Time, normal, real, whole},
    scenario::{Bandwidth, Net},
};

/// Lines of all nodes: rates, and until when they are taken.
#[derive(Debug)]
pub(super) struct Lines {
    kind: Bandwidth,
    down: f64,
    up: f64,
    spread: f64,
    draws: Draws,
    down_free: Vec<Time>,
    up_free: Vec<Time>,
}

impl Lines {
    pub(super) fn new(net: &Net, nodes: u32, draws: Draws) -> Self {
        let lines = match net.bandwidth {
            Bandwidth::None => 0,
            Bandwidth::Fifo => nodes as usize,
        };
        Self {
            kind: net.bandwidth,
            down: net.down_mbit,
            up: net.up_mbit,
            spread: net.spread,
            draws,
            down_free: vec![Time(0); lines],
            up_free: vec![Time(0); lines],
        }
    }

    /// Rates of a node (down, up) in Mbit/s, log-normal around the medians; up is at most down.
    pub(super) fn rates(&self, node: u32) -> (f64, f64) {
        if self.spread <= 0.0 {
            return (self.down, self.up);
        }
        let words = [0, 1, 2].map(|which| self.draws.word(Purpose::Access, node.into(), which));
        let down = self.down * (self.spread * normal(words[0], words[1])).exp();
        let up = self.up * (self.spread * normal(words[0], words[2])).exp();
        (down, up.min(down))
    }

    /// When bytes that may leave at `now` are all there; the first of them takes `delay`. Without a
    /// source they come from a server whose line is never the narrow one.
    pub(super) fn send(
        &mut self,
        now: Time,
        from: Option<u32>,
        to: u32,
        bytes: u64,
        limit: f64,
        delay: u64,
    ) -> Time {
        let down = self.rates(to).0.min(limit);
        let up = from.map_or(down, |from| self.rates(from).1.min(limit));
        match self.kind {
            Bandwidth::None => now.after(delay).after(micros(bytes, down.min(up))),
            Bandwidth::Fifo => {
                let sent = match from.and_then(|from| self.up_free.get_mut(from as usize)) {
                    Some(free) => {
                        *free = now.max(*free).after(micros(bytes, up));
                        *free
                    }
                    None => now.after(micros(bytes, up)),
                };
                let first = Time(sent.0.saturating_sub(micros(bytes, up))).after(delay);
                let Some(free) = self.down_free.get_mut(to as usize) else {
                    return sent.after(delay);
                };
                // Cut through: the bytes come in as they are sent, unless the line is taken.
                let received = first.max(*free).after(micros(bytes, down)).max(sent.after(delay));
                *free = received;
                received
            }
        }
    }
}

/// Time of bytes on a line: Mbit/s are bits per microsecond.
fn micros(bytes: u64, mbit: f64) -> u64 {
    whole(real(bytes) * 8.0 / mbit)
}

/// How two nodes reach each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Route {
    /// One of them can be dialled, or the hole was punched.
    Direct,
    /// Through a relay.
    Relayed,
}

/// What stands in front of nodes.
#[derive(Debug)]
pub(super) struct Nat {
    behind: f64,
    symmetric: f64,
    punched: f64,
    draws: Draws,
}

impl Nat {
    pub(super) const fn new(net: &Net, draws: Draws) -> Self {
        Self { behind: net.nat, symmetric: net.symmetric, punched: net.punched, draws }
    }

    fn is_behind(&self, node: u32) -> bool {
        self.draws.share(Purpose::Nat, node.into(), 0) < self.behind
    }

    fn is_symmetric(&self, node: u32) -> bool {
        self.draws.share(Purpose::Nat, node.into(), 1) < self.symmetric
    }

    /// The same both ways and every time: who is punched once stays so.
    pub(super) fn route(&self, one: u32, other: u32) -> Route {
        if self.behind <= 0.0 || !self.is_behind(one) || !self.is_behind(other) {
            return Route::Direct;
        }
        let pair = u64::from(one.min(other)) << 32 | u64::from(one.max(other));
        let is_punched = self.draws.share(Purpose::Nat, pair, 2) < self.punched;
        if is_punched && !self.is_symmetric(one) && !self.is_symmetric(other) {
            Route::Direct
        } else {
            Route::Relayed
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(bandwidth: Bandwidth) -> Lines {
        let net = Net { bandwidth, down_mbit: 8.0, up_mbit: 4.0, ..Net::default() };
        Lines::new(&net, 4, Draws::new(1))
    }

    #[test]
    fn a_transfer_takes_the_narrower_line_and_waits_for_the_one_before() {
        let mut lines = lines(Bandwidth::Fifo);
        // 1 MB are 8 Mbit: two seconds up, one second down.
        let send = |lines: &mut Lines, from, to| lines.send(Time(0), from, to, 1_000_000, 1e9, 100);
        assert_eq!(send(&mut lines, Some(0), 1), Time(2_000_100));
        assert_eq!(send(&mut lines, Some(0), 2), Time(4_000_100), "the same line up");
        assert_eq!(send(&mut lines, Some(3), 1), Time(3_000_100), "the same line down");
        assert_eq!(send(&mut lines, None, 0), Time(1_000_100), "a server's line is wide");
    }

    #[test]
    fn without_queues_nobody_waits_and_a_relay_limits() {
        let mut lines = lines(Bandwidth::None);
        for _ in 0..3 {
            assert_eq!(lines.send(Time(5), Some(0), 1, 500_000, 1e9, 0), Time(1_000_005));
        }
        assert_eq!(lines.send(Time(0), Some(0), 1, 500_000, 1.0, 0), Time(4_000_000));
    }

    #[test]
    fn pairs_behind_nat_are_punched_at_the_given_rate_the_same_both_ways() {
        let net = Net { nat: 1.0, symmetric: 0.0, punched: 0.7, ..Net::default() };
        let nat = Nat::new(&net, Draws::new(2));
        let pairs = (0..10_000u32).map(|i| (i, i + 10_000));
        let punched = pairs.clone().filter(|(a, b)| nat.route(*a, *b) == Route::Direct).count();
        // Expected 7,000; five standard deviations are 229.
        assert!((6_771..=7_229).contains(&punched), "{punched}");
        assert!(pairs.take(100).all(|(a, b)| nat.route(a, b) == nat.route(b, a)));
        let open = Nat::new(&Net { nat: 0.0, ..net }, Draws::new(2));
        assert_eq!(open.route(1, 2), Route::Direct);
    }
}
