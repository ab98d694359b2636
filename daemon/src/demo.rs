//! `openledger demo`: the whole loop on one machine, with nothing simulated.
//!
//! A chain in this process, five nodes in processes of their own, real QUIC between them, real text.
//! One node, drawn by the seed, is dishonest unless `--honest`. Nothing outlives this process.

mod cast;
mod cluster;
mod crash;
mod progress;
mod report;
mod stage;
mod story;
mod texts;

use std::path::PathBuf;

use anyhow::Result;
use clap::Args;

use self::crash::Crash;
use self::progress::Progress;
use self::report::Report;
use self::stage::Stage;
use self::story::Story;
use crate::cli::Output;
use crate::cli::signals::interrupted;

/// Options of the demo.
#[derive(Debug, Args)]
pub struct DemoArgs {
    /// Draws the dishonest node, the prompts and the initial weights
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// A folder with one sub-folder of .txt or .md files for each contributor
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// Another chain, like one of `anvil --block-time 1`, instead of the embedded one
    #[arg(long, value_name = "URL")]
    rpc_url: Option<String>,
    /// Leave chain and nodes running at the end, until Ctrl-C
    #[arg(long)]
    keep: bool,
    /// Without the dishonest node
    #[arg(long)]
    honest: bool,
    /// Little text and little training: for tests
    #[arg(long, hide = true)]
    small: bool,
    /// Kill nodes and start them again: NODE@PHASE, with publish, train, offer or settle
    #[arg(long, hide = true, value_name = "NODE@PHASE", value_delimiter = ',')]
    kill: Vec<Crash>,
    /// Milliseconds between the blocks of the embedded chain
    #[arg(long, hide = true, default_value_t = 1_000)]
    block_ms: u64,
}

pub(crate) async fn demo(args: DemoArgs, json: bool) -> Result<Output> {
    let progress = Progress::new();
    let mut stage = Stage::set(args.keep)?;
    let told = tokio::select! {
        told = tell(&args, &progress, &mut stage) => told,
        () = interrupted() => Err(anyhow::anyhow!("stopped")),
    };
    progress.finish();
    let output = match told {
        Ok(report) => Ok(Output::new(report.text()?, &report)),
        Err(error) => Err(error),
    };
    if args.keep && output.is_ok() {
        if let Ok(output) = &output {
            output.print(json);
        }
        explain(&stage);
        interrupted().await;
        stage.strike().await;
        return Ok(Output::new("", &serde_json::Value::Null).silent());
    }
    stage.strike().await;
    output
}

async fn tell(args: &DemoArgs, progress: &Progress, stage: &mut Stage) -> Result<Report> {
    let story = Box::pin(Story::begin(args, progress, stage)).await?;
    Box::pin(story.tell()).await
}

/// How a person goes on with what was kept.
fn explain(stage: &Stage) {
    let Some(first) = stage.cluster.members.iter().find(|member| !member.is_cheat) else { return };
    let (dir, consumer) = (first.dir.display(), stage.dir().join("consumer"));
    let program = std::env::current_exe().unwrap_or_else(|_| PathBuf::from("openledger"));
    let program = format!("{} --dir {dir}", program.display());
    eprintln!(
        "\nChain and nodes go on until Ctrl-C. In another terminal:\n\
         \x20 {program} status\n\
         \x20 {program} datanet add 1 FOLDER\n\
         \x20 {program} infer 1 \"In the beginning\" --payer {}\n\
         \x20 {program} rewards\n\
         \x20 {program} claim\n\
         Everything is in {}; remove it when you are done.",
        consumer.display(),
        stage.dir().display()
    );
}
