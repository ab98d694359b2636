//! Drawing a token from logits, and how far another's logits are from having drawn it.

use super::likeliest::likeliest;
use super::sampling::Sampling;
use crate::math::Stream;

/// The largest exponent of a weight: a vocabulary of them has a sum.
const MAX_EXPONENT: f64 = 600.0;
/// Slacks that are told apart, in nats: powers of two from the first to the last.
const SLACKS: (i32, i32) = (-20, 6);

/// Draws a token; ties go to the lower id, values that are no numbers are never chosen.
pub(super) fn choose(logits: &[f32], sampling: &Sampling, random: &mut Stream) -> u32 {
    if sampling.temperature_ppm == 0 {
        return likeliest(logits, 1)[0].1;
    }
    let order = likeliest(logits, sampling.top as usize);
    let mut weights = weights(&order, temperature(sampling));
    if sampling.top_p_ppm < Sampling::ALL {
        weights.truncate(nucleus(&weights, part(sampling)));
    }
    let mut draw = random.unit() * weights.iter().sum::<f64>();
    for (weight, (_, id)) in weights.iter().zip(&order) {
        draw -= weight;
        if draw < 0.0 {
            return *id;
        }
    }
    // Rounding may leave a last crumb of the draw.
    order[0].1
}

/// How far apart logits may be from those that drew `token`: the least of a row of slacks, in nats, such that
/// logits that differ from these by at most so much may have drawn it with the same random number. Infinite
/// where none of the row is enough, and for a token that there is not. Draws as [`choose`] does.
pub(super) fn slack(logits: &[f32], sampling: &Sampling, random: &mut Stream, token: u32) -> f64 {
    let draw = if sampling.temperature_ppm == 0 { 0.0 } else { random.unit() };
    let order = likeliest(logits, 0);
    let Some(place) = order.iter().position(|(_, id)| *id == token) else { return f64::INFINITY };
    let place = Place { order: &order, place, sampling, draw };
    let mut slacks = (SLACKS.0..=SLACKS.1).map(|power| 2.0_f64.powi(power));
    slacks.find(|slack| place.may_be_drawn(*slack)).unwrap_or(f64::INFINITY)
}

/// A token among all, the likeliest first, and the number that drew one of them.
struct Place<'a> {
    order: &'a [(f32, u32)],
    place: usize,
    sampling: &'a Sampling,
    draw: f64,
}

impl Place<'_> {
    /// Whether some logits would draw it of which none differs from these by more than `slack`. It errs to the
    /// side of yes. Two tokens may change places that are `2 slack` apart, and a weight may grow by a factor of
    /// `exp(2 slack / T)` against another.
    fn may_be_drawn(&self, slack: f64) -> bool {
        let logit = |place: usize| self.order.get(place).map_or(f64::MIN, |(l, _)| f64::from(*l));
        let own = logit(self.place);
        if self.sampling.temperature_ppm == 0 {
            return own + 2.0 * slack >= logit(0);
        }
        // All that surely come before it, and all that may, with itself.
        let before = self.order.partition_point(|(l, _)| f64::from(*l) > own + 2.0 * slack);
        let through = self.order.partition_point(|(l, _)| f64::from(*l) >= own - 2.0 * slack);
        let top = match self.sampling.top as usize {
            0 => self.order.len(),
            top => top.min(self.order.len()),
        };
        let weights = Weights::of(self.order, temperature(self.sampling), slack);
        let [fewest, most] = match self.sampling.top_p_ppm {
            Sampling::ALL.. => [top, top],
            _ => weights.nucleus(top, part(self.sampling)),
        };
        before < most
            && self.draw >= weights.least(before, most)
            && self.draw < weights.greatest(through, fewest.max(through))
    }
}

/// Weights of tokens, the likeliest first: as they are, and with all that they may have grown against others.
struct Weights {
    plain: Vec<f64>,
    grown: Vec<f64>,
}

impl Weights {
    fn of(order: &[(f32, u32)], temperature: f64, slack: f64) -> Self {
        let best = order.first().map_or(0.0, |(logit, _)| f64::from(*logit));
        let weights = |more: f64| {
            let exponent = |logit: f32| (f64::from(logit) - best + more) / temperature;
            order.iter().map(|(logit, _)| exponent(*logit).min(MAX_EXPONENT).exp()).collect()
        };
        Self { plain: weights(0.0), grown: weights(2.0 * slack) }
    }

    /// The least part that the first tokens can have of so many.
    fn least(&self, first: usize, of: usize) -> f64 {
        part_of(self.plain[..first].iter().sum(), self.grown[first..of].iter().sum())
    }

    /// The greatest part that the first tokens can have of so many.
    fn greatest(&self, first: usize, of: usize) -> f64 {
        part_of(self.grown[..first].iter().sum(), self.plain[first..of].iter().sum())
    }

    /// The fewest and the most of the first `top` tokens that may be kept because together they have that part.
    fn nucleus(&self, top: usize, part: f64) -> [usize; 2] {
        let reaches = |first: &[f64], others: &[f64]| {
            // From the end, where the small ones are: of a difference of sums nothing might be left.
            let mut behind: Vec<f64> = others[..top].iter().rev().scan(0.0, add).collect();
            behind.reverse();
            behind.push(0.0);
            let sums = first[..top].iter().scan(0.0, add).zip(&behind[1..]);
            let is_enough = |(sum, others): (f64, &f64)| part_of(sum, *others) >= part;
            sums.map(is_enough).position(|enough| enough).map_or(top, |last| last + 1)
        };
        [reaches(&self.grown, &self.plain), reaches(&self.plain, &self.grown)]
    }
}

fn add(sum: &mut f64, weight: &f64) -> Option<f64> {
    *sum += weight;
    Some(*sum)
}

/// The part that some have who have others beside them; nothing of nothing.
fn part_of(some: f64, others: f64) -> f64 {
    if some > 0.0 { some / (some + others) } else { 0.0 }
}

fn temperature(sampling: &Sampling) -> f64 {
    f64::from(sampling.temperature_ppm) / 1.0e6
}

fn part(sampling: &Sampling) -> f64 {
    f64::from(sampling.top_p_ppm) / f64::from(Sampling::ALL)
}

/// Relative to the likeliest, so that the largest exponent is zero and none overflows.
fn weights(order: &[(f32, u32)], temperature: f64) -> Vec<f64> {
    let best = order.first().map_or(0.0, |(logit, _)| f64::from(*logit));
    order.iter().map(|(logit, _)| ((f64::from(*logit) - best) / temperature).exp()).collect()
}

/// How many of these weights, the largest first, have that part of their sum together; one at least.
fn nucleus(weights: &[f64], part: f64) -> usize {
    let enough = part * weights.iter().sum::<f64>();
    let mut sum = 0.0;
    let reaches = |weight: &f64| {
        sum += weight;
        sum >= enough
    };
    weights.iter().position(reaches).map_or(weights.len(), |last| last + 1)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Probabilities 0.6, 0.3 and 0.1 of tokens 2, 0 and 1.
    fn logits() -> Vec<f32> {
        [0.3_f32, 0.1, 0.6].map(f32::ln).to_vec()
    }

    /// The tokens that a thousand draws give.
    fn drawn(top_p_ppm: u32, top: u32) -> Vec<u32> {
        let mut random = Stream::new("sampling", &[7]);
        let sampling = Sampling { tokens: 1, temperature_ppm: 1_000_000, top, top_p_ppm, seed: 0 };
        let mut drawn: Vec<_> =
            (0..1_000).map(|_| choose(&logits(), &sampling, &mut random)).collect();
        drawn.sort_unstable();
        drawn.dedup();
        drawn
    }

    #[test]
    fn the_likeliest_tokens_are_kept_until_they_have_their_part() {
        assert_eq!(drawn(Sampling::ALL, 0), [0, 1, 2]);
        assert_eq!(drawn(850_000, 0), [0, 2]);
        assert_eq!(drawn(550_000, 0), [2]);
        assert_eq!(drawn(0, 0), [2], "the likeliest is always one of them");
        // Of the two that `top` leaves, the first has two thirds.
        assert_eq!(drawn(700_000, 2), [0, 2]);
        assert_eq!(drawn(660_000, 2), [2]);
    }

    #[test]
    fn another_token_than_the_one_that_was_drawn_needs_much_slack() {
        let sampling =
            Sampling { tokens: 1, temperature_ppm: 0, top: 0, top_p_ppm: Sampling::ALL, seed: 0 };
        let needed = |token| slack(&logits(), &sampling, &mut Stream::new("sampling", &[7]), token);
        assert!(needed(2) < 1e-6);
        // Half of ln 2, and the next power of two.
        assert!((needed(0) - 0.5).abs() < 1e-9, "{}", needed(0));
        assert!((needed(1) - 1.0).abs() < 1e-9, "{}", needed(1));
        assert_eq!(needed(3), f64::INFINITY);
    }

    #[test]
    fn a_token_is_as_far_as_its_logit_however_small_the_temperature() {
        let needed = |temperature_ppm| {
            let top_p_ppm = Sampling::ALL;
            let sampling = Sampling { tokens: 1, temperature_ppm, top: 0, top_p_ppm, seed: 0 };
            slack(&logits(), &sampling, &mut Stream::new("sampling", &[7]), 0)
        };
        assert!((needed(1) - 0.5).abs() < 1e-9, "{}", needed(1));
    }

    proptest! {
        /// What slightly other logits draw is found to be what slightly other logits draw.
        #[test]
        fn what_others_draw_is_within_their_distance(
            pairs in prop::collection::vec((-4.0f32..4.0, -1.0f32..1.0), 1..40),
            power in -16i32..0,
            temperature_ppm in prop_oneof![Just(0u32), 200_000u32..2_000_000],
            top in 0u32..12,
            top_p_ppm in prop_oneof![Just(Sampling::ALL), 1u32..1_000_000],
            seed in any::<u64>(),
        ) {
            let most = 2.0_f64.powi(power);
            let sampling = Sampling { tokens: 1, temperature_ppm, top, top_p_ppm, seed };
            let ours: Vec<f32> = pairs.iter().map(|(logit, _)| *logit).collect();
            let noise = |noise: f32| (f64::from(noise) * most * 0.999) as f32;
            let theirs: Vec<f32> = pairs.iter().map(|(l, n)| l + noise(*n)).collect();
            let random = || Stream::new("sampling", &seed.to_be_bytes());
            let token = choose(&theirs, &sampling, &mut random());
            prop_assert!(slack(&ours, &sampling, &mut random(), token) <= most);
        }
    }
}
