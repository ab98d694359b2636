//! Times that something took, counted in bins.

use std::collections::BTreeMap;

use super::gossip::{bin_bound, delay_bin};
use crate::{kernel::real, report::Histogram};

/// How often something took how long.
#[derive(Debug, Default)]
pub(super) struct Times {
    bins: BTreeMap<u32, u64>,
    count: u64,
}

impl Times {
    pub(super) fn add(&mut self, micros: u64) {
        self.count += 1;
        *self.bins.entry(delay_bin(micros)).or_insert(0) += 1;
    }

    /// How many there are.
    pub(super) const fn count(&self) -> u64 {
        self.count
    }

    /// The bound, in milliseconds, of the bin in which a share of the times is reached; `None` where
    /// there are none.
    pub(super) fn quantile(&self, share: f64) -> Option<f64> {
        let mut upto = 0;
        let found = self.bins.iter().find(|(_, count)| {
            upto += *count;
            real(upto) >= share * real(self.count)
        });
        found.map(|(bin, _)| bin_bound(*bin))
    }

    /// The distribution, where there is one.
    pub(super) fn histogram(&self, name: &'static str) -> Option<Histogram> {
        let bins = self.bins.iter().map(|(bin, count)| (bin_bound(*bin), *count)).collect();
        (self.count > 0).then_some(Histogram { name, unit: "ms", bins })
    }
}
