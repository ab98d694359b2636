//! From values to places on the page.

/// A linear scale whose ends are round.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Scale {
    low: f64,
    high: f64,
    from: f64,
    to: f64,
    step: f64,
}

impl Scale {
    /// A scale over all values, from one place to another, with about `ticks` round steps. What is
    /// not finite does not count; a single value gets room around it.
    pub(super) fn over(values: impl Iterator<Item = f64>, from: f64, to: f64, ticks: f64) -> Self {
        let start = (f64::INFINITY, f64::NEG_INFINITY);
        let finite = values.filter(|value| value.is_finite());
        let (mut low, mut high) = finite.fold(start, |(l, h), v| (l.min(v), h.max(v)));
        if low > high {
            (low, high) = (0.0, 1.0);
        }
        if high - low <= f64::EPSILON * low.abs().max(high.abs()) {
            // Most of what is constant is a share.
            let is_share = (0.0..=1.0).contains(&low);
            let room = low.abs() / 2.0;
            (low, high) = if is_share { (0.0, 1.0) } else { (low - room, high + room) };
        }
        let step = round((high - low) / ticks);
        let (low, high) = ((low / step).floor() * step, (high / step).ceil() * step);
        Self { low, high, from, to, step }
    }

    /// The same with steps of whole numbers, for values that are counts.
    pub(super) fn whole(mut self) -> Self {
        self.step = self.step.ceil();
        (self.low, self.high) = (
            (self.low / self.step).floor() * self.step,
            (self.high / self.step).ceil() * self.step,
        );
        self
    }

    /// The place of a value.
    pub(super) fn at(&self, value: f64) -> f64 {
        let share = (value - self.low) / (self.high - self.low);
        share.mul_add(self.to - self.from, self.from)
    }

    /// The round values.
    pub(super) fn ticks(&self) -> Vec<f64> {
        let mut ticks = Vec::new();
        let mut count = 0.0;
        loop {
            let tick = self.step.mul_add(count, self.low);
            if tick > self.step.mul_add(0.5, self.high) || count > 50.0 {
                return ticks;
            }
            // Zero, where rounding left a trace.
            ticks.push(if tick.abs() < self.step / 1e6 { 0.0 } else { tick });
            count += 1.0;
        }
    }
}

/// The nearest of 1, 2, 2.5, 5 and 10 times a power of ten that is not less.
fn round(step: f64) -> f64 {
    let power = 10f64.powf(step.log10().floor());
    let nice = [1.0, 2.0, 2.5, 5.0].into_iter().find(|nice| nice * power >= step * 0.999_999);
    nice.unwrap_or(10.0) * power
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ends_and_ticks_are_round() {
        let scale = Scale::over([0.3, 9.1].into_iter(), 0.0, 100.0, 5.0);
        assert_eq!(scale.ticks(), [0.0, 2.0, 4.0, 6.0, 8.0, 10.0]);
        assert!((scale.at(5.0) - 50.0).abs() < 1e-9);
    }

    #[test]
    fn one_value_nothing_and_nonsense_still_have_a_scale() {
        for values in [vec![], vec![0.0], vec![7.0, 7.0], vec![-1e-9], vec![f64::NAN], vec![1e300]]
        {
            let scale = Scale::over(values.into_iter(), 0.0, 1.0, 5.0);
            assert!((2..=12).contains(&scale.ticks().len()), "{scale:?}");
            assert!(scale.ticks().iter().all(|tick| scale.at(*tick).is_finite()));
        }
    }
}
