//! Lookups of addresses before fetches, where the scenario has them.

use super::{Simulation, number, times::Times};
use crate::{
    kernel::real,
    report::{Histogram, Kpi},
    scenario::Dht,
};

/// What was looked up so far.
#[derive(Debug, Default)]
pub(super) struct Lookups {
    /// Share of the nodes that were offline at the newest block: their entries in tables cost
    /// timeouts.
    offline: f64,
    /// Lookups that found their target.
    found: Times,
    failed: u64,
}

impl Lookups {
    /// Quantiles, and the share that failed.
    pub(super) fn figures(&self) -> [Kpi; 3] {
        let all = self.found.count() + self.failed;
        let failed = (all > 0).then(|| real(self.failed) / real(all));
        [
            Kpi::new("lookup_p50", self.found.quantile(0.5)),
            Kpi::new("lookup_p99", self.found.quantile(0.99)),
            Kpi::new("lookups_failed", failed),
        ]
    }

    /// The distribution of the times, where anything was looked up.
    pub(super) fn histogram(&self) -> Option<Histogram> {
        self.found.histogram("lookup_time")
    }
}

impl Simulation {
    /// Notes who is there, at a new block.
    pub(super) fn count_offline(&mut self) {
        if self.scenario.net.dht == Dht::Kademlia {
            let online = self.nodes.iter().filter(|node| node.is_online()).count() as u64;
            self.lookups.offline = 1.0 - real(online) / real(self.nodes.len() as u64);
        }
    }

    /// The time that a node takes to find the address of another; `None` when it does not.
    pub(super) fn look_up(&mut self, index: usize, which: u64) -> Option<u64> {
        let Some(ended) = self.network.look_up(number(index), which, self.lookups.offline) else {
            return Some(0);
        };
        let Some(lookup) = ended else {
            self.lookups.failed += 1;
            return None;
        };
        self.lookups.found.add(lookup.took);
        Some(lookup.took)
    }
}
