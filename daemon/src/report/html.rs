//! The page of an attribution.
//!
//! The template library escapes whatever is put into a page; [`for_page`] takes out of strangers' text
//! the characters that no escaping makes harmless.

use maud::{Markup, html};
use protocol::AccountId;

use super::document::{Head, document};
use super::marks::{Legend, Mark, Piece, excerpt, pieces};
use super::words;
use crate::api::types::{AttributionReport, ContributorReport, EvidenceKind, UnitLine};
use crate::clean::for_page;

/// Longest text of a unit on the page, in bytes.
const UNIT_BYTES: usize = 1_200;

/// How tall a bar is, and from which part on its letter fits, and its percentage too, in ppm.
#[derive(Clone, Copy)]
struct BarSize {
    class: &'static str,
    letter_fits: u32,
    part_fits: u32,
}

/// Over the whole width of the page.
const WIDE: BarSize = BarSize { class: "bar tall", letter_fits: 30_000, part_fits: 140_000 };
/// One of two beside each other.
const NARROW: BarSize = BarSize { class: "bar", letter_fits: 60_000, part_fits: 200_000 };

/// The page of a record.
pub(crate) fn page(report: &AttributionReport) -> String {
    let page = Page { report, legend: Legend::of(report) };
    page.render()
}

struct Page<'a> {
    report: &'a AttributionReport,
    legend: Legend,
}

impl Page<'_> {
    fn render(&self) -> String {
        let AttributionReport { model, datanet, .. } = self.report;
        let head = Head {
            title: format!("Attribution of model {model}"),
            eyebrow: format!("openledger · model {model} · Datanet {datanet}"),
            heading: "Where this text comes from".to_owned(),
            finding: words::finding(self.report),
        };
        let body = html! {
            (self.answer())
            (self.payment())
            (self.spans())
            (self.units())
            (self.limits())
            (self.sources())
        };
        document(&head, &body)
    }

    fn answer(&self) -> Markup {
        let report = self.report;
        let marks = report.spans.iter().enumerate().map(|(i, span)| (i, span.from, span.to));
        let marks: Vec<Mark> = marks.collect();
        let author = match report.seed {
            Some(seed) => format!("The prompt, and what the model wrote (seed {seed})"),
            None => "The prompt, and the text that was given".to_owned(),
        };
        let hint = match report.spans.is_empty() {
            true => "No run of the text stands word for word in the data.",
            false => {
                "Marked words stand exactly so in the data; the letter is their owner. Point at \
                 them for the unit."
            }
        };
        html! {
            section.long {
                h2 { (author) }
                div.exchange {
                    p {
                        bdi.prompt { (for_page(&report.prompt)) }
                        bdi {
                            @for piece in pieces(&report.output, &marks) { (self.piece(piece, true)) }
                        }
                    }
                }
                p.hint { (hint) }
            }
        }
    }

    /// A stretch of text; marked if a span covers it.
    fn piece(&self, piece: Piece<'_>, is_keyed: bool) -> Markup {
        let text = for_page(piece.text);
        let Some(span) = piece.mark.and_then(|mark| self.report.spans.get(mark)) else {
            return html! { (text) };
        };
        let (colour, letter) = (self.legend.colour(span.owner), self.legend.letter(span.owner));
        let title = format!(
            "{letter}: account {} · {} beyond chance · {} · unit {}",
            span.owner,
            words::bits(span.millibits),
            words::occurrences(span.count),
            span.unit
        );
        html! {
            mark class={ "c" (colour) } data-key=[is_keyed.then_some(&letter)] title=(title) {
                (text)
            }
        }
    }

    fn payment(&self) -> Markup {
        let report = self.report;
        let is_sure = report.contributors.iter().any(|c| c.confidence_ppm.is_some());
        html! {
            section {
                h2 { "Who would be paid for it" }
                (self.bar(WIDE, "Shares by contributor", |c| c.share_ppm, "nobody"))
                div.pair {
                    div {
                        h3 { "Gradients alone" }
                        (self.bar(
                            NARROW,
                            "Shares by gradients alone",
                            |c| c.gradient_ppm,
                            "no influence above the noise",
                        ))
                        p { "Whose text, learned, made the exchange likelier." }
                    }
                    div {
                        h3 { "Spans alone" }
                        (self.bar(NARROW, "Shares by spans alone", |c| c.span_ppm, "no spans"))
                        p {
                            "Whose words stand in it verbatim. They decide "
                            (words::percent(report.lambda_ppm)) " here, at most "
                            (words::percent(report.rule.lambda_max_ppm)) "."
                        }
                    }
                }
                table {
                    thead {
                        tr {
                            th { "Contributor" }
                            th.wide {}
                            th.num { "Share" }
                            @if is_sure { th.num { "Confidence" } }
                            th.num { "Gradients alone" }
                            th.num { "Spans alone" }
                        }
                    }
                    tbody {
                        @for one in &report.contributors { (self.contributor(one, is_sure)) }
                    }
                }
            }
        }
    }

    fn contributor(&self, one: &ContributorReport, is_sure: bool) -> Markup {
        html! {
            tr {
                td.who { (self.key(one.account)) "account " (one.account) }
                td.wide.address { (one.address) }
                td.num { (words::percent(one.share_ppm)) }
                @match one.confidence_ppm {
                    Some(ppm) => td.num { (words::percent(ppm)) },
                    None if is_sure => td.num.soft { "unknown" },
                    None => {},
                }
                td.num { (words::percent(one.gradient_ppm)) }
                td.num { (words::percent(one.span_ppm)) }
            }
        }
    }

    fn key(&self, account: AccountId) -> Markup {
        let (colour, letter) = (self.legend.colour(account), self.legend.letter(account));
        html! { span class={ "key c" (colour) } { (letter) } }
    }

    /// A bar of everybody's part, the text beside it for those who do not see it.
    fn bar(
        &self,
        size: BarSize,
        label: &str,
        part: impl Fn(&ContributorReport) -> u32,
        none: &str,
    ) -> Markup {
        let parts = self.report.contributors.iter().map(|c| (c.account, part(c)));
        let parts: Vec<_> = parts.filter(|(_, ppm)| *ppm > 0).collect();
        let spoken = parts.iter().map(|(id, ppm)| format!("account {id} {}", words::percent(*ppm)));
        let spoken: Vec<_> = spoken.collect();
        let spoken = if spoken.is_empty() { none.to_owned() } else { spoken.join(", ") };
        html! {
            div class=(size.class) role="img" aria-label={ (label) ": " (spoken) } {
                @if parts.is_empty() { em { (none) } }
                @for (account, ppm) in parts { (self.bar_part(size, account, ppm)) }
            }
        }
    }

    fn bar_part(&self, size: BarSize, account: AccountId, ppm: u32) -> Markup {
        let (colour, letter) = (self.legend.colour(account), self.legend.letter(account));
        let percent = words::percent(ppm);
        let inside = match ppm {
            _ if ppm >= size.part_fits => format!("{letter} · {percent}"),
            _ if ppm >= size.letter_fits => letter.clone(),
            _ => String::new(),
        };
        html! {
            span class={ "c" (colour) } style={ "flex-grow:" (ppm) }
                title={ (letter) ": account " (account) " · " (percent) } { (inside) }
        }
    }

    fn spans(&self) -> Markup {
        let report = self.report;
        if report.spans.is_empty() {
            return html! {};
        }
        html! {
            section.long {
                h2 { "Word for word" }
                table {
                    thead {
                        tr {
                            th { "Owner" }
                            th { "Words" }
                            th.num { "Beyond chance" }
                            th.wide { "Occurs" }
                        }
                    }
                    tbody {
                        @for span in &report.spans {
                            tr {
                                td.who { (self.key(span.owner)) "account " (span.owner) }
                                td {
                                    bdi {
                                        (for_page(
                                            report.output.get(span.from..span.to).unwrap_or_default(),
                                        ))
                                    }
                                }
                                td.num { (words::bits(span.millibits)) }
                                td.wide.soft { (words::occurrences(span.count)) }
                            }
                        }
                    }
                }
            }
        }
    }

    fn units(&self) -> Markup {
        let shown = self.report.units.iter().filter(|unit| unit.text.is_some());
        let shown: Vec<_> = shown.collect();
        if shown.is_empty() {
            return html! {};
        }
        let sum = shown.iter().map(|unit| unit.share_ppm).sum();
        html! {
            section.long {
                h2 { "The units with most evidence" }
                p.soft {
                    (words::count(shown.len(), "unit", "units")) " of "
                    (words::grouped(self.report.sources.units as u64))
                    "; together they carry " (words::percent(sum)) " of the payment."
                }
                ol.units {
                    @for unit in shown { (self.unit(unit)) }
                }
            }
        }
    }

    fn unit(&self, unit: &UnitLine) -> Markup {
        let is_verbatim = matches!(unit.kind, EvidenceKind::Span | EvidenceKind::Both);
        let text = unit.text.as_deref().unwrap_or_default();
        let marks: Vec<Mark> = unit.places.iter().map(|at| (at.span, at.from, at.to)).collect();
        let cut = excerpt(text, &marks, UNIT_BYTES);
        html! {
            li class={ "c" (self.legend.colour(unit.owner)) } {
                div.unit-head {
                    (self.key(unit.owner))
                    span.share.num { (words::percent(unit.share_ppm)) }
                    span.badge.strong[is_verbatim] { (words::kind(unit.kind)) }
                    span.soft {
                        "account " (unit.owner)
                        bdi { @if let Some(name) = &unit.document { " · " (for_page(name)) } }
                    }
                }
                div.unit-text {
                    bdi {
                        @if cut.is_cut_before { "…" }
                        @for piece in pieces(cut.text, &cut.marks) { (self.piece(piece, false)) }
                        @if cut.is_cut_after { "…" }
                    }
                }
                div.small {
                    (words::count(unit.tokens as usize, "token", "tokens"))
                    " · influence " (unit.score)
                    @if unit.span_millibits > 0 { " · spans " (words::bits(unit.span_millibits)) }
                    " · unit " span.hash { (unit.unit) }
                }
            }
        }
    }

    fn limits(&self) -> Markup {
        html! {
            section {
                h2 { "What these numbers say, and what they do not" }
                div.limits {
                    @for (title, text) in words::limits(self.report) {
                        div {
                            h3 { (title) }
                            p { (text) }
                        }
                    }
                }
            }
        }
    }

    fn sources(&self) -> Markup {
        let (report, sources, rule) = (self.report, &self.report.sources, &self.report.rule);
        let text = format!(
            "{} of prompt, {} of output, {}",
            words::count(report.tokens_in, "token", "tokens"),
            words::count(report.tokens_out, "token", "tokens"),
            words::bits(report.output_millibits)
        );
        let spans = format!(
            "at least {}, at most {} occurrences; repetitions of the prompt from {} on do not count",
            words::bits(rule.span_min_millibits),
            rule.span_max_count,
            words::bits(rule.echo_millibits)
        );
        html! {
            section {
                h2 { "What they follow from" }
                dl {
                    dt { "Model" }
                    dd { (report.model) ", " (words::grouped(sources.parameters)) " parameters" }
                    dt { "Data" }
                    dd {
                        "Datanet " (report.datanet) ": "
                        (words::count(sources.units, "unit", "units")) " of "
                        (words::count(sources.owners, "contributor", "contributors"))
                    }
                    dt { "Text" }
                    dd { (text) }
                    dt { "Spans" }
                    dd { (spans) }
                    dt { "Weights" }
                    dd {
                        "noise floor " (rule.floor_per_token) " per token; spans decide at most "
                        (words::percent(rule.lambda_max_ppm))
                    }
                    dt { "Checkpoint" }
                    dd { span.hash { (sources.checkpoint) } }
                    dt { "Snapshot" }
                    dd { span.hash { (sources.snapshot) } }
                    dt { "Sketches" }
                    dd { span.hash { (sources.sketch_root) } }
                    dt { "Tokenizer" }
                    dd { span.hash { (sources.tokenizer) } }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::sample;
    use super::*;
    use crate::api::types::Sources;

    #[test]
    fn the_page_stands_alone_and_shows_the_record() {
        let report = sample::report();
        let page = page(&report);
        for needed in [
            "<!DOCTYPE html>",
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
        assert!(page(&report).ends_with("</html>"));
        report.spans.clear();
        report.units.clear();
        report.is_pool = true;
        assert!(page(&report).contains("No run of the text"));
    }
}
