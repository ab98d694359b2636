//! `openledger demo`: the whole loop on one machine, with nothing simulated.
//!
//! A chain in this process, five nodes in processes of their own, real QUIC between them, real text.
//! One node, drawn by the seed, is dishonest unless `--honest`. Nothing outlives this process.

mod cluster;
mod crash;
mod options;
mod participants;
mod progress;
mod report;
mod sabotage;
mod scenario;
mod steps;
mod texts;
mod workspace;
mod world;

use std::path::PathBuf;

use anyhow::Result;

pub use self::options::DemoArgs;
use self::progress::Progress;
pub(crate) use self::sabotage::sabotage;
pub use self::sabotage::start_dishonest_node;
use self::workspace::Workspace;
use crate::output::Output;
use crate::signals::interrupted;

/// Runs the demo; nothing outlives it unless it is asked to keep everything.
pub(crate) async fn demo(args: DemoArgs, json: bool) -> Result<Output> {
    let progress = Progress::new();
    let mut workspace = Workspace::create(args.keep)?;
    let reported = tokio::select! {
        reported = Box::pin(scenario::run(&args, &progress, &mut workspace)) => reported,
        () = interrupted() => Err(anyhow::anyhow!("stopped")),
    };
    progress.finish();
    let output = reported.and_then(|report| Ok(Output::new(report.text()?, &report)));
    if args.keep
        && let Ok(output) = &output
    {
        output.print(json);
        say_how_to_go_on(&workspace);
        interrupted().await;
        workspace.shut_down().await;
        return Ok(Output::new("", &serde_json::Value::Null).silent());
    }
    workspace.shut_down().await;
    output
}

/// How a person goes on with what was kept.
fn say_how_to_go_on(workspace: &Workspace) {
    let members = &workspace.cluster.members;
    let Some(first) = members.iter().find(|member| !member.is_cheat) else { return };
    let (dir, consumer) = (first.dir.display(), workspace.dir().join("consumer"));
    let program = std::env::current_exe().unwrap_or_else(|_| PathBuf::from("openledger"));
    let program = format!("{} --dir {dir}", program.display());
    eprintln!(
        "\nThe chain and the nodes keep running until Ctrl-C. In another terminal:\n\
         \x20 {program} status\n\
         \x20 {program} datanet add 1 FOLDER\n\
         \x20 {program} infer 1 \"In the beginning\" --payer {}\n\
         \x20 {program} rewards\n\
         \x20 {program} claim\n\
         Everything is in {}; remove it when you are done.",
        consumer.display(),
        workspace.dir().display()
    );
}
