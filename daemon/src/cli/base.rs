//! `openledger model import`, `bases` and `ask`: base models on this machine.

use std::fmt::Write as _;
use std::io::{IsTerminal, Write as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Result, bail};
use clap::Args;
use compute::formats::import::{Options, Progress};
use compute::formats::{Base, Detokenizer, Message, Tokenizer};
use compute::serve::Sampling;
use compute::serve::batch::QuantisedDecoder;
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::{Value, json};

use crate::bases::{self, Bases, Found, short, title};
use crate::clean;
use crate::config::ByteSize;
use crate::output::Output;

#[derive(Debug, Args)]
pub(super) struct ImportArgs {
    /// A GGUF file, or a Hugging Face folder with `config.json`, `tokenizer.json` and safetensors, of the Llama
    /// family
    path: PathBuf,
    /// What to call it, where not as its file does
    #[arg(long)]
    name: Option<String>,
    /// Most tokens that it reads at once; more need more memory
    #[arg(long, default_value_t = Options::default().context)]
    context: u32,
}

#[derive(Debug, Args)]
pub(super) struct AskArgs {
    /// The start of the base's name or of its hash, as `openledger model bases` lists it
    base: String,
    /// What to ask
    text: String,
    /// What it is told before
    #[arg(long)]
    system: Option<String>,
    /// Go on from the text, instead of answering it
    #[arg(long, conflicts_with = "system")]
    go_on: bool,
    /// Most tokens to generate
    #[arg(long, default_value_t = 256)]
    max_tokens: u32,
    /// How freely tokens are drawn: 0 takes the likeliest each time
    #[arg(long, default_value_t = 0.2)]
    temperature: f64,
    /// Draw among this many likeliest tokens; 0 among all
    #[arg(long, default_value_t = 40)]
    top_k: u32,
    /// Seed of the draws
    #[arg(long, default_value_t = 1)]
    seed: u64,
}

/// Imports a base model.
pub(super) async fn import(dir: &Path, args: ImportArgs) -> Result<Output> {
    let bases = Bases::of_dir(dir);
    let work = move || {
        let bar = bar();
        let ImportArgs { path, name, context } = args;
        let unnamed = path.file_stem().map(|stem| stem.to_string_lossy().into_owned());
        let mut progress = |Progress { done, total }| {
            bar.set_length(total as u64);
            bar.set_position(done as u64);
        };
        let imported = bases::import(&path, &Options { context, name, unnamed }, &mut progress)?;
        bar.finish_and_clear();
        let is_new = bases.add(&imported)?;
        let found = Found { card: imported.card, bytes: imported.checkpoint.len() as u64 };
        anyhow::Ok((found, is_new))
    };
    let (found, is_new) = tokio::task::spawn_blocking(work).await??;
    let what = if is_new { "imported" } else { "here already" };
    let next = format!("ask it with `openledger model ask {} TEXT`", short(&found.card));
    let text = format!("{}\nNext: {next}", described(&found, what));
    let mut all = as_json(&found);
    all["is_new"] = Value::Bool(is_new);
    Ok(Output::new(text, &all))
}

/// Lists the base models of this machine.
pub(super) fn list(dir: &Path) -> Result<Output> {
    let all = Bases::of_dir(dir).all()?;
    let lines: Vec<_> = all.iter().map(|found| described(found, "here")).collect();
    let none = "no base model yet; import one with `openledger model import PATH`";
    let text = if lines.is_empty() { none.to_owned() } else { lines.join("\n") };
    Ok(Output::new(text, &all.iter().map(as_json).collect::<Vec<_>>()))
}

/// Asks a base model, and shows the answer as it comes.
pub(super) async fn ask(dir: &Path, args: AskArgs, is_json: bool) -> Result<Output> {
    let bases = Bases::of_dir(dir);
    tokio::task::spawn_blocking(move || {
        let found = bases.find(&args.base)?;
        let base = bases.load(&found.card)?;
        answer(&base, &args, is_json)
    })
    .await?
}

fn answer(base: &Base, args: &AskArgs, is_json: bool) -> Result<Output> {
    let prompt = prompt(base, args)?;
    let context = base.checkpoint().config().context;
    let room = usize::try_from(context)?.saturating_sub(prompt.len());
    if room == 0 {
        bail!(
            "what you ask has {} tokens, and {} reads {context} at once; import it again with a larger --context, \
             or ask less",
            prompt.len(),
            title(base.card())
        );
    }
    let tokens = args.max_tokens.min(u32::try_from(room)?);
    let sampling = Sampling {
        tokens,
        temperature_ppm: ppm(args.temperature)?,
        top: args.top_k,
        top_p_ppm: Sampling::ALL,
        seed: args.seed,
    };
    let decoder = Arc::new(QuantisedDecoder::load(base.checkpoint(), None)?);
    let mut said = Said {
        tokenizer: base.tokenizer(),
        characters: Detokenizer::default(),
        text: String::new(),
        is_silent: is_json,
    };
    if args.go_on {
        said.show(&args.text);
    }
    let ends = base.card().ends.as_slice();
    let mut is_ended = false;
    let output = decoder.generate_while(&prompt, &sampling, &mut |token| {
        is_ended = ends.contains(&token);
        if !is_ended {
            said.token(token);
        }
        !is_ended
    })?;
    let text = said.end();
    let all = json!({
        "base": base.card().name,
        "checkpoint": base.card().checkpoint,
        "text": text,
        "tokens_in": prompt.len(),
        "tokens_out": output.len(),
        "finish_reason": if is_ended { "stop" } else { "length" },
    });
    let output = Output::new("", &all);
    Ok(if is_json { output } else { output.silent() })
}

fn prompt(base: &Base, args: &AskArgs) -> Result<Vec<u32>> {
    if args.go_on || base.card().template.is_none() {
        return Ok(base.text(&args.text)?);
    }
    let message =
        |role: &str, content: &String| Message { role: role.to_owned(), content: content.clone() };
    let system = args.system.as_ref().map(|text| message("system", text));
    let messages: Vec<_> = system.into_iter().chain([message("user", &args.text)]).collect();
    Ok(base.chat(&messages)?)
}

/// A temperature in millionths.
fn ppm(temperature: f64) -> Result<u32> {
    if !(0.0..=2.0).contains(&temperature) {
        bail!("a temperature of {temperature} is none; it is between 0 and 2");
    }
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
    Ok((temperature * 1e6).round() as u32)
}

/// An answer on its way to the terminal.
struct Said<'a> {
    tokenizer: &'a Tokenizer,
    characters: Detokenizer,
    text: String,
    is_silent: bool,
}

impl Said<'_> {
    fn token(&mut self, token: u32) {
        let more = self.characters.push(&self.tokenizer.token_bytes(token));
        self.more(&more);
    }

    /// The whole text, shown with the line's end.
    fn end(mut self) -> String {
        let rest = self.characters.rest();
        self.more(&rest);
        self.show("\n");
        self.text
    }

    fn more(&mut self, text: &str) {
        self.show(text);
        self.text.push_str(text);
    }

    fn show(&self, text: &str) {
        if !self.is_silent {
            let mut out = std::io::stdout().lock();
            // A reader that went away is not our failure.
            let _ = out.write_all(clean::plain(text).as_bytes()).and_then(|()| out.flush());
        }
    }
}

fn bar() -> ProgressBar {
    if !std::io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let style =
        ProgressStyle::with_template("{spinner} {elapsed:>5} tensor {pos} of {len} {wide_bar}");
    ProgressBar::no_length().with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()))
}

fn described(found: &Found, what: &str) -> String {
    let card = &found.card;
    let mut text = format!("{} is {what}: {} of weights", title(card), ByteSize(found.bytes));
    let source = (clean::line(&card.source.weights), clean::line(&card.source.format));
    let _ = write!(text, ", from {} in {}", source.0, source.1);
    let licence =
        card.licence.as_deref().map_or_else(|| "no licence named".to_owned(), clean::line);
    let _ = write!(text, "; licence: {licence}");
    if let Some(origin) = &card.origin {
        let _ = write!(text, "; origin: {}", clean::line(origin));
    }
    text
}

fn as_json(found: &Found) -> Value {
    let card = &found.card;
    json!({
        "name": card.name,
        "checkpoint": card.checkpoint,
        "tokenizer": card.tokenizer,
        "bytes": found.bytes,
        "licence": card.licence,
        "origin": card.origin,
        "source": card.source,
        "answers": card.template.is_some(),
    })
}
