//! Plots as SVG: lines with bands, steps, bars and heat maps.
//!
//! Drawn here and not by a plotting library, because a plot takes its colours from the page by CSS
//! classes and variables: one file reads in light, in dark and on paper, and needs no script. The
//! libraries at hand write colours into every element.

mod draw;
mod scale;

use std::fmt::Write as _;

/// The colours and letters of plots; a page that embeds plots brings them once.
pub const STYLE: &str = include_str!("plot.css");

/// A line over x, with a band around it if it has one.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Series {
    /// Its name in the legend.
    pub name: String,
    /// The line's points, in the order of x.
    pub points: Vec<(f64, f64)>,
    /// Lower and upper edge at x: a range, an interval.
    pub band: Vec<(f64, f64, f64)>,
}

impl Series {
    /// A series that is drawn as a line through its points.
    pub fn line(name: impl Into<String>, points: Vec<(f64, f64)>) -> Self {
        Self { name: name.into(), points, band: Vec::new() }
    }
}

/// A bar with its interval if it has one.
#[derive(Debug, Clone, PartialEq)]
pub struct Bar {
    /// What it stands for.
    pub name: String,
    /// Its length, in the unit of the axis.
    pub value: f64,
    /// Lower and upper end of its interval.
    pub interval: Option<(f64, f64)>,
}

/// What is drawn.
#[derive(Debug, Clone, PartialEq)]
pub enum Marks {
    /// Lines between points.
    Lines(Vec<Series>),
    /// Lines that stay until the next point, as a distribution does.
    Steps(Vec<Series>),
    /// Bars from zero.
    Bars(Vec<Bar>),
    /// Values over two parameters, row by row; `None` where no run was.
    Heat {
        /// Values of the parameter along x.
        columns: Vec<String>,
        /// Values of the parameter along y.
        rows: Vec<String>,
        /// `rows × columns` values.
        cells: Vec<Option<f64>>,
    },
}

/// Axes, and what is drawn between them.
#[derive(Debug, Clone, PartialEq)]
pub struct Plot {
    /// What it shows.
    pub title: String,
    /// What x is, with its unit.
    pub x: String,
    /// What y is, with its unit.
    pub y: String,
    /// What is drawn.
    pub marks: Marks,
}

impl Plot {
    /// A plot of some marks, with the words on it.
    pub fn new(title: &str, x: &str, y: &str, marks: Marks) -> Self {
        Self { title: title.to_owned(), x: x.to_owned(), y: y.to_owned(), marks }
    }

    /// Whether there is anything to draw.
    pub fn is_empty(&self) -> bool {
        match &self.marks {
            Marks::Lines(series) | Marks::Steps(series) => {
                series.iter().all(|series| series.points.is_empty())
            }
            Marks::Bars(bars) => bars.is_empty(),
            Marks::Heat { cells, .. } => cells.iter().flatten().next().is_none(),
        }
    }

    /// The `<svg>` element, for a page that has [`STYLE`].
    pub(crate) fn element(&self) -> String {
        draw::element(self, "")
    }

    /// A file of its own.
    pub fn file(&self) -> String {
        draw::element(self, STYLE)
    }
}

/// The empirical distribution of samples: at each value the share of samples up to it. At most
/// `POINTS` points, of equal steps in the share.
pub(crate) fn distribution(mut samples: Vec<f64>) -> Vec<(f64, f64)> {
    const POINTS: usize = 200;
    samples.retain(|sample| sample.is_finite());
    samples.sort_by(f64::total_cmp);
    let count = samples.len();
    let Some(first) = samples.first() else { return Vec::new() };
    let mut points = vec![(*first, 0.0)];
    let steps = count.min(POINTS);
    for step in 1..=steps {
        let upto = step * count / steps;
        points.push((samples[upto - 1], ratio(upto, count)));
    }
    points
}

/// The value below which a share of sorted samples lies, interpolated (type 7 of Hyndman and Fan,
/// 1996); `None` without samples.
pub fn quantile(sorted: &[f64], share: f64) -> Option<f64> {
    let last = sorted.len().checked_sub(1)?;
    let place = share.clamp(0.0, 1.0) * ratio(last, 1);
    let below = place.floor();
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "within the bounds of a slice"
    )]
    let index = below as usize;
    let next = sorted[(index + 1).min(last)];
    Some((place - below).mul_add(next - sorted[index], sorted[index]))
}

/// Median, and the band from the 10th to the 90th percentile, of several runs of one line. Runs
/// are compared at the x that all of them have.
pub(crate) fn fan(name: &str, runs: &[Vec<(f64, f64)>]) -> Series {
    let mut series = Series { name: name.to_owned(), ..Series::default() };
    let Some(first) = runs.first() else { return series };
    for (x, _) in first {
        let at = |run: &Vec<(f64, f64)>| run.iter().find(|(other, _)| other == x).map(|(_, y)| *y);
        let Some(mut values) = runs.iter().map(at).collect::<Option<Vec<_>>>() else { continue };
        values.sort_by(f64::total_cmp);
        let at = |share| quantile(&values, share).unwrap_or_default();
        series.points.push((*x, at(0.5)));
        series.band.push((*x, at(0.1), at(0.9)));
    }
    series
}

#[expect(clippy::cast_precision_loss, reason = "counts of samples, to three digits")]
const fn ratio(part: usize, whole: usize) -> f64 {
    part as f64 / whole as f64
}

/// Text inside XML.
pub(crate) fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for letter in text.chars() {
        match letter {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            // Not allowed in XML at all.
            c if c.is_control() && !matches!(c, '\n' | '\t') => escaped.push('\u{fffd}'),
            c => escaped.push(c),
        }
    }
    escaped
}

/// A number for people: four digits, no trailing zeros, `k`, `M`, `G` for thousands.
pub fn short(value: f64) -> String {
    if !value.is_finite() {
        return "–".to_owned();
    }
    let size = value.abs();
    let (scaled, unit) = match size {
        s if s >= 1e15 => return format!("{value:.2e}"),
        s if s >= 1e9 => (value / 1e9, "G"),
        s if s >= 1e6 => (value / 1e6, "M"),
        s if s >= 1e4 => (value / 1e3, "k"),
        s if s != 0.0 && s < 1e-3 => return format!("{value:.1e}"),
        _ => (value, ""),
    };
    let places = match scaled.abs() {
        s if s >= 100.0 => 1,
        s if s >= 10.0 => 2,
        _ => 3,
    };
    let mut text = String::new();
    write!(text, "{scaled:.places$}").expect("a string takes what memory has");
    let bare =
        if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.') } else { &text };
    let bare = if bare == "-0" { "0" } else { bare };
    format!("{bare}{unit}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_distribution_climbs_from_none_to_all() {
        let points = distribution(vec![3.0, 1.0, f64::NAN, 2.0, 2.0]);
        assert_eq!(points, [(1.0, 0.0), (1.0, 0.25), (2.0, 0.5), (2.0, 0.75), (3.0, 1.0)]);
        let many = distribution((0..10_000).map(f64::from).collect());
        assert_eq!(many.len(), 201);
        assert_eq!(many[100], (4_999.0, 0.5));
        assert!(distribution(Vec::new()).is_empty());
    }

    #[test]
    fn quantiles_interpolate() {
        let sorted = [1.0, 2.0, 3.0, 4.0];
        assert_eq!(quantile(&sorted, 0.0), Some(1.0));
        assert_eq!(quantile(&sorted, 0.5), Some(2.5));
        assert_eq!(quantile(&sorted, 1.0), Some(4.0));
        assert_eq!(quantile(&[7.0], 0.3), Some(7.0));
        assert_eq!(quantile(&[], 0.5), None);
    }

    #[test]
    fn a_fan_covers_what_all_runs_have() {
        let run = |by: f64| vec![(0.0, by), (1.0, 2.0 * by)];
        let mut short = run(9.0);
        short.pop();
        let fan = fan("x", &[run(1.0), run(2.0), short]);
        assert_eq!(fan.points, [(0.0, 2.0)]);
        let (_, low, high) = fan.band[0];
        assert!(low < 2.0 && 2.0 < high);
    }

    #[test]
    fn numbers_are_short() {
        for (value, text) in [
            (0.0, "0"),
            (0.25, "0.25"),
            (-1.0, "-1"),
            (99.95, "99.95"),
            (1234.0, "1234"),
            (12_345.0, "12.35k"),
            (5e6, "5M"),
            (0.000_12, "1.2e-4"),
            (f64::NAN, "–"),
        ] {
            assert_eq!(short(value), text);
        }
    }

    #[test]
    fn every_kind_is_well_formed_and_says_what_it_shows() {
        let lines = vec![Series {
            name: "a<b".to_owned(),
            points: vec![(0.0, 1.0), (5.0, 3.0)],
            band: vec![(0.0, 0.5, 1.5), (5.0, 2.0, 4.0)],
        }];
        let bars = vec![Bar { name: "x&y".to_owned(), value: -2.0, interval: Some((-3.0, -1.0)) }];
        let heat = Marks::Heat {
            columns: vec!["1".to_owned(), "2".to_owned()],
            rows: vec!["a".to_owned()],
            cells: vec![Some(1.0), None],
        };
        for marks in [Marks::Lines(lines.clone()), Marks::Steps(lines), Marks::Bars(bars), heat] {
            let plot = Plot::new("T", "x", "y", marks);
            let file = plot.file();
            assert!(file.starts_with("<svg xmlns=") && file.ends_with("</svg>\n"));
            assert!(!file.contains("NaN") && !file.contains("inf"));
            assert_eq!(file.matches('<').count(), file.matches('>').count(), "{file}");
            assert!(!plot.element().contains("<style"));
        }
        assert!(Plot::new("T", "", "", Marks::Bars(Vec::new())).is_empty());
    }

    #[test]
    fn what_is_not_finite_is_not_drawn() {
        let points = vec![(0.0, f64::NAN), (1.0, f64::INFINITY), (2.0, 1.0)];
        let plot = Plot::new("T", "x", "y", Marks::Lines(vec![Series::line("s", points)]));
        assert!(!plot.file().contains("NaN") && !plot.file().contains("inf"));
    }
}
