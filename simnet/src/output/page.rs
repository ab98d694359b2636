//! `report.html`: one file with everything in it, for screen and paper, without a script.

use std::fmt::{self, Write as _};

use super::{COMMIT, Row, Saved, run_plots, screen::quantum_note, shown_figures, sweep_plots};
use crate::{
    plot::{Plot, STYLE, escape, short},
    report::KPIS,
    scenario_file::ScenarioFile,
};

const PAGE_STYLE: &str = include_str!("page.css");

struct Page(String);

impl Page {
    fn new(title: &str) -> Self {
        let title = escape(title);
        Self(format!(
            "<!doctype html>\n<html lang=\"en\">\n<meta charset=\"utf-8\">\n\
             <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
             <title>{title}</title>\n<style>\n{PAGE_STYLE}{STYLE}</style>\n<main>\n<h1>{title}</h1>\n"
        ))
    }

    fn put(&mut self, part: fmt::Arguments<'_>) {
        writeln!(self.0, "{part}").expect("a string takes what memory has");
    }

    fn plots(&mut self, plots: &[(String, Plot)]) {
        self.put(format_args!("<div class=\"plots\">"));
        for (_, plot) in plots {
            self.put(format_args!("<section><figure>{}</figure></section>", plot.element()));
        }
        self.put(format_args!("</div>"));
    }

    fn finish(mut self) -> String {
        self.put(format_args!("</main>\n</html>"));
        self.0
    }
}

/// The page of one run.
pub fn page(run: &Saved) -> String {
    let mut page = Page::new(&run.scenario.name);
    if !run.scenario.question.is_empty() {
        page.put(format_args!("<p>{}</p>", escape(&run.scenario.question)));
    }
    page.put(format_args!(
        "<p class=\"soft\">Seed {}, {} nodes, {} epochs; {} s of virtual time.</p>",
        run.seed,
        run.scenario.population.nodes,
        run.scenario.epochs,
        short(run.time_s)
    ));
    if !run.is_complete {
        page.put(format_args!(
            "<p class=\"partial\">This run was stopped early: all of these results are partial.</p>"
        ));
    }
    held(&mut page, run);
    figures(&mut page, run);
    page.plots(&run_plots(run));
    facts(&mut page, run);
    page.finish()
}

fn mark(holds: bool) -> &'static str {
    if holds { "<b class=\"ok\">holds</b>" } else { "<b class=\"fail\">FAILS</b>" }
}

fn held(page: &mut Page, run: &Saved) {
    page.put(format_args!("<section><h2>What has to hold</h2><ul class=\"held\">"));
    for assertion in &run.assertions {
        let value = assertion.value.map_or("no value".to_owned(), short);
        page.put(format_args!(
            "<li>{} <code>{}</code> {}, is {value}",
            mark(assertion.holds),
            escape(&assertion.kpi),
            escape(&assertion.wanted)
        ));
    }
    for check in &run.checks {
        page.put(format_args!("<li>{} {}", mark(check.holds), escape(&check.name)));
    }
    page.put(format_args!("</ul>"));
    for finding in &run.findings {
        page.put(format_args!("<p class=\"fail\">{}</p>", escape(finding)));
    }
    page.put(format_args!("</section>"));
}

fn figures(page: &mut Page, run: &Saved) {
    page.put(format_args!(
        "<section><h2>Key figures</h2><table><tr><th>figure<th>what it says<th class=\"num\">value\
         <th>unit</tr>"
    ));
    let (given, absent): (Vec<_>, Vec<_>) = run.kpis.iter().partition(|kpi| kpi.value.is_some());
    for kpi in given {
        let words = KPIS.iter().find(|words| words.name == kpi.name);
        page.put(format_args!(
            "<tr><td><code class=\"name\">{}</code><td class=\"soft\">{}<td class=\"num\">{}<td>{}</tr>",
            escape(&kpi.name),
            escape(words.map_or("", |words| words.about)),
            kpi.value.map_or("–".to_owned(), short),
            escape(&kpi.unit)
        ));
    }
    page.put(format_args!("</table>"));
    if !absent.is_empty() {
        let names: Vec<_> = absent.iter().map(|kpi| escape(&kpi.name)).collect();
        let names = names.join(", ");
        page.put(format_args!("<p class=\"soft\">Nothing to take these from: {names}.</p>"));
    }
    page.put(format_args!("</section>"));
}

fn facts(page: &mut Page, run: &Saved) {
    let cost = &run.cost;
    let shift = run.totals.get("quantum_shift").and_then(serde_json::Value::as_f64);
    let quantum = shift.and_then(|shift| quantum_note(&run.scenario, shift));
    let quantum = quantum
        .map_or(String::new(), |note| format!("<tr><td>time quantum<td>{}</tr>", escape(&note)));
    page.put(format_args!(
        "<section><h2>To repeat it</h2><table>\
         <tr><td>trace hash<td><code>{}</code></tr><tr><td>scenario hash<td><code>{}</code></tr>\
         <tr><td>simnet<td>{} {}</tr>\
         <tr><td>cost<td>{} s, {} times real time, {} events/s<br>{}</tr>{quantum}</table>\
         </section>",
        run.trace,
        run.scenario_hash,
        escape(&run.version),
        escape(run.commit.as_deref().unwrap_or("")),
        short(cost.seconds),
        short(cost.speed_up),
        short(cost.events_per_second),
        cost.held()
    ));
    let scenario = toml::to_string(&run.scenario).unwrap_or_default();
    page.put(format_args!(
        "<section><h2>Scenario</h2><pre class=\"keys\">{}</pre></section>",
        escape(&scenario)
    ));
}

/// The page of a sweep of a file of which these runs are done.
pub fn sweep_page(file: &ScenarioFile, rows: &[Row], planned: usize) -> String {
    let question = &file.scenario.question;
    let mut page = Page::new(&file.scenario.name);
    if !question.is_empty() {
        page.put(format_args!("<p>{}</p>", escape(question)));
    }
    if rows.len() < planned {
        page.put(format_args!(
            "<p class=\"partial\">{} of {planned} runs are done: these results are partial.</p>",
            rows.len()
        ));
    }
    page.plots(&sweep_plots(rows, &file.sweep.figures));
    runs(&mut page, file, rows);
    page.put(format_args!(
        "<section><h2>To repeat it</h2><p>simnet {} {}</p><pre>{}</pre></section>",
        env!("CARGO_PKG_VERSION"),
        COMMIT.unwrap_or(""),
        escape(&file.text())
    ));
    page.finish()
}

/// One line per run, with the figures of [`shown_figures`]; those that are the same in all are said
/// once.
fn runs(page: &mut Page, file: &ScenarioFile, rows: &[Row]) {
    let values = |name: &str| -> Vec<Option<f64>> {
        let of = |row: &Row| row.kpis.iter().find(|kpi| kpi.name == name).and_then(|kpi| kpi.value);
        rows.iter().map(of).collect()
    };
    let kpis = rows.first().map_or(&[][..], |row| &row.kpis);
    let (varied, same): (Vec<_>, Vec<_>) = kpis
        .iter()
        .map(|kpi| (kpi.name.as_str(), values(&kpi.name)))
        .partition(|(_, values)| values.windows(2).any(|pair| pair[0] != pair[1]));
    let shown = shown_figures(file);
    let shown = shown.iter().map(|name| (*name, values(name)));
    let shown: Vec<_> = shown.filter(|(_, values)| values.iter().any(Option::is_some)).collect();
    page.put(format_args!("<section><h2>All runs</h2><table><tr><th>parameters<th>seed"));
    for (name, _) in &shown {
        page.put(format_args!("<th class=\"num\">{}", escape(name)));
    }
    page.put(format_args!("<th>checks</tr>"));
    for (at, row) in rows.iter().enumerate() {
        page.put(format_args!("<tr><td>{}<td>{}", escape(&row.label()), row.seed));
        for (_, values) in &shown {
            page.put(format_args!(
                "<td class=\"num\">{}",
                values[at].map_or("–".to_owned(), short)
            ));
        }
        let crash = row.crash.iter().map(|what| format!("crashed: {what}"));
        let broken: Vec<_> = crash.chain(row.broken.iter().cloned()).collect();
        page.put(format_args!("<td{}</tr>", outcome(row.holds, &broken)));
    }
    page.put(format_args!("</table>"));
    if varied.iter().any(|(name, _)| !shown.iter().any(|(known, _)| known == name)) {
        page.put(format_args!(
            "<p class=\"soft\">summary.csv and summary.parquet have all figures of each run.</p>"
        ));
    }
    let same = same.iter().filter_map(|(name, values)| {
        Some(format!("{name} {}", short(values.first().copied().flatten()?)))
    });
    let same: Vec<_> = same.collect();
    if !same.is_empty() {
        let same = escape(&same.join(", "));
        page.put(format_args!("<p class=\"soft\">The same in all of them: {same}.</p>"));
    }
    page.put(format_args!("</section>"));
}

/// The end of a cell that says whether everything holds, and what does not.
fn outcome(holds: bool, broken: &[String]) -> String {
    match (holds, broken.is_empty()) {
        (true, _) => " class=\"ok\">holds</td>".to_owned(),
        (false, true) => " class=\"fail\">FAILS</td>".to_owned(),
        (false, false) => format!(" class=\"fail\">{}</td>", escape(&broken.join("; "))),
    }
}
