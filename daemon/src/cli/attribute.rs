//! `openledger attribute`: where an answer, or a given text, comes from.

use std::io::IsTerminal;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};
use clap::Args;
use indicatif::{ProgressBar, ProgressStyle};
use storage::durable::write_atomic;

use crate::api::Client;
use crate::api::types::{AttributeRequest, AttributionReport};
use crate::output::Output;
use crate::report::{Paint, page, text};

/// Units that the page shows with their text.
const PAGE_UNITS: u32 = 12;
/// Units that the terminal shows with their text.
const TERMINAL_UNITS: u32 = 5;

#[derive(Debug, Args)]
pub(super) struct AttributeArgs {
    /// Number of the model, as `openledger model ls` lists it
    #[arg(long)]
    model: u64,
    /// Text that the model goes on from
    #[arg(long)]
    prompt: String,
    /// A text to attribute, instead of what the model would write after the prompt
    #[arg(long, value_name = "TEXT", conflicts_with_all = ["max_tokens", "seed"])]
    output: Option<String>,
    /// Tokens to generate
    #[arg(long, default_value_t = 48)]
    max_tokens: u32,
    /// Seed of the draws
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Units to show, besides those that own a span [default: 5, on the page 12]
    #[arg(long, value_name = "N")]
    units: Option<u32>,
    /// Write a page that needs nothing but a browser
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,
}

pub(super) async fn attribute(dir: &Path, args: AttributeArgs, json: bool) -> Result<Output> {
    let client = Client::of_dir(dir)?;
    let default = if args.html.is_some() { PAGE_UNITS } else { TERMINAL_UNITS };
    let in_terminal = args.units.unwrap_or(TERMINAL_UNITS) as usize;
    let request = AttributeRequest {
        prompt: args.prompt,
        output: args.output,
        max_tokens: args.max_tokens,
        seed: args.seed,
        units: args.units.unwrap_or(default),
        is_full: json,
    };
    let what = match request.output {
        Some(_) => "attributing the text",
        None => "answering and attributing",
    };
    let spinner = spinner(what);
    let path = format!("/models/{}/attribute", args.model);
    let answer = client.post(&path, &request).await;
    spinner.finish_and_clear();
    let report: AttributionReport = answer?;
    let mut shown = text(&report, Paint::of_stdout(), in_terminal);
    if let Some(file) = &args.html {
        write_atomic(file, page(&report).as_bytes())
            .with_context(|| format!("the page cannot be written to {}", file.display()))?;
        shown.push_str(&format!("\nThe page is in {}\n", file.display()));
    }
    Ok(Output::new(shown, &report))
}

/// Turns while the node computes; nothing without a terminal.
fn spinner(what: &'static str) -> ProgressBar {
    if !std::io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let bar = ProgressBar::new_spinner();
    let style = ProgressStyle::with_template("{spinner} {elapsed:>4} {msg}");
    bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_spinner()));
    bar.set_message(format!("{what}; the first time takes longer"));
    bar.enable_steady_tick(Duration::from_millis(120));
    bar
}
