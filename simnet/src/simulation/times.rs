//! Times that something took, counted in bins.

use std::collections::BTreeMap;

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

/// Bins of each power of two: a bin is at most 1.6 % wide.
const BINS: u64 = 64;

/// Delays are counted in bins of a 64th of their power of two.
pub(super) fn delay_bin(micros: u64) -> u32 {
    let micros = micros.max(BINS);
    let (power, bits) = (micros.ilog2(), BINS.ilog2());
    let part = u32::try_from((micros >> (power - bits)) & (BINS - 1)).expect("six bits");
    (power << bits) + part
}

/// The upper bound of a bin, in milliseconds.
pub(super) fn bin_bound(bin: u32) -> f64 {
    let bits = BINS.ilog2();
    let within = f64::from((1 << bits) + (bin & ((1 << bits) - 1)) + 1);
    within * (f64::from(bin >> bits) - f64::from(bits)).exp2() / 1_000.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_delay_lies_below_the_bound_of_its_bin_and_not_below_that_of_the_one_before() {
        for micros in [64u64, 65, 100, 1_000, 99_999, 1_048_576, 80_000_000] {
            let bin = delay_bin(micros);
            let millis = f64::from(u32::try_from(micros).unwrap()) / 1_000.0;
            assert!(millis < bin_bound(bin) && millis >= bin_bound(bin - 1), "{micros}");
        }
    }
}
