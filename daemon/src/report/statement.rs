//! A statement for people: lines for the terminal, rows for a spreadsheet, and a page that stands alone.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use maud::{Markup, html};
use protocol::{AccountId, Amount, Digest};
use serde::Serialize;

use super::csv::row;
use super::document::{Head, document};
use crate::api::types::{StatementGap, StatementLine, StatementPage, StatementSums};
use crate::words::amount_in_open;

/// The columns of the spreadsheet.
const COLUMNS: [&str; 11] = [
    "account", "epoch", "source", "amount", "claimed", "standing", "model", "datanet", "record",
    "whole", "note",
];

/// What lines come to, counted as they pass.
#[derive(Debug, Clone, Default)]
pub(crate) struct Tally {
    settled: Amount,
    claimed: Amount,
    by_source: BTreeMap<String, Amount>,
    /// By epoch: what was not final when its page was made may be when the last one is.
    pending: BTreeMap<u64, Amount>,
    unknown: usize,
}

/// What a statement comes to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Totals {
    /// The amounts of all lines that are final.
    pub(crate) settled: Amount,
    /// What of them was claimed.
    pub(crate) claimed: Amount,
    /// The amounts of all lines that are not final.
    pub(crate) pending: Amount,
    /// Whether everything before and all final lines together are the account's cumulative amount in the payout
    /// tree, to the last unit; none where that cannot be said of what was asked for.
    pub(crate) agrees: Option<bool>,
}

impl Tally {
    pub(crate) fn add(&mut self, line: &StatementLine) {
        let sum = match line.standing.as_str() {
            "pending" => self.pending.entry(line.epoch).or_default(),
            _ => &mut self.settled,
        };
        *sum = sum.saturating_add(line.amount);
        self.claimed = self.claimed.saturating_add(line.claimed);
        self.unknown += usize::from(line.standing == "unknown");
        let of_source = self.by_source.entry(line.source.clone()).or_default();
        *of_source = of_source.saturating_add(line.amount);
    }

    /// The sums, by what the chain says at the end. `before` is what was earned before the first line, where all
    /// lines since are there.
    pub(crate) fn totals(&self, sums: &StatementSums, before: Option<Amount>) -> Totals {
        let add = |sum: Amount, more: &Amount| sum.saturating_add(*more);
        let is_final = |epoch: u64| sums.final_epoch.is_some_and(|last| epoch <= last);
        let (late, pending): (Vec<_>, Vec<_>) =
            self.pending.iter().partition(|(epoch, _)| is_final(**epoch));
        let settled = late.into_iter().map(|(_, sum)| sum).fold(self.settled, add);
        let pending = pending.into_iter().map(|(_, sum)| sum).fold(Amount::ZERO, add);
        let agrees =
            before.and_then(|before| Some(before.checked_add(settled) == Some(sums.earned?)));
        Totals { settled, claimed: self.claimed, pending, agrees }
    }
}

/// A whole statement.
#[derive(Debug, Serialize)]
pub(crate) struct Statement {
    pub(crate) account: AccountId,
    /// What it is narrowed to, in words; empty for everything.
    pub(crate) about: String,
    /// What was earned before its first epoch; none where this is not known.
    pub(crate) before: Option<Amount>,
    pub(crate) lines: Vec<StatementLine>,
    pub(crate) gaps: Vec<StatementGap>,
    pub(crate) sums: StatementSums,
    pub(crate) totals: Totals,
    #[serde(skip)]
    pub(crate) tally: Tally,
}

/// The first row of the spreadsheet.
pub(crate) fn csv_head() -> String {
    row(COLUMNS)
}

/// The rows of a page. Amounts are in the smallest unit of OPEN.
pub(crate) fn csv_rows(page: &StatementPage) -> String {
    let mut text = String::new();
    let account = page.account.to_string();
    for line in &page.lines {
        let id = |id: Option<String>| id.unwrap_or_default();
        let cells = [
            account.clone(),
            line.epoch.to_string(),
            line.source.clone(),
            line.amount.to_string(),
            line.claimed.to_string(),
            line.standing.clone(),
            id(line.model.map(|model| model.to_string())),
            id(line.datanet.map(|datanet| datanet.to_string())),
            record(line),
            id(line.whole.map(|whole| whole.to_string())),
            line.note.clone().unwrap_or_default(),
        ];
        text.push_str(&row(cells.iter().map(String::as_str)));
    }
    text
}

fn record(line: &StatementLine) -> String {
    if line.record == Digest::ZERO { String::new() } else { line.record.to_string() }
}

fn about_model(line: &StatementLine) -> String {
    match (line.model, line.datanet) {
        (Some(model), Some(datanet)) => format!("model {model} of Datanet {datanet}"),
        (Some(model), None) => format!("model {model}"),
        _ => String::new(),
    }
}

/// What the sums say of the chain.
pub(crate) fn agreement(statement: &Statement) -> String {
    match (statement.totals.agrees, statement.gaps.len()) {
        (Some(true), _) => {
            "These lines come to the account's amount in the payout tree, to the last unit.".to_owned()
        }
        (Some(false), _) => {
            "These lines do NOT come to the account's amount in the payout tree; please report this."
                .to_owned()
        }
        (None, 0) => "This is a part of what the account earned.".to_owned(),
        (None, gaps) => {
            format!("The lines of {gaps} epochs are not known to this node, so the sum is not complete.")
        }
    }
}

/// The sums with their names.
fn sums(statement: &Statement) -> Vec<(&'static str, String)> {
    let (totals, sums) = (&statement.totals, &statement.sums);
    let mut all = vec![("lines that are final", totals.settled)];
    all.push(("of these claimed", totals.claimed));
    all.push(("pending, not final yet", totals.pending));
    if let Some(before) = statement.before.filter(|before| *before > Amount::ZERO) {
        all.push(("earned before", before));
    }
    if let Some(earned) = sums.earned {
        all.push(("earned in all, by the payout tree", earned));
    }
    all.push(("claimed in all, by the vault", sums.claimed));
    all.push(("claimable now", sums.claimable));
    all.push(("becomes stake by a claim", sums.becomes_stake));
    all.push(("held", sums.held));
    all.into_iter().map(|(name, amount)| (name, amount_in_open(amount))).collect()
}

/// For the terminal.
pub(crate) fn text(statement: &Statement) -> String {
    let mut text = format!("account {}{}\n", statement.account, statement.about);
    if statement.lines.is_empty() {
        text.push_str("no settlement has a line about this\n");
    }
    for line in &statement.lines {
        let amount = match (line.standing.as_str(), line.whole) {
            ("zero", _) => "0".to_owned(),
            ("unknown", whole) => format!("? of {}", amount_in_open(whole.unwrap_or_default())),
            (_, Some(whole)) => {
                format!("{} of {}", amount_in_open(line.amount), amount_in_open(whole))
            }
            _ => amount_in_open(line.amount),
        };
        let (epoch, source, standing) = (line.epoch, &line.source, &line.standing);
        let (model, note) = (about_model(line), line.note.as_deref().unwrap_or_default());
        let words = [record(line), model, note.to_owned()];
        let words: Vec<_> = words.into_iter().filter(|word| !word.is_empty()).collect();
        let words = words.join("  ");
        let _ = writeln!(text, "epoch {epoch:<5} {source:<12} {amount:<24} {standing:<10} {words}");
    }
    for gap in &statement.gaps {
        let _ = writeln!(text, "epoch {:<5} not known here: {}", gap.epoch, gap.reason);
    }
    for (name, amount) in sums(statement) {
        let _ = writeln!(text, "{name:<36} {amount}");
    }
    text.push_str(&agreement(statement));
    text
}

/// The statement as a page that stands by itself.
pub(crate) fn page(statement: &Statement) -> String {
    let Statement { account, about, .. } = statement;
    let head = Head {
        title: format!("Statement of account {account}"),
        eyebrow: format!("openledger · account {account} · epoch {}", statement.sums.now),
        heading: format!("What account {account} earned{about}"),
        finding: agreement(statement),
    };
    let body = html! {
        section {
            h2 { "Where it stands" }
            dl {
                @for (name, amount) in sums(statement) {
                    dt { (name) }
                    dd.num { (amount) }
                }
            }
        }
        (by_source(statement))
        (lines(statement))
        (gaps(statement))
    };
    document(&head, &body)
}

fn by_source(statement: &Statement) -> Markup {
    html! {
        section {
            h2 { "By what" }
            table {
                thead { tr { th { "Source" } th.num { "Amount" } } }
                tbody {
                    @for (source, amount) in &statement.tally.by_source {
                        tr { td { (source) } td.num { (amount_in_open(*amount)) } }
                    }
                }
            }
        }
    }
}

fn lines(statement: &Statement) -> Markup {
    html! {
        section.long {
            h2 { "Line by line" }
            @if statement.lines.is_empty() {
                p.soft { "No settlement has a line about this." }
            } @else {
                table {
                    thead {
                        tr {
                            th.num { "Epoch" } th { "Source" } th.num { "Amount" }
                            th { "Standing" } th { "Record, and why" }
                        }
                    }
                    tbody { @for line in &statement.lines { (table_row(line)) } }
                }
            }
        }
    }
}

fn table_row(line: &StatementLine) -> Markup {
    html! {
        tr {
            td.num { (line.epoch) }
            td { (line.source) }
            td.num title=(line.amount.to_string()) {
                @if line.standing == "unknown" { "?" } @else { (amount_in_open(line.amount)) }
                @if let Some(whole) = line.whole {
                    div.small { "of " (amount_in_open(whole)) }
                }
            }
            td { span.badge { (line.standing) } }
            td {
                @if let Some(note) = &line.note { div { (note) } }
                div.soft { (about_model(line)) }
                div.small.hash { (record(line)) }
            }
        }
    }
}

fn gaps(statement: &Statement) -> Markup {
    html! {
        @if !statement.gaps.is_empty() {
            section {
                h2 { "Not known to this node" }
                table {
                    tbody {
                        @for gap in &statement.gaps {
                            tr { td.num { (gap.epoch) } td { (gap.reason) } }
                        }
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(epoch: u64, amount: u128, standing: &str) -> StatementLine {
        StatementLine {
            epoch,
            source: "attribution".to_owned(),
            record: Digest([7; 32]),
            model: None,
            datanet: None,
            amount: Amount(amount),
            claimed: Amount::ZERO,
            whole: None,
            standing: standing.to_owned(),
            note: Some("<b>why</b>, =x".to_owned()),
        }
    }

    fn sums(final_epoch: u64, earned: u128) -> StatementSums {
        StatementSums {
            now: 9,
            final_epoch: Some(final_epoch),
            earned: Some(Amount(earned)),
            claimed: Amount::ZERO,
            claimable: Amount::ZERO,
            becomes_stake: Amount::ZERO,
            held: Amount::ZERO,
        }
    }

    fn statement(final_epoch: u64, earned: u128) -> Statement {
        let lines = vec![line(1, 5, "claimable"), line(2, 3, "pending"), line(2, 0, "zero")];
        let mut tally = Tally::default();
        lines.iter().for_each(|line| tally.add(line));
        let (sums, before) = (sums(final_epoch, earned), Some(Amount(10)));
        let totals = tally.totals(&sums, before);
        let (account, about, gaps) = (AccountId(4), String::new(), Vec::new());
        Statement { account, about, before, lines, gaps, sums, totals, tally }
    }

    #[test]
    fn what_became_final_while_pages_were_read_is_counted_once_and_as_final() {
        let of = |totals: Totals| (totals.settled.0, totals.pending.0, totals.agrees);
        assert_eq!(of(statement(1, 15).totals), (5, 3, Some(true)));
        assert_eq!(of(statement(2, 18).totals), (8, 0, Some(true)));
        assert_eq!(of(statement(1, 16).totals), (5, 3, Some(false)), "a unit is missed");
    }

    #[test]
    fn a_statement_is_whole_for_screen_and_sheet_and_nothing_in_it_is_markup() {
        let statement = statement(1, 15);
        let page = page(&statement);
        assert!(page.contains("&lt;b&gt;why&lt;/b&gt;") && !page.contains("<b>why"), "{page}");
        assert!(!page.contains("<script") && !page.contains("http:"), "it asks nobody");
        let text = text(&statement);
        assert!(text.contains("to the last unit") && text.contains("pending"), "{text}");
        let page = StatementPage {
            account: statement.account,
            lines: statement.lines,
            gaps: Vec::new(),
            before: None,
            is_named: false,
            sums: statement.sums,
            next: None,
        };
        let rows = csv_rows(&page);
        assert!(rows.contains("4,1,attribution,5,0,claimable,,,"), "{rows}");
        assert!(rows.contains("\"<b>why</b>, =x\"\r\n"), "{rows}");
        assert_eq!(csv_head().matches(',').count(), 10);
    }
}
