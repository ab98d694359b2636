//! The record in a terminal: letters and brackets always, colours where they are wanted.

use std::fmt::Write as _;
use std::io::IsTerminal;

use super::marks::{Legend, Mark, excerpt, pieces};
use super::words;
use crate::api::types::{AttributionReport, UnitLine};
use crate::clean::{line, plain};

/// Colours of the 256-colour palette that read well on light and on dark; the last is for the rest.
const COLOURS: [u8; 9] = [33, 166, 35, 134, 168, 37, 136, 160, 244];
/// Columns of text.
const WIDTH: usize = 92;
/// Columns of a bar.
const BAR: u32 = 24;
/// Begins a colour or its end.
const ESCAPE: char = '\u{1b}';
/// Ends every colour.
const RESET: &str = "\u{1b}[0m";
/// Longest text of a unit, in bytes.
const UNIT_BYTES: usize = 240;

/// Whether to colour.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Paint {
    /// Letters and brackets only.
    Plain,
    /// Letters, brackets and colours.
    Colour,
}

impl Paint {
    /// Colours for a person who did not ask for none (<https://no-color.org>).
    pub(crate) fn of_stdout() -> Self {
        let is_refused = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        let is_dumb = std::env::var_os("TERM").is_some_and(|value| value == "dumb");
        match std::io::stdout().is_terminal() && !is_refused && !is_dumb {
            true => Self::Colour,
            false => Self::Plain,
        }
    }

    fn code(self, code: &str, text: &str) -> String {
        match self {
            Self::Colour if !text.is_empty() => format!("{ESCAPE}[{code}m{text}{RESET}"),
            _ => text.to_owned(),
        }
    }

    fn owner(self, colour: usize, text: &str) -> String {
        let colour = COLOURS.get(colour).copied().unwrap_or(COLOURS[COLOURS.len() - 1]);
        self.code(&format!("1;38;5;{colour}"), text)
    }

    /// A marked run: underlined in its owner's colour, or in brackets; the letter behind it.
    fn mark(self, colour: usize, text: &str, letter: &str) -> String {
        let open = COLOURS.get(colour).copied().unwrap_or(COLOURS[COLOURS.len() - 1]);
        match self {
            Self::Colour => {
                self.code(&format!("4;38;5;{open}"), text) + &self.owner(colour, letter)
            }
            Self::Plain => format!("⟦{text}⟧{letter}"),
        }
    }

    fn dim(self, text: &str) -> String {
        self.code("2", text)
    }

    fn bold(self, text: &str) -> String {
        self.code("1", text)
    }
}

/// The record for a person, with the text of the first `units` units and of those that own a span.
pub(crate) fn text(report: &AttributionReport, paint: Paint, units: usize) -> String {
    let view = View { report, paint, units, legend: Legend::of(report) };
    let mut out = String::new();
    // Writing to a string does not fail.
    let _ = view.write(&mut out);
    out
}

struct View<'a> {
    report: &'a AttributionReport,
    paint: Paint,
    units: usize,
    legend: Legend,
}

impl View<'_> {
    fn write(&self, out: &mut String) -> std::fmt::Result {
        self.answer(out)?;
        self.shares(out)?;
        self.spans(out)?;
        self.units(out)?;
        self.sources(out)
    }

    fn heading(&self, out: &mut String, text: &str) -> std::fmt::Result {
        writeln!(out, "\n{}", self.paint.bold(text))
    }

    fn answer(&self, out: &mut String) -> std::fmt::Result {
        let report = self.report;
        let marks: Vec<Mark> =
            report.spans.iter().enumerate().map(|(i, span)| (i, span.from, span.to)).collect();
        write!(out, "{}", self.paint.dim(&plain(&report.prompt)))?;
        writeln!(out, "{}", self.marked(&report.output, &marks, plain))?;
        writeln!(out)?;
        for line in wrapped(&words::finding(report), WIDTH) {
            writeln!(out, "{line}")?;
        }
        Ok(())
    }

    fn marked(&self, text: &str, marks: &[Mark], clean: fn(&str) -> String) -> String {
        let mut out = String::new();
        for piece in pieces(text, marks) {
            match piece.mark.and_then(|mark| self.report.spans.get(mark)) {
                Some(span) => {
                    let (colour, letter) =
                        (self.legend.colour(span.owner), self.legend.letter(span.owner));
                    out.push_str(&self.paint.mark(colour, &clean(piece.text), &letter));
                }
                None => out.push_str(&clean(piece.text)),
            }
        }
        out
    }

    fn shares(&self, out: &mut String) -> std::fmt::Result {
        let is_sure = self.report.contributors.iter().any(|c| c.confidence_ppm.is_some());
        self.heading(out, "Contributors")?;
        let sure = if is_sure { format!("{:>12}", "confidence") } else { String::new() };
        let head = format!("  {:<20}{:>9}{sure}{:>11}{:>9}", "", "share", "gradients", "spans");
        writeln!(out, "{}", self.paint.dim(head.trim_end()))?;
        for one in &self.report.contributors {
            let (colour, letter) =
                (self.legend.colour(one.account), self.legend.letter(one.account));
            let sure = match (is_sure, one.confidence_ppm) {
                (true, ppm) => {
                    format!("{:>12}", ppm.map_or("unknown".to_owned(), words::percent))
                }
                (false, _) => String::new(),
            };
            let name = format!("account {}", one.account);
            let [share, gradient, span] =
                [one.share_ppm, one.gradient_ppm, one.span_ppm].map(words::percent);
            writeln!(
                out,
                "  {} {name:<17}{share:>10}{sure}{gradient:>11}{span:>9}  {}",
                self.paint.owner(colour, &format!("{letter:<2}")),
                self.paint.owner(colour, &bar(one.share_ppm))
            )?;
        }
        Ok(())
    }

    fn spans(&self, out: &mut String) -> std::fmt::Result {
        if self.report.spans.is_empty() {
            return Ok(());
        }
        self.heading(out, "Word for word")?;
        for span in &self.report.spans {
            let (colour, letter) = (self.legend.colour(span.owner), self.legend.letter(span.owner));
            let words = line(self.report.output.get(span.from..span.to).unwrap_or_default());
            writeln!(
                out,
                "  {} {:>8}  “{words}”{}",
                self.paint.owner(colour, &format!("{letter:<2}")),
                words::bits(span.millibits),
                self.paint.dim(&format!("  {}", words::occurrences(span.count)))
            )?;
        }
        Ok(())
    }

    fn units(&self, out: &mut String) -> std::fmt::Result {
        let units = self.report.units.iter().enumerate();
        let is_shown = |(rank, unit): &(usize, &UnitLine)| {
            unit.text.is_some() && (*rank < self.units || unit.span_millibits > 0)
        };
        let shown: Vec<_> = units.filter(is_shown).map(|(_, unit)| unit).collect();
        if shown.is_empty() {
            return Ok(());
        }
        self.heading(out, "Units with most evidence")?;
        shown.into_iter().try_for_each(|unit| self.unit(out, unit))
    }

    fn unit(&self, out: &mut String, unit: &UnitLine) -> std::fmt::Result {
        let (colour, letter) = (self.legend.colour(unit.owner), self.legend.letter(unit.owner));
        let document = unit.document.as_deref().map(|name| format!("  {}", line(name)));
        writeln!(
            out,
            "  {} {:>8}  {}{}",
            self.paint.owner(colour, &format!("{letter:<2}")),
            words::percent(unit.share_ppm),
            words::kind(unit.kind),
            self.paint.dim(&document.unwrap_or_default())
        )?;
        let text = unit.text.as_deref().unwrap_or_default();
        let marks: Vec<Mark> = unit.places.iter().map(|at| (at.span, at.from, at.to)).collect();
        let cut = excerpt(text, &marks, UNIT_BYTES);
        let dots = |is_cut| if is_cut { "…" } else { "" };
        // Wrapped first, marked after: a mark may go over the end of a line.
        let flat: String =
            cut.text.chars().map(|c| if c.is_whitespace() { ' ' } else { c }).collect();
        let same_length = flat.len() == cut.text.len();
        let (flat, marks) =
            if same_length { (flat.as_str(), cut.marks.as_slice()) } else { (cut.text, &[][..]) };
        let shown = self.marked(flat, marks, plain);
        let shown = format!("{}{shown}{}", dots(cut.is_cut_before), dots(cut.is_cut_after));
        for line in wrapped(&shown, WIDTH - 14) {
            writeln!(out, "              {line}")?;
        }
        Ok(())
    }

    fn sources(&self, out: &mut String) -> std::fmt::Result {
        let sources = &self.report.sources;
        let short = |hash: &dyn std::fmt::Display| {
            hash.to_string().trim_start_matches("0x").chars().take(12).collect::<String>()
        };
        let from = format!(
            "model {} · {} parameters · {} units of {} contributors · checkpoint {} · snapshot {} \
             · tokenizer {}",
            self.report.model,
            words::grouped(sources.parameters),
            words::grouped(sources.units as u64),
            sources.owners,
            short(&sources.checkpoint),
            short(&sources.snapshot),
            short(&sources.tokenizer)
        );
        writeln!(out)?;
        let caution = "Gradients of a model of this size mostly say which text the exchange \
                       resembles; spans say whose words stand in it. Nobody was paid for this.";
        for line in wrapped(&from, WIDTH).into_iter().chain(wrapped(caution, WIDTH)) {
            writeln!(out, "{}", self.paint.dim(&line))?;
        }
        Ok(())
    }
}

/// A bar of eighths of a column.
fn bar(ppm: u32) -> String {
    const EIGHTHS: [char; 8] = [' ', '▏', '▎', '▍', '▌', '▋', '▊', '▉'];
    let eighths = (u64::from(ppm.min(1_000_000)) * u64::from(BAR) * 8).div_ceil(1_000_000);
    let (full, rest) = ((eighths / 8) as usize, (eighths % 8) as usize);
    let mut bar = "█".repeat(full);
    if rest > 0 {
        bar.push(EIGHTHS[rest]);
    }
    bar
}

/// Breaks at white space. Escape sequences take no room, and a colour ends with its line and goes on
/// in the next.
fn wrapped(text: &str, width: usize) -> Vec<String> {
    let mut lines = vec![String::new()];
    let (mut used, mut open) = (0, String::new());
    for word in text.split_whitespace() {
        let room = visible(word);
        let line = lines.last_mut().expect("there is one line from the start");
        if used > 0 && used + 1 + room > width {
            line.push_str(if open.is_empty() { "" } else { RESET });
            lines.push(format!("{open}{word}"));
            used = room;
        } else {
            line.push_str(if used > 0 { " " } else { "" });
            line.push_str(word);
            used += room + usize::from(used > 0);
        }
        for code in
            word.split_inclusive('m').filter_map(|part| part.find(ESCAPE).map(|at| &part[at..]))
        {
            open = if code == RESET { String::new() } else { code.to_owned() };
        }
    }
    lines
}

/// Characters of a word that are seen.
fn visible(word: &str) -> usize {
    let mut is_code = false;
    let seen = |c: &char| {
        let is_seen = !is_code && *c != ESCAPE;
        is_code = match *c {
            ESCAPE => true,
            'm' => false,
            _ => is_code,
        };
        is_seen
    };
    word.chars().filter(seen).count()
}

#[cfg(test)]
mod tests {
    use super::super::sample;
    use super::*;

    #[test]
    fn plain_text_marks_spans_and_names_everybody() {
        let text = text(&sample::report(), Paint::Plain, 5);
        assert!(!text.contains('\u{1b}'));
        assert!(text.starts_with(
            "Love is ⟦a temporary insanity curable by marriage⟧A, and ⟦all the king’s horses⟧C"
        ));
        for needed in
            ["account 12", "61.0 %", "gradient + span", "devils-dictionary.txt", "41 bits"]
        {
            assert!(text.contains(needed), "{needed} in {text}");
        }
        let unit = text.split("devils-dictionary.txt").nth(1).unwrap();
        assert!(unit.trim_start().starts_with("Love, n. ⟦a temporary"), "{unit}");
        assert!(!text.contains("confidence"), "nothing is claimed that is not known");
    }

    #[test]
    fn a_known_confidence_is_shown() {
        let mut report = sample::report();
        report.contributors[0].confidence_ppm = Some(930_000);
        let shown = text(&report, Paint::Plain, 5);
        assert!(shown.contains("confidence") && shown.contains("93.0 %"), "{shown}");
        assert!(shown.contains("unknown"), "the others' is not");
        assert!(super::super::page(&report).contains("93.0 %"));
    }

    #[test]
    fn colours_only_add_codes() {
        let report = sample::report();
        let coloured = text(&report, Paint::Colour, 5);
        assert!(coloured.contains("\u{1b}[4;38;5;33ma temporary insanity curable by marriage"));
        let mut bare = coloured;
        while let Some(start) = bare.find('\u{1b}') {
            let end = start + bare[start..].find('m').unwrap();
            bare.replace_range(start..=end, "");
        }
        let plain = text(&report, Paint::Plain, 5).replace(['⟦', '⟧'], "");
        let words = |text: &str| text.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
        assert_eq!(words(&bare), words(&plain));
    }

    #[test]
    fn strangers_do_not_command_the_terminal() {
        let mut report = sample::report();
        report.prompt = "\u{1b}]0;title\u{7}".to_owned();
        report.output = "\u{1b}[2Jgone\r\u{9b}31m".to_owned();
        for unit in &mut report.units {
            unit.text = Some("\u{1b}[8mhidden\u{85}\u{1b}c".to_owned());
            unit.document = Some("\u{1b}[1Aname\nline".to_owned());
        }
        let shown = text(&report, Paint::Plain, 5);
        assert!(!shown.chars().any(|c| c.is_control() && c != '\n'), "{shown:?}");
        assert!(shown.contains("name line"));
    }

    #[test]
    fn a_colour_does_not_run_into_the_margin() {
        let marked = Paint::Colour.mark(0, "one two three", "A");
        let lines = wrapped(&format!("so {marked} and on"), 8);
        assert_eq!(lines.len(), 4, "{lines:?}");
        for line in &lines {
            assert!(
                visible(line) <= 8 && line.matches(ESCAPE).count().is_multiple_of(2),
                "{line:?}"
            );
            assert!(!line.contains(ESCAPE) || line.contains(RESET), "{line:?}");
        }
        assert_eq!(lines[1], "\u{1b}[4;38;5;33mtwo\u{1b}[0m");
    }

    #[test]
    fn few_units_are_shown_and_always_those_with_spans() {
        let shown = text(&sample::report(), Paint::Plain, 0);
        assert!(shown.contains("devils-dictionary.txt") && shown.contains("document-12.txt"));
        assert!(!shown.contains("document-9.txt"), "it owns no span");
    }

    #[test]
    fn bars_are_as_long_as_the_share() {
        assert_eq!(bar(0), "");
        assert_eq!(bar(1_000_000).chars().count(), BAR as usize);
        assert_eq!(bar(1), "▏");
        assert_eq!(bar(500_000), "█".repeat(BAR as usize / 2));
    }
}
