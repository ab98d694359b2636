//! Drawing: places are in pixels of a page 640 wide.

use std::fmt::{self, Write as _};

use super::{Bar, Marks, Plot, Series, escape, scale::Scale, short};

const WIDTH: f64 = 640.0;
const HEIGHT: f64 = 340.0;
const LEFT: f64 = 64.0;
const RIGHT: f64 = 616.0;
const BOTTOM: f64 = 290.0;
/// Height of a bar's row.
const ROW: f64 = 26.0;
/// Colours that there are.
const COLOURS: usize = 8;

/// An `<svg>` under construction.
struct Canvas(String);

impl Canvas {
    fn put(&mut self, part: fmt::Arguments<'_>) {
        writeln!(self.0, "{part}").expect("a string takes what memory has");
    }

    fn text(&mut self, (x, y): (f64, f64), class: &str, text: &str) {
        let text = escape(text);
        self.put(format_args!(r#"<text x="{x:.1}" y="{y:.1}" class="{class}">{text}</text>"#));
    }

    fn line(&mut self, class: &str, (x1, y1): (f64, f64), (x2, y2): (f64, f64)) {
        self.put(format_args!(
            r#"<line class="{class}" x1="{x1:.1}" y1="{y1:.1}" x2="{x2:.1}" y2="{y2:.1}"/>"#
        ));
    }
}

pub(super) fn element(plot: &Plot, style: &str) -> String {
    let height = height(&plot.marks);
    let title = escape(&plot.title);
    let mut canvas = Canvas(String::new());
    canvas.put(format_args!(
        r#"<svg xmlns="http://www.w3.org/2000/svg" class="plot" role="img" aria-label="{title}" viewBox="0 0 {WIDTH:.0} {height:.0}" width="{WIDTH:.0}" height="{height:.0}">"#
    ));
    if !style.is_empty() {
        canvas.put(format_args!("<style>{style}</style>"));
    }
    canvas.text((12.0, 22.0), "title", &plot.title);
    match &plot.marks {
        Marks::Lines(series) => lines(&mut canvas, plot, series, false),
        Marks::Steps(series) => lines(&mut canvas, plot, series, true),
        Marks::Bars(bars) => draw_bars(&mut canvas, plot, bars),
        Marks::Heat { columns, rows, cells } => heat(&mut canvas, plot, columns, rows, cells),
    }
    canvas.put(format_args!("</svg>"));
    canvas.0
}

fn height(marks: &Marks) -> f64 {
    match marks {
        Marks::Lines(_) | Marks::Steps(_) => HEIGHT,
        Marks::Bars(bars) => ROW.mul_add(count(bars.len()), 84.0),
        Marks::Heat { rows, .. } => (ROW + 8.0).mul_add(count(rows.len()), 108.0),
    }
}

#[expect(clippy::cast_precision_loss, reason = "a few rows")]
const fn count(number: usize) -> f64 {
    number as f64
}

/// About seven pixels a letter.
fn width(text: &str) -> f64 {
    7.0 * count(text.chars().count())
}

fn legend(canvas: &mut Canvas, series: &[Series]) -> f64 {
    if series.len() == 1 && series[0].band.is_empty() {
        return 56.0;
    }
    let (mut x, mut y) = (12.0, 42.0);
    for (number, series) in series.iter().enumerate() {
        let wide = width(&series.name) + 46.0;
        if x + wide > WIDTH {
            (x, y) = (12.0, y + 17.0);
        }
        let class = format!("line s{}", number % COLOURS);
        canvas.line(&class, (x, y - 4.0), (x + 22.0, y - 4.0));
        canvas.text((x + 28.0, y), "value", &series.name);
        x += wide;
    }
    y + 30.0
}

fn lines(canvas: &mut Canvas, plot: &Plot, series: &[Series], steps: bool) {
    let top = legend(canvas, series);
    let xs = series.iter().flat_map(|s| s.points.iter().map(|p| p.0));
    let edges = series.iter().flat_map(|s| s.band.iter().flat_map(|b| [b.1, b.2]));
    let ys = series.iter().flat_map(|s| s.points.iter().map(|p| p.1)).chain(edges);
    let is_whole = xs.clone().all(|x| x.fract() == 0.0);
    let x = Scale::over(xs, LEFT, RIGHT, 8.0);
    let x = if is_whole { x.whole() } else { x };
    let y = Scale::over(ys, BOTTOM, top, 5.0);
    for tick in y.ticks() {
        canvas.line("grid", (LEFT, y.at(tick)), (RIGHT, y.at(tick)));
        canvas.text((LEFT - 8.0, y.at(tick) + 4.0), "end", &short(tick));
    }
    for tick in x.ticks() {
        canvas.line("axis", (x.at(tick), BOTTOM), (x.at(tick), BOTTOM + 4.0));
        canvas.text((x.at(tick), BOTTOM + 18.0), "mid", &short(tick));
    }
    canvas.line("axis", (LEFT, BOTTOM), (RIGHT, BOTTOM));
    canvas.text((12.0, top - 12.0), "", &plot.y);
    canvas.text((RIGHT, BOTTOM + 38.0), "end", &plot.x);
    for (number, series) in series.iter().enumerate() {
        band(canvas, series, number, (&x, &y));
        path(canvas, series, number, (&x, &y), steps);
    }
}

fn band(canvas: &mut Canvas, series: &Series, number: usize, (x, y): (&Scale, &Scale)) {
    let band = series.band.iter().filter(|(a, b, c)| [a, b, c].iter().all(|v| v.is_finite()));
    let upper = band.clone().map(|(at, _, high)| (x.at(*at), y.at(*high)));
    let lower = band.rev().map(|(at, low, _)| (x.at(*at), y.at(*low)));
    let points: Vec<_> = upper.chain(lower).map(|(x, y)| format!("{x:.1},{y:.1}")).collect();
    if !points.is_empty() {
        let (colour, points) = (number % COLOURS, points.join(" "));
        canvas.put(format_args!(r#"<polygon class="band f{colour}" points="{points}"/>"#));
    }
}

fn path(
    canvas: &mut Canvas,
    series: &Series,
    number: usize,
    (x, y): (&Scale, &Scale),
    steps: bool,
) {
    let mut places: Vec<(f64, f64)> = Vec::new();
    for (at, value) in series.points.iter().filter(|(a, b)| a.is_finite() && b.is_finite()) {
        let place = (x.at(*at), y.at(*value));
        if let (true, Some(before)) = (steps, places.last()) {
            places.push((place.0, before.1));
        }
        places.push(place);
    }
    let colour = number % COLOURS;
    if let [(x, y)] = places[..] {
        canvas.put(format_args!(r#"<circle class="f{colour}" cx="{x:.1}" cy="{y:.1}" r="3.5"/>"#));
    } else if !places.is_empty() {
        let points: Vec<_> = places.iter().map(|(x, y)| format!("{x:.1},{y:.1}")).collect();
        let points = points.join(" ");
        canvas.put(format_args!(r#"<polyline class="line s{colour}" points="{points}"/>"#));
    }
}

fn draw_bars(canvas: &mut Canvas, plot: &Plot, bars: &[Bar]) {
    let names = bars.iter().map(|bar| width(&bar.name)).fold(0.0, f64::max);
    let left = names.clamp(40.0, 260.0) + 24.0;
    let ends = bars.iter().filter_map(|bar| bar.interval).flat_map(|(low, high)| [low, high]);
    let values = bars.iter().map(|bar| bar.value).chain(ends).chain([0.0]);
    let x = Scale::over(values, left, RIGHT - 56.0, 5.0);
    let bottom = ROW.mul_add(count(bars.len()), 40.0);
    for tick in x.ticks() {
        canvas.line("grid", (x.at(tick), 38.0), (x.at(tick), bottom));
        canvas.text((x.at(tick), bottom + 16.0), "mid", &short(tick));
    }
    for (number, bar) in bars.iter().enumerate() {
        let y = ROW.mul_add(count(number), 42.0);
        canvas.text((left - 10.0, y + 15.0), "end value", &bar.name);
        if !bar.value.is_finite() {
            continue;
        }
        let (from, to) = (x.at(bar.value.min(0.0)), x.at(bar.value.max(0.0)));
        canvas.put(format_args!(
            r#"<rect class="f0" x="{from:.1}" y="{y:.1}" width="{:.1}" height="18"/>"#,
            (to - from).max(1.0)
        ));
        let mut end = to;
        if let Some((low, high)) = bar.interval {
            let (low, high) = (x.at(low), x.at(high));
            for (a, b) in
                [((low, 9.0), (high, 9.0)), ((low, 4.0), (low, 14.0)), ((high, 4.0), (high, 14.0))]
            {
                canvas.line("axis", (a.0, y + a.1), (b.0, y + b.1));
            }
            end = end.max(high);
        }
        canvas.text((end + 7.0, y + 14.0), "value", &short(bar.value));
    }
    canvas.line("axis", (x.at(0.0), 38.0), (x.at(0.0), bottom));
    canvas.text((RIGHT, bottom + 34.0), "end", &plot.x);
}

fn heat(
    canvas: &mut Canvas,
    plot: &Plot,
    columns: &[String],
    rows: &[String],
    cells: &[Option<f64>],
) {
    let names = rows.iter().map(|row| width(row)).fold(0.0, f64::max);
    let left = names.clamp(32.0, 200.0) + 24.0;
    let (wide, tall) = ((RIGHT - left) / count(columns.len().max(1)), ROW + 8.0);
    let finite = || cells.iter().flatten().copied().filter(|value| value.is_finite());
    let (low, high) =
        (finite().fold(f64::INFINITY, f64::min), finite().fold(f64::NEG_INFINITY, f64::max));
    let top = 60.0;
    canvas.text((12.0, 44.0), "", &plot.y);
    for (at, cell) in cells.iter().enumerate() {
        let (row, column) = (at / columns.len().max(1), at % columns.len().max(1));
        let (x, y) = (wide.mul_add(count(column), left), tall.mul_add(count(row), top));
        let (w, h) = (wide - 2.0, tall - 2.0);
        let place = format!(r#"x="{x:.1}" y="{y:.1}" width="{w:.1}" height="{h:.1}""#);
        let Some(value) = cell.filter(|value| value.is_finite()) else {
            canvas.put(format_args!(r#"<rect class="none" {place}/>"#));
            continue;
        };
        let share = if high > low { (value - low) / (high - low) } else { 0.5 };
        let opacity = share.mul_add(0.86, 0.06);
        canvas.put(format_args!(r#"<rect class="cell" fill-opacity="{opacity:.2}" {place}/>"#));
        let class = if opacity > 0.55 { "mid on" } else { "mid value" };
        canvas.text((x + w / 2.0, y + h / 2.0 + 4.0), class, &short(value));
    }
    for (number, row) in rows.iter().enumerate() {
        canvas.text((left - 10.0, tall.mul_add(count(number), top) + 21.0), "end", row);
    }
    let bottom = tall.mul_add(count(rows.len()), top);
    for (number, column) in columns.iter().enumerate() {
        let x = wide.mul_add(count(number) + 0.5, left) - 1.0;
        canvas.text((x, bottom + 16.0), "mid", column);
    }
    canvas.text((RIGHT, bottom + 36.0), "end", &plot.x);
}
