//! Which plots a run and a sweep have.

use std::collections::BTreeMap;

use super::{Line, Row, Saved};
use crate::plot::{Bar, Marks, Plot, Series, fan, quantile};

/// The plots of one run, each with the name of its file.
pub fn run_plots(run: &Saved) -> Vec<(String, Plot)> {
    let mut plots = Vec::new();
    let storage = ["packs alive", "replicas live", "replicas proven"];
    let (kept, rest): (Vec<&Line>, Vec<&Line>) =
        run.lines.iter().partition(|line| storage.contains(&line.name.as_str()));
    let title = "Storage over time";
    plots.push(("storage".to_owned(), over(title, "epoch", "share", &kept)));
    let (epochs, times): (Vec<&Line>, Vec<&Line>) =
        rest.into_iter().partition(|line| line.over == "epoch");
    let title = "Who is caught, and who goes unpaid";
    plots.push(("detection".to_owned(), over(title, "epoch", "share of holders", &epochs)));
    for line in times {
        plots.push((file_name(&line.name), over(&line.name, "time, h", &line.unit, &[line])));
    }
    for distribution in &run.distributions {
        let series = Series::line(&distribution.name, distribution.points.clone());
        let title = format!("Distribution: {}", distribution.name);
        let plot =
            Plot::new(&title, &distribution.unit, "share up to here", Marks::Steps(vec![series]));
        plots.push((file_name(&distribution.name), plot));
    }
    let bars = run.pay.iter().filter_map(|kind| {
        Some(Bar { name: kind.name.clone(), value: kind.value?, interval: None })
    });
    let bars = Marks::Bars(bars.collect());
    plots.push(("pay".to_owned(), Plot::new("Mean pay by kind of node", "OPEN", "", bars)));
    plots.retain(|(_, plot)| !plot.is_empty());
    plots
}

fn over(title: &str, x: &str, y: &str, lines: &[&Line]) -> Plot {
    let series = lines.iter().map(|line| Series::line(&line.name, line.points.clone()));
    Plot::new(title, x, y, Marks::Lines(series.collect()))
}

/// A name in lower case with dashes.
fn file_name(name: &str) -> String {
    name.chars()
        .map(|c| if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { '-' })
        .collect()
}

/// Values of a figure at one point of the grid, one for each seed.
type Cell = Vec<f64>;

/// The plots of a sweep: for each key figure that varies, a line with a band over one axis or a
/// heat map over two, and a fan over the seeds for what changes over time. Some figures come first.
pub fn sweep_plots(rows: &[Row], figures: &[String]) -> Vec<(String, Plot)> {
    let axes = axes(rows);
    let mut plots = Vec::new();
    let mut names = names(rows);
    names.sort_by_key(|name| figures.iter().position(|first| first == name).unwrap_or(usize::MAX));
    for kpi in names {
        let value = |row: &Row| row.kpis.iter().find(|k| k.name == kpi).and_then(|k| k.value);
        let unit = rows.iter().flat_map(|row| &row.kpis).find(|k| k.name == kpi);
        let unit = unit.map_or(String::new(), |kpi| kpi.unit.clone());
        let values: Vec<f64> = rows.iter().filter_map(value).collect();
        if values.windows(2).all(|pair| (pair[0] - pair[1]).abs() < f64::EPSILON) {
            continue;
        }
        let plot = match &axes[..] {
            [] => continue,
            [x] => along(&kpi, &unit, x, rows, &value),
            [x, y, ..] => heat(&kpi, &unit, (x, y), rows, &value),
        };
        plots.push((file_name(&kpi), plot));
    }
    plots.extend(fans(rows));
    plots.retain(|(_, plot)| !plot.is_empty());
    plots
}

fn names(rows: &[Row]) -> Vec<String> {
    let first = rows.first();
    first.map_or(Vec::new(), |row| row.kpis.iter().map(|kpi| kpi.name.clone()).collect())
}

/// The parameters that take more than one value.
fn axes(rows: &[Row]) -> Vec<String> {
    let mut seen: Vec<(String, Vec<&str>)> = Vec::new();
    for (key, value) in rows.iter().flat_map(|row| &row.settings) {
        match seen.iter_mut().find(|(known, _)| known == key) {
            Some((_, values)) if values.contains(&value.as_str()) => {}
            Some((_, values)) => values.push(value),
            None => seen.push((key.clone(), vec![value])),
        }
    }
    seen.into_iter().filter(|(_, values)| values.len() > 1).map(|(key, _)| key).collect()
}

fn of<'a>(row: &'a Row, key: &str) -> &'a str {
    row.settings.iter().find(|(known, _)| known == key).map_or("", |(_, value)| value)
}

/// The values of an axis in the order of the grid.
fn steps(rows: &[Row], key: &str) -> Vec<String> {
    let mut steps: Vec<String> = Vec::new();
    for row in rows {
        let value = of(row, key);
        if !steps.iter().any(|known| known == value) {
            steps.push(value.to_owned());
        }
    }
    steps
}

fn along(
    kpi: &str,
    unit: &str,
    axis: &str,
    rows: &[Row],
    value: &dyn Fn(&Row) -> Option<f64>,
) -> Plot {
    let mut cells: Vec<(String, Cell)> = Vec::new();
    for step in steps(rows, axis) {
        let at = rows.iter().filter(|row| of(row, axis) == step);
        let mut values: Cell = at.filter_map(value).collect();
        values.sort_by(f64::total_cmp);
        cells.push((step, values));
    }
    let numbers: Option<Vec<f64>> = cells.iter().map(|(step, _)| step.parse().ok()).collect();
    let quantiles = |values: &Cell| {
        let at = |share| quantile(values, share);
        Some((at(0.1)?, at(0.5)?, at(0.9)?))
    };
    let marks = match numbers {
        Some(numbers) => {
            let mut line =
                Series { name: format!("{kpi}: median, 10 to 90 % of seeds"), ..Series::default() };
            for (x, (_, values)) in numbers.into_iter().zip(&cells) {
                let Some((low, middle, high)) = quantiles(values) else { continue };
                line.points.push((x, middle));
                line.band.push((x, low, high));
            }
            Marks::Lines(vec![line])
        }
        None => Marks::Bars(
            cells
                .iter()
                .filter_map(|(step, values)| {
                    let (low, middle, high) = quantiles(values)?;
                    Some(Bar { name: step.clone(), value: middle, interval: Some((low, high)) })
                })
                .collect(),
        ),
    };
    let x = if matches!(marks, Marks::Bars(_)) { unit } else { axis };
    Plot::new(&format!("{kpi} by {axis}"), x, unit, marks)
}

fn heat(
    kpi: &str,
    unit: &str,
    (x, y): (&str, &str),
    rows: &[Row],
    value: &dyn Fn(&Row) -> Option<f64>,
) -> Plot {
    let (columns, lines) = (steps(rows, x), steps(rows, y));
    let mut cells = Vec::new();
    for line in &lines {
        for column in &columns {
            let here = rows.iter().filter(|row| of(row, x) == column && of(row, y) == line);
            let mut values: Cell = here.filter_map(value).collect();
            values.sort_by(f64::total_cmp);
            cells.push(quantile(&values, 0.5));
        }
    }
    let title = format!("{kpi} ({unit}): median over seeds");
    Plot::new(&title, x, y, Marks::Heat { columns, rows: lines, cells })
}

/// Points of the grid whose lines one plot has, at most.
const FANS: usize = 6;

/// What changes over epochs: the median and the 10th to 90th percentile over seeds, for each point
/// of the grid, up to [`FANS`].
fn fans(rows: &[Row]) -> Vec<(String, Plot)> {
    let mut groups: Vec<(String, Vec<&Row>)> = Vec::new();
    for row in rows {
        let label = row.label();
        match groups.iter_mut().find(|(known, _)| *known == label) {
            Some((_, group)) => group.push(row),
            None => groups.push((label, vec![row])),
        }
    }
    let all = groups.len();
    if all > FANS {
        // The first and the last point of the grid, and those at even steps between them.
        let shown: Vec<usize> = (0..FANS).map(|n| n * (all - 1) / (FANS - 1)).collect();
        let kept = groups.into_iter().enumerate().filter(|(at, _)| shown.contains(at));
        groups = kept.map(|(_, group)| group).collect();
    }
    let mut by_line: BTreeMap<(&str, &str, &str), Vec<Series>> = BTreeMap::new();
    for (label, group) in &groups {
        for line in group.first().map_or(&[][..], |row| &row.lines) {
            let same = |row: &&Row| {
                let found = row.lines.iter().find(|other| other.name == line.name);
                found.map(|line| line.points.clone())
            };
            let runs: Vec<_> = group.iter().filter_map(same).collect();
            let name = if label.is_empty() { "median, 10 to 90 % of seeds" } else { label };
            let key = (line.name.as_str(), line.over.as_str(), line.unit.as_str());
            by_line.entry(key).or_default().push(fan(name, &runs));
        }
    }
    let of = if all > FANS { format!(" ({FANS} of {all} points)") } else { String::new() };
    let plots = by_line.into_iter().filter(|(_, series)| varies(series));
    let plots = plots.map(|((name, over, unit), series)| {
        let (x, words) =
            if over == "epoch" { ("epoch", "by epoch") } else { ("time, h", "over time") };
        let plot = Plot::new(&format!("{name} {words}{of}"), x, unit, Marks::Lines(series));
        (file_name(&format!("fan-{name} {words}")), plot)
    });
    plots.collect()
}

/// Whether a plot of these lines shows more than one level.
fn varies(series: &[Series]) -> bool {
    let edges = series.iter().flat_map(|line| &line.band).flat_map(|(_, low, high)| [low, high]);
    let mut values = series.iter().flat_map(|line| &line.points).map(|(_, y)| y).chain(edges);
    let Some(first) = values.next() else { return false };
    values.any(|value| (value - first).abs() > f64::EPSILON)
}
