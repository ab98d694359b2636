//! The adapter's share of a fee, by log-likelihood gain.
//!
//! Of an output `y` that a base model with an adapter produced, the data behind the adapter first
//! takes the share
//!
//! ```text
//! alpha = clip((log p_base+adapter(y) − log p_base(y)) / (log p_base+adapter(y) − log p_unigram(y)), 0, 1)
//! ```
//!
//! of what goes to contributors: the part of all that is predictable about `y` beyond token
//! frequencies that the adapter, and not the base, predicts. The rest is the base's data's.
//!
//! Decided from three published integers, so that every node decides alike.

use crate::math::{PPM, mul_div};

/// Negative log-likelihoods of the same tokens of one output, in millionths of a nat, summed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OutputLosses {
    /// Under the base model alone.
    pub base: u64,
    /// Under the base model with the adapter.
    pub adapted: u64,
    /// Under the published token frequencies.
    pub unigram: u64,
}

impl OutputLosses {
    /// The adapter's share, in parts per million, rounded down.
    ///
    /// - The adapter predicts no better than the base: **0**.
    /// - Better than the base, and both better than frequencies: the ratio, between 0 and 1.
    /// - Better than frequencies, which beat the base: **1**; the base explains nothing.
    /// - Better than the base, but no better than frequencies: **0**. The quotient's denominator
    ///   is not positive there: the adapter explains nothing of this output that counting would
    ///   not, so it earns nothing by being less wrong than the base.
    ///
    /// Where frequencies beat the base, the last two cases meet: there a hair's difference decides
    /// over the whole share.
    pub fn alpha_ppm(self) -> u32 {
        let gain = self.base.saturating_sub(self.adapted);
        let explained = self.unigram.saturating_sub(self.adapted);
        if gain >= explained {
            return if explained > 0 { PPM } else { 0 };
        }
        // The gain is below what is explained, so the quotient lies below one million.
        let ppm = mul_div(gain.into(), PPM.into(), explained.into());
        let ppm = ppm.and_then(|ppm| u32::try_from(ppm).ok()).unwrap_or(0);
        assert!(ppm < PPM, "a part of what is explained is not all of it");
        ppm
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn alpha(base: u64, adapted: u64, unigram: u64) -> u32 {
        OutputLosses { base, adapted, unigram }.alpha_ppm()
    }

    #[test]
    fn each_case_has_its_share() {
        // Of 400 beyond frequencies the base explains 300, the adapter 100 more.
        assert_eq!(alpha(300, 200, 600), 250_000);
        // Rounded down.
        assert_eq!(alpha(101, 100, 103), 333_333);
        // The adapter harms, or does nothing.
        assert_eq!(alpha(300, 301, 600), 0);
        assert_eq!(alpha(300, 300, 600), 0);
        // The base is no better than frequencies, the adapter is.
        assert_eq!(alpha(600, 200, 600), PPM);
        assert_eq!(alpha(900, 200, 600), PPM);
        // The adapter is less wrong than the base, but no better than frequencies.
        assert_eq!(alpha(900, 600, 600), 0);
        assert_eq!(alpha(900, 700, 600), 0);
        assert_eq!(alpha(0, 0, 0), 0);
        assert_eq!(alpha(u64::MAX - 1, 0, u64::MAX), PPM - 1);
    }

    proptest! {
        #[test]
        fn it_is_the_clipped_quotient(
            base in 0u64..1 << 40, adapted in 0u64..1 << 40, unigram in 0u64..1 << 40,
        ) {
            let (gain, explained) =
                (base as f64 - adapted as f64, unigram as f64 - adapted as f64);
            let expected = if explained > 0.0 { (gain / explained).clamp(0.0, 1.0) } else { 0.0 };
            let found = f64::from(alpha(base, adapted, unigram));
            prop_assert!((found - (expected * 1e6).floor()).abs() <= 1.0, "{found} {expected}");
        }

        #[test]
        fn a_better_adapter_never_earns_less(
            base in 0u64..1 << 40, adapted in 1u64..1 << 40, less: u64, unigram in 0u64..1 << 40,
        ) {
            let better = adapted - 1 - less % adapted;
            prop_assert!(alpha(base, better, unigram) >= alpha(base, adapted, unigram));
        }
    }
}
