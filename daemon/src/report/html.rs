//! The page: one file without scripts, fonts or requests, for a screen or for paper.

use std::fmt::Write as _;

use protocol::AccountId;

use super::escape::html as escape;
use super::marks::{Legend, Mark, Piece, excerpt, pieces};
use super::words;
use crate::node::{AttributionReport, ContributorReport, EvidenceKind, UnitLine};

const STYLE: &str = include_str!("style.css");
/// No script, no request, whatever the text in the page tries.
const POLICY: &str = "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; \
                      form-action 'none'";
/// Longest text of a unit on the page, in bytes.
const UNIT_BYTES: usize = 1_200;
/// Least shares of a bar in which a letter fits, and in which its part fits too, in ppm.
const WIDE_BAR: (u32, u32) = (30_000, 140_000);
const NARROW_BAR: (u32, u32) = (60_000, 200_000);

/// The page of a record.
pub(crate) fn page(report: &AttributionReport) -> String {
    let legend = Legend::of(report);
    let page = Page { report, legend };
    let mut out = String::with_capacity(32 << 10);
    // Writing to a string does not fail.
    let _ = page.write(&mut out);
    out
}

struct Page<'a> {
    report: &'a AttributionReport,
    legend: Legend,
}

impl Page<'_> {
    fn write(&self, out: &mut String) -> std::fmt::Result {
        self.head(out)?;
        self.answer(out)?;
        self.payment(out)?;
        self.spans(out)?;
        self.units(out)?;
        self.limits(out)?;
        self.sources(out)?;
        writeln!(
            out,
            "<footer>Made by openledger {}. This page needs no network and runs no script.\
             </footer>\n</main>\n</body>\n</html>",
            env!("CARGO_PKG_VERSION")
        )
    }

    fn head(&self, out: &mut String) -> std::fmt::Result {
        let AttributionReport { model, datanet, .. } = self.report;
        writeln!(
            out,
            "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
             <meta http-equiv=\"Content-Security-Policy\" content=\"{POLICY}\">\n\
             <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
             <meta name=\"color-scheme\" content=\"light dark\">\n\
             <meta name=\"referrer\" content=\"no-referrer\">\n\
             <title>Attribution of model {model}</title>\n<style>\n{STYLE}</style>\n</head>\n\
             <body>\n<main>\n<header class=\"top\">\n\
             <p class=\"eyebrow\">openledger · model {model} · Datanet {datanet}</p>\n\
             <h1>Where this text comes from</h1>\n<p class=\"finding\">{}</p>\n</header>",
            escape(&words::finding(self.report))
        )
    }

    fn answer(&self, out: &mut String) -> std::fmt::Result {
        let report = self.report;
        let marks = report.spans.iter().enumerate().map(|(i, span)| (i, span.from, span.to));
        let marks: Vec<Mark> = marks.collect();
        let author = match report.seed {
            Some(seed) => format!("The prompt, and what the model wrote (seed {seed})"),
            None => "The prompt, and the text that was given".to_owned(),
        };
        write!(
            out,
            "<section class=\"long\">\n<h2>{author}</h2>\n<div class=\"exchange\"><p>\
             <bdi class=\"prompt\">{}</bdi><bdi>",
            escape(&report.prompt)
        )?;
        for piece in pieces(&report.output, &marks) {
            self.piece(out, piece, true)?;
        }
        let hint = match report.spans.is_empty() {
            true => "No run of the text stands word for word in the data.",
            false => {
                "Marked words stand exactly so in the data; the letter is their owner. Point at \
                 them for the unit."
            }
        };
        writeln!(out, "</bdi></p></div>\n<p class=\"hint\">{hint}</p>\n</section>")
    }

    /// A stretch of text; marked if a span covers it.
    fn piece(&self, out: &mut String, piece: Piece<'_>, is_keyed: bool) -> std::fmt::Result {
        let span = piece.mark.and_then(|mark| self.report.spans.get(mark));
        let text = escape(piece.text);
        let Some(span) = span else { return out.write_str(&text) };
        let (colour, letter) = (self.legend.colour(span.owner), self.legend.letter(span.owner));
        let key = if is_keyed { format!(" data-key=\"{letter}\"") } else { String::new() };
        let title = format!(
            "{letter}: account {} · {} beyond chance · {} · unit {}",
            span.owner,
            words::bits(span.millibits),
            words::occurrences(span.count),
            span.unit
        );
        write!(out, "<mark class=\"c{colour}\"{key} title=\"{}\">{text}</mark>", escape(&title))
    }

    fn payment(&self, out: &mut String) -> std::fmt::Result {
        let report = self.report;
        writeln!(out, "<section>\n<h2>Who would be paid for it</h2>")?;
        self.bar(out, "tall", "Shares by contributor", |c| c.share_ppm, "nobody")?;
        writeln!(out, "<div class=\"pair\">\n<div>\n<h3>Gradients alone</h3>")?;
        let none = "no influence above the noise";
        self.bar(out, "", "Shares by gradients alone", |c| c.gradient_ppm, none)?;
        writeln!(out, "<p>Whose text, learned, made the exchange likelier.</p>\n</div>\n<div>")?;
        writeln!(out, "<h3>Spans alone</h3>")?;
        self.bar(out, "", "Shares by spans alone", |c| c.span_ppm, "no spans")?;
        writeln!(
            out,
            "<p>Whose words stand in it verbatim. They decide {} here, at most {}.</p>\n</div>\n\
             </div>",
            words::percent(report.lambda_ppm),
            words::percent(report.rule.lambda_max_ppm)
        )?;
        let is_sure = report.contributors.iter().any(|c| c.confidence_ppm.is_some());
        let sure = if is_sure { "<th class=\"num\">Confidence</th>" } else { "" };
        writeln!(
            out,
            "<table>\n<thead><tr><th>Contributor</th><th class=\"wide\"></th><th class=\"num\">Share</th>{sure}\
             <th class=\"num\">Gradients alone</th><th class=\"num\">Spans alone</th></tr></thead>\n\
             <tbody>"
        )?;
        for one in &report.contributors {
            self.contributor(out, one, is_sure)?;
        }
        writeln!(out, "</tbody>\n</table>\n</section>")
    }

    fn contributor(
        &self,
        out: &mut String,
        one: &ContributorReport,
        is_sure: bool,
    ) -> std::fmt::Result {
        let number = |ppm: u32| format!("<td class=\"num\">{}</td>", escape(&words::percent(ppm)));
        let sure = match one.confidence_ppm {
            Some(ppm) => number(ppm),
            None if is_sure => "<td class=\"num soft\">unknown</td>".to_owned(),
            None => String::new(),
        };
        writeln!(
            out,
            "<tr><td class=\"who\">{}account {}</td><td class=\"wide address\">{}</td>{}{sure}{}{}</tr>",
            self.key(one.account),
            one.account,
            one.address,
            number(one.share_ppm),
            number(one.gradient_ppm),
            number(one.span_ppm)
        )
    }

    fn key(&self, account: AccountId) -> String {
        let (colour, letter) = (self.legend.colour(account), self.legend.letter(account));
        format!("<span class=\"key c{colour}\">{letter}</span>")
    }

    /// A bar of everybody's part, the text beside it for those who do not see it.
    fn bar(
        &self,
        out: &mut String,
        size: &str,
        label: &str,
        part: impl Fn(&ContributorReport) -> u32,
        none: &str,
    ) -> std::fmt::Result {
        let parts = self.report.contributors.iter().map(|c| (c.account, part(c)));
        let parts: Vec<_> = parts.filter(|(_, ppm)| *ppm > 0).collect();
        let spoken = parts.iter().map(|(id, ppm)| format!("account {id} {}", words::percent(*ppm)));
        let spoken: Vec<_> = spoken.collect();
        let spoken = if spoken.is_empty() { none.to_owned() } else { spoken.join(", ") };
        let spoken = escape(&format!("{label}: {spoken}"));
        write!(out, "<div class=\"bar {size}\" role=\"img\" aria-label=\"{spoken}\">")?;
        if parts.is_empty() {
            write!(out, "<em>{none}</em>")?;
        }
        let (letter_fits, part_fits) = if size.is_empty() { NARROW_BAR } else { WIDE_BAR };
        for (account, ppm) in parts {
            let (colour, letter) = (self.legend.colour(account), self.legend.letter(account));
            let percent = escape(&words::percent(ppm));
            let inside = match ppm {
                _ if ppm >= part_fits => format!("{letter} · {percent}"),
                _ if ppm >= letter_fits => letter.clone(),
                _ => String::new(),
            };
            write!(
                out,
                "<span class=\"c{colour}\" style=\"flex-grow:{ppm}\" \
                 title=\"{letter}: account {account} · {percent}\">{inside}</span>"
            )?;
        }
        writeln!(out, "</div>")
    }

    fn spans(&self, out: &mut String) -> std::fmt::Result {
        let report = self.report;
        if report.spans.is_empty() {
            return Ok(());
        }
        writeln!(
            out,
            "<section class=\"long\">\n<h2>Word for word</h2>\n<table>\n<thead><tr><th>Owner</th>\
             <th>Words</th><th class=\"num\">Beyond chance</th><th class=\"wide\">Occurs</th></tr></thead>\n<tbody>"
        )?;
        for span in &report.spans {
            let text = report.output.get(span.from..span.to).unwrap_or_default();
            writeln!(
                out,
                "<tr><td class=\"who\">{}account {}</td><td><bdi>{}</bdi></td>\
                 <td class=\"num\">{}</td><td class=\"wide soft\">{}</td>\
                 </tr>",
                self.key(span.owner),
                span.owner,
                escape(text),
                words::bits(span.millibits),
                words::occurrences(span.count)
            )?;
        }
        writeln!(out, "</tbody>\n</table>\n</section>")
    }

    fn units(&self, out: &mut String) -> std::fmt::Result {
        let shown = self.report.units.iter().filter(|unit| unit.text.is_some());
        let shown: Vec<_> = shown.collect();
        if shown.is_empty() {
            return Ok(());
        }
        let sum = shown.iter().map(|unit| unit.share_ppm).sum();
        writeln!(
            out,
            "<section class=\"long\">\n<h2>The units with most evidence</h2>\n\
             <p class=\"soft\">{} of {}; together they carry {} of the payment.</p>\n\
             <ol class=\"units\">",
            words::count(shown.len(), "unit", "units"),
            words::grouped(self.report.sources.units as u64),
            escape(&words::percent(sum))
        )?;
        for unit in shown {
            self.unit(out, unit)?;
        }
        writeln!(out, "</ol>\n</section>")
    }

    fn unit(&self, out: &mut String, unit: &UnitLine) -> std::fmt::Result {
        let strong = matches!(unit.kind, EvidenceKind::Span | EvidenceKind::Both);
        let document = unit.document.as_deref().map(|name| format!(" · {}", escape(name)));
        writeln!(
            out,
            "<li class=\"c{}\">\n<div class=\"unit-head\">{}<span class=\"share num\">{}</span>\
             <span class=\"badge{}\">{}</span><span class=\"soft\">account {}<bdi>{}</bdi></span>\
             </div>",
            self.legend.colour(unit.owner),
            self.key(unit.owner),
            escape(&words::percent(unit.share_ppm)),
            if strong { " strong" } else { "" },
            words::kind(unit.kind),
            unit.owner,
            document.unwrap_or_default()
        )?;
        let text = unit.text.as_deref().unwrap_or_default();
        let marks: Vec<Mark> = unit.places.iter().map(|at| (at.span, at.from, at.to)).collect();
        let cut = excerpt(text, &marks, UNIT_BYTES);
        let dots = |is_cut| if is_cut { "…" } else { "" };
        write!(out, "<div class=\"unit-text\"><bdi>{}", dots(cut.is_cut_before))?;
        for piece in pieces(cut.text, &cut.marks) {
            self.piece(out, piece, false)?;
        }
        let spans = match unit.span_millibits {
            0 => String::new(),
            bits => format!(" · spans {}", words::bits(bits)),
        };
        writeln!(
            out,
            "{}</bdi></div>\n<div class=\"small\">{} · influence {}{spans} · unit \
             <span class=\"hash\">{}</span></div>\n</li>",
            dots(cut.is_cut_after),
            words::count(unit.tokens as usize, "token", "tokens"),
            unit.score,
            unit.unit
        )
    }

    fn limits(&self, out: &mut String) -> std::fmt::Result {
        writeln!(
            out,
            "<section>\n<h2>What these numbers say, and what they do not</h2>\n\
             <div class=\"limits\">"
        )?;
        for (title, text) in words::limits(self.report) {
            writeln!(out, "<div>\n<h3>{title}</h3>\n<p>{}</p>\n</div>", escape(&text))?;
        }
        writeln!(out, "</div>\n</section>")
    }

    fn sources(&self, out: &mut String) -> std::fmt::Result {
        let (report, sources, rule) = (self.report, &self.report.sources, &self.report.rule);
        writeln!(out, "<section>\n<h2>What they follow from</h2>\n<dl>")?;
        let hash = |hash: String| format!("<span class=\"hash\">{hash}</span>");
        let model = format!(
            "{}, {}",
            report.model,
            words::count(
                usize::try_from(sources.parameters).unwrap_or(usize::MAX),
                "",
                "parameters"
            )
        );
        let data = format!(
            "Datanet {}: {} of {}",
            report.datanet,
            words::count(sources.units, "unit", "units"),
            words::count(sources.owners, "contributor", "contributors")
        );
        let spans = format!(
            "at least {}, at most {} occurrences; repetitions of the prompt from {} on do not count",
            words::bits(rule.span_min_millibits),
            rule.span_max_count,
            words::bits(rule.echo_millibits)
        );
        let weights = format!(
            "noise floor {} per token; spans decide at most {}",
            rule.floor_per_token,
            words::percent(rule.lambda_max_ppm)
        );
        let text = format!(
            "{} of prompt, {} of output, {}",
            words::count(report.tokens_in, "token", "tokens"),
            words::count(report.tokens_out, "token", "tokens"),
            words::bits(report.output_millibits)
        );
        let rows = [
            ("Model", model),
            ("Data", data),
            ("Text", text),
            ("Spans", spans),
            ("Weights", weights),
            ("Checkpoint", hash(sources.checkpoint.to_string())),
            ("Snapshot", hash(sources.snapshot.to_string())),
            ("Sketches", hash(sources.sketch_root.to_string())),
            ("Tokenizer", hash(sources.tokenizer.to_string())),
        ];
        for (name, value) in rows {
            writeln!(out, "<dt>{name}</dt><dd>{value}</dd>")?;
        }
        writeln!(out, "</dl>\n</section>")
    }
}

#[cfg(test)]
mod tests {
    use super::super::sample;
    use super::*;

    #[test]
    fn the_page_stands_alone_and_shows_the_record() {
        let report = sample::report();
        let page = page(&report);
        for needed in [
            "<!doctype html>",
            "default-src 'none'",
            "prefers-color-scheme: dark",
            "@media print",
            "account 7",
            "61.0 %",
            "gradient + span",
            "devils-dictionary.txt",
            "checkpoint",
        ] {
            assert!(page.contains(needed) || page.to_lowercase().contains(needed), "{needed}");
        }
        let Sources { checkpoint, snapshot, tokenizer, .. } = &report.sources;
        for hash in [checkpoint, snapshot, tokenizer] {
            assert!(page.contains(&hash.to_string()));
        }
        for outside in ["http:", "https:", "//", "url(", "@import", "<script", "<img", "<link"] {
            assert!(!page.contains(outside), "{outside}");
        }
        // Every mark is the text that its span names, once in the output and once in its unit.
        let words = "a temporary insanity curable by marriage";
        assert_eq!(page.matches(&format!("\">{words}</mark>")).count(), 2);
    }

    use crate::node::Sources;

    #[test]
    fn hostile_text_cannot_break_out() {
        let attack = "\"'></mark></bdi></div><script>alert(1)</script><img src=x onerror=a()>&lt;";
        let mut report = sample::report();
        let marked = report.output.len()..report.output.len() + attack.len();
        report.output.push_str(attack);
        report.prompt = attack.to_owned();
        report.spans[0].from = marked.start;
        report.spans[0].to = marked.end;
        report.spans.swap(0, 1);
        for unit in &mut report.units {
            unit.text = Some(format!("{attack}\u{202e}{attack}"));
            unit.document = Some(attack.to_owned());
            let end = attack.len() + 5;
            unit.places.iter_mut().for_each(|at| (at.from, at.to) = (3, end));
        }
        let quiet = page(&sample::report());
        let page = page(&report);
        assert!(!page.contains("<script") && !page.contains("<img"), "an element got in");
        assert!(page.contains("&lt;script&gt;") && page.contains("&amp;lt;"));
        let tags = |page: &str, tag: &str| page.matches(tag).count();
        for tag in ["<section", "</section", "</div", "</bdi", "<li", "</li", "</td"] {
            assert_eq!(tags(&page, tag), tags(&quiet, tag), "{tag}");
        }
        assert!(!page.contains('\u{202e}'));
    }

    #[test]
    fn a_record_that_makes_no_sense_still_makes_a_page() {
        let mut report = sample::report();
        report.spans[0].from = 1 << 40;
        report.spans[1].to = 0;
        report.units[0].places[0].span = 99;
        report.units[0].places[0].to = usize::MAX;
        report.contributors.clear();
        assert!(page(&report).ends_with("</html>\n"));
        report.spans.clear();
        report.units.clear();
        report.is_pool = true;
        assert!(page(&report).contains("No run of the text"));
    }
}
