//! Two sets of runs side by side: how much each key figure differs, and how sure that is.
//!
//! The interval is the percentile bootstrap (Efron 1979) over seeds: where both sets have the same
//! seeds, over their pairs, which takes out what the seed alone does; otherwise over each set by
//! itself. Draws come from a fixed stream, so equal inputs give equal intervals.

use serde::Serialize;

use crate::{
    kernel::{Purpose, Stream, Streams},
    output::Row,
    plot::quantile,
};

/// Resamples of the bootstrap.
const RESAMPLES: usize = 2_000;
/// What an interval covers.
const COVERAGE: f64 = 0.95;

/// One key figure at one point of the grid, in both sets.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Difference {
    /// The parameters, where it is a sweep.
    pub at: String,
    /// The key figure, by its name in reports.
    pub kpi: String,
    /// The unit of the values that follow.
    pub unit: String,
    /// Its mean in the first set.
    pub a: f64,
    /// Its mean in the second.
    pub b: f64,
    /// Seeds in each.
    pub seeds: (usize, usize),
    /// Whether seeds were compared one by one.
    pub is_paired: bool,
    /// How much more the second has, in percent; `None` where the first has nothing.
    pub percent: Option<f64>,
    /// The 95 % interval of that; `None` for one seed.
    pub interval: Option<(f64, f64)>,
}

impl Difference {
    /// Whether the interval leaves out that nothing changed.
    pub fn is_sure(&self) -> bool {
        self.interval.is_some_and(|(low, high)| low > 0.0 || high < 0.0)
    }
}

/// Compares all figures that both sets have, point by point.
pub fn compare(a: &[Row], b: &[Row]) -> Vec<Difference> {
    let mut differences = Vec::new();
    let mut labels: Vec<String> = Vec::new();
    for row in a {
        if !labels.contains(&row.label()) {
            labels.push(row.label());
        }
    }
    for label in labels {
        let here = |rows: &[Row]| {
            rows.iter().filter(|row| row.label() == label).cloned().collect::<Vec<_>>()
        };
        let (a, b) = (here(a), here(b));
        let Some(first) = a.first() else { continue };
        for kpi in &first.kpis {
            let values = |rows: &[Row]| {
                let value = |row: &Row| {
                    let found = row.kpis.iter().find(|known| known.name == kpi.name)?;
                    Some((row.seed, found.value?))
                };
                rows.iter().filter_map(value).collect::<Vec<_>>()
            };
            let (a, b) = (values(&a), values(&b));
            if let Some(found) = difference(&a, &b) {
                let (at, kpi, unit) = (label.clone(), kpi.name.clone(), kpi.unit.clone());
                differences.push(Difference { at, kpi, unit, ..found });
            }
        }
    }
    differences
}

/// Values by seed.
type Values = [(u64, f64)];

fn difference(a: &Values, b: &Values) -> Option<Difference> {
    let mean_a = mean(a.iter().map(|(_, value)| *value))?;
    let mean_b = mean(b.iter().map(|(_, value)| *value))?;
    let pairs: Vec<(f64, f64)> = a
        .iter()
        .filter_map(|(seed, value)| Some((*value, b.iter().find(|(s, _)| s == seed)?.1)))
        .collect();
    let is_paired = pairs.len() == a.len() && a.len() == b.len();
    let percent = |a: f64, b: f64| (a != 0.0).then(|| (b - a) / a.abs() * 100.0);
    let mut draws = Streams::new(0).stream(0, Purpose::Bootstrap);
    let mut resampled: Vec<f64> = Vec::with_capacity(RESAMPLES);
    if a.len() > 1 && b.len() > 1 {
        for _ in 0..RESAMPLES {
            let (x, y) = if is_paired {
                let drawn: Vec<_> = pick(&pairs, &mut draws);
                (mean(drawn.iter().map(|p| p.0)), mean(drawn.iter().map(|p| p.1)))
            } else {
                let (x, y) = (pick(a, &mut draws), pick(b, &mut draws));
                (mean(x.iter().map(|p| p.1)), mean(y.iter().map(|p| p.1)))
            };
            resampled.extend(x.zip(y).and_then(|(x, y)| percent(x, y)));
        }
    }
    resampled.sort_by(f64::total_cmp);
    let tail = (1.0 - COVERAGE) / 2.0;
    let interval = quantile(&resampled, tail).zip(quantile(&resampled, 1.0 - tail));
    Some(Difference {
        at: String::new(),
        kpi: String::new(),
        unit: String::new(),
        a: mean_a,
        b: mean_b,
        seeds: (a.len(), b.len()),
        is_paired,
        percent: percent(mean_a, mean_b).or_else(|| (mean_b == 0.0).then_some(0.0)),
        interval,
    })
}

/// As many as there are, each drawn from all.
fn pick<T: Copy>(values: &[T], draws: &mut Stream) -> Vec<T> {
    let count = values.len() as u64;
    let draw = |_| usize::try_from(draws.below(count)).map_or(values[0], |at| values[at]);
    (0..values.len()).map(draw).collect()
}

#[expect(clippy::cast_precision_loss, reason = "counts of seeds")]
fn mean(values: impl Iterator<Item = f64>) -> Option<f64> {
    let (sum, count) = values.fold((0.0, 0usize), |(sum, count), value| (sum + value, count + 1));
    (count > 0).then(|| sum / count as f64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::output::Named;

    fn rows(values: &[f64]) -> Vec<Row> {
        let row = |(seed, value): (u64, &f64)| Row {
            key: String::new(),
            settings: vec![("net.loss".to_owned(), "0.1".to_owned())],
            seed,
            holds: true,
            broken: Vec::new(),
            crash: None,
            trace: String::new(),
            kpis: vec![Named { name: "k".to_owned(), unit: "1".to_owned(), value: Some(*value) }],
            lines: Vec::new(),
            seconds: 0.0,
        };
        (0..).zip(values).map(row).collect()
    }

    #[test]
    fn equal_sets_do_not_differ() {
        let a = rows(&[1.0, 2.0, 3.0]);
        let found = &compare(&a, &a)[0];
        assert_eq!((found.percent, found.interval), (Some(0.0), Some((0.0, 0.0))));
        assert!(!found.is_sure() && found.is_paired);
        assert_eq!(found.at, "net.loss=0.1");
    }

    #[test]
    fn pairs_of_seeds_show_what_sets_apart_do_not() {
        // Seeds differ a hundredfold, the change is a tenth in each.
        let (a, b) = (rows(&[1.0, 10.0, 100.0]), rows(&[1.1, 11.0, 110.0]));
        let paired = &compare(&a, &b)[0];
        assert!((paired.percent.unwrap() - 10.0).abs() < 1e-9);
        assert!(paired.is_sure());
        let mut other = b;
        other.iter_mut().for_each(|row| row.seed += 50);
        let apart = &compare(&a, &other)[0];
        assert!(!apart.is_paired && !apart.is_sure());
    }

    #[test]
    fn one_seed_has_no_interval_and_nothing_no_percentage() {
        let one = &compare(&rows(&[2.0]), &rows(&[3.0]))[0];
        assert_eq!((one.percent, one.interval), (Some(50.0), None));
        let from_nothing = &compare(&rows(&[0.0]), &rows(&[3.0]))[0];
        assert_eq!(from_nothing.percent, None);
        let nothing = &compare(&rows(&[0.0]), &rows(&[0.0]))[0];
        assert_eq!(nothing.percent, Some(0.0));
        assert!(compare(&rows(&[]), &rows(&[1.0])).is_empty());
    }
}
