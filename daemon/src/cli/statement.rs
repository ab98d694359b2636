//! `openledger rewards statement`: what each datum and each piece of work earned, line by line.

use std::io::{IsTerminal, Write};
use std::path::PathBuf;

use anyhow::{Context, Result, bail};
use clap::Args;
use indicatif::{ProgressBar, ProgressStyle};
use protocol::{Digest, Hash};
use serde_json::json;
use storage::durable::write_atomic;

use crate::api::Client;
use crate::api::types::StatementPage;
use crate::output::Output;
use crate::report::statement::{Statement, Tally, agreement, csv_head, csv_rows, page, text};

/// Lines that are kept at most: a sheet is written as it comes and has no such bound.
const MAX_LINES: usize = 200_000;

#[derive(Debug, Args)]
pub(super) struct StatementArgs {
    /// The account; the owner of --unit, or this node's own by default
    #[arg(long)]
    account: Option<u64>,
    /// Only what this unit earned, by its hash (`attribute --json` lists them)
    #[arg(long, value_name = "HASH")]
    unit: Option<Hash>,
    /// Only what models of this Datanet earned
    #[arg(long, value_name = "ID")]
    datanet: Option<u64>,
    /// Only what this model earned
    #[arg(long, value_name = "ID")]
    model: Option<u64>,
    /// Only what this output earned, or any other work, by its record
    #[arg(long, value_name = "RECORD")]
    output: Option<Digest>,
    /// Only from this epoch on
    #[arg(long, value_name = "EPOCH", default_value_t = 0)]
    since: u64,
    /// Print rows for a spreadsheet; amounts in the smallest unit of OPEN
    #[arg(long, conflicts_with = "html")]
    csv: bool,
    /// Write a page that stands alone
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,
}

impl StatementArgs {
    fn path(&self, since: u64) -> String {
        let number = |id: Option<u64>| id.map(|id| id.to_string());
        let given = [
            ("account", number(self.account)),
            ("unit", self.unit.map(|unit| unit.to_string())),
            ("datanet", number(self.datanet)),
            ("model", number(self.model)),
            ("output", self.output.map(|output| output.to_string())),
        ];
        let given = given.into_iter().filter_map(|(name, value)| Some((name, value?)));
        given.fold(format!("/rewards/statement?since={since}"), |path, (name, value)| {
            format!("{path}&{name}={value}")
        })
    }

    /// What it is narrowed to, in words.
    fn about(&self) -> String {
        let given = [
            self.unit.map(|unit| format!(" by unit {unit}")),
            self.datanet.map(|datanet| format!(" by models of Datanet {datanet}")),
            self.model.map(|model| format!(" by model {model}")),
            self.output.map(|output| format!(" by record {output}")),
            (self.since > 0).then(|| format!(" since epoch {}", self.since)),
        ];
        given.into_iter().flatten().collect()
    }

    const fn is_narrowed(&self) -> bool {
        self.unit.is_some()
            || self.datanet.is_some()
            || self.model.is_some()
            || self.output.is_some()
    }
}

pub(super) async fn statement(client: &Client, args: &StatementArgs, json: bool) -> Result<Output> {
    if args.csv && json {
        bail!("--csv and --json are two forms of the same; choose one");
    }
    let mut tally = Tally::default();
    let (mut lines, mut gaps) = (Vec::new(), Vec::new());
    let (mut before, mut is_named, mut since) = (None, false, Some(args.since));
    let mut last: Option<StatementPage> = None;
    let bar = progress();
    if args.csv && !print(&csv_head()) {
        return Ok(Output::new("", &json!({})).silent());
    }
    while let Some(from) = since {
        bar.set_message(format!("epoch {from}"));
        let mut read: StatementPage = client.get(&args.path(from)).await?;
        if last.is_none() {
            before = read.before;
        }
        is_named |= read.is_named;
        since = read.next;
        read.lines.iter().for_each(|line| tally.add(line));
        if args.csv {
            if !print(&csv_rows(&read)) {
                break;
            }
        } else {
            lines.append(&mut read.lines);
        }
        gaps.append(&mut read.gaps);
        if lines.len() > MAX_LINES {
            bail!("there are more than {MAX_LINES} lines: use --csv, or begin later with --since");
        }
        last = Some(read);
    }
    bar.finish_and_clear();
    let last = last.context("the node gave no statement")?;
    if let Some(record) = args.output.filter(|_| !is_named) {
        bail!(
            "no settlement since epoch {} that this node knows names record {record}; a record is settled \
             when its epoch is over",
            args.since
        );
    }
    // What comes before an epoch that follows on one which is not final is in no final tree.
    let is_in_tree = last.sums.final_epoch.is_some_and(|end| args.since <= end.saturating_add(1));
    let of_all = before.filter(|_| is_in_tree && !args.is_narrowed() && gaps.is_empty());
    let totals = tally.totals(&last.sums, of_all);
    let (account, about, sums) = (last.account, args.about(), last.sums);
    let found = Statement { account, about, before, lines, gaps, sums, totals, tally };
    let is_wrong = found.totals.agrees == Some(false);
    let output = shown(args, &found)?;
    Ok(if is_wrong { output.failed() } else { output })
}

/// Whether somebody reads on: a reader that went away is not our failure.
fn print(text: &str) -> bool {
    std::io::stdout().lock().write_all(text.as_bytes()).is_ok()
}

fn shown(args: &StatementArgs, found: &Statement) -> Result<Output> {
    if args.csv {
        for gap in &found.gaps {
            eprintln!("epoch {} is not in it: {}", gap.epoch, gap.reason);
        }
        if found.totals.agrees == Some(false) {
            eprintln!("{}", agreement(found));
        }
        return Ok(Output::new("", &json!({})).silent());
    }
    let Some(file) = &args.html else { return Ok(Output::new(text(found), found)) };
    write_atomic(file, page(found).as_bytes())
        .with_context(|| format!("the page cannot be written to {}", file.display()))?;
    Ok(Output::new(format!("the page is in {}", file.display()), found))
}

/// Shows how far it is; nothing without a terminal.
fn progress() -> ProgressBar {
    if !std::io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let bar = ProgressBar::new_spinner();
    let style = ProgressStyle::with_template("{spinner} {elapsed:>4} {msg}");
    bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_spinner()));
    bar.enable_steady_tick(std::time::Duration::from_millis(120));
    bar
}
