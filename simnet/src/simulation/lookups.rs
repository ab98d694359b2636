//! Lookups of addresses before fetches, where the scenario has them.

use super::times::Times;
use crate::{
    kernel::real,
    network::Network,
    report::{Histogram, Kpi},
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
    /// Notes the share of the nodes that are offline.
    pub(super) const fn note_offline(&mut self, share: f64) {
        self.offline = share;
    }

    /// The time that a node takes to find the address of another, in microseconds; `None` when it does
    /// not, and zero where addresses are known.
    pub(super) fn look_up(&mut self, network: &Network, node: u32, which: u64) -> Option<u64> {
        let Some(ended) = network.look_up(node, which, self.offline) else { return Some(0) };
        let Some(lookup) = ended else {
            self.failed += 1;
            return None;
        };
        self.found.add(lookup.took);
        Some(lookup.took)
    }

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
