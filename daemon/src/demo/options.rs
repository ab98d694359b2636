//! The options of the demo.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;

use super::crash::Crash;

/// Options of the demo.
#[derive(Debug, Args)]
pub struct DemoArgs {
    /// Draws the dishonest node, the prompts and the initial weights
    #[arg(long, default_value_t = 1)]
    pub(super) seed: u64,
    /// A folder with one sub-folder of .txt or .md files for each contributor
    #[arg(long, value_name = "DIR")]
    pub(super) data: Option<PathBuf>,
    /// Train an adapter of this model of others: a GGUF file or a Hugging Face folder. Real ones take long, and
    /// want blocks of many seconds (`--block-ms`)
    #[arg(long, value_name = "PATH")]
    pub(super) base: Option<PathBuf>,
    /// Use this chain, like one of `anvil --block-time 1`, instead of the embedded one
    #[arg(long, value_name = "URL")]
    pub(super) rpc_url: Option<String>,
    /// Leave the chain and the nodes running at the end, until Ctrl-C
    #[arg(long)]
    pub(super) keep: bool,
    /// Run without the dishonest node
    #[arg(long)]
    pub(super) honest: bool,
    /// Little text and little training: for tests
    #[arg(long, hide = true)]
    pub(super) small: bool,
    /// Kill nodes and start them again: NODE@PHASE, with publish, train, offer or settle
    #[arg(long, hide = true, value_name = "NODE@PHASE", value_delimiter = ',')]
    pub(super) kill: Vec<Crash>,
    /// Milliseconds between the blocks of the embedded chain
    #[arg(long, default_value_t = 1_000)]
    pub(super) block_ms: u64,
    /// Rounds of training, where not as many as the demo mostly has
    #[arg(long)]
    pub(super) rounds: Option<u32>,
    /// Optimiser steps of a shard, where not as many as the demo mostly has
    #[arg(long)]
    pub(super) steps: Option<u32>,
}

impl DemoArgs {
    /// The time between two blocks of the embedded chain.
    pub(super) const fn block(&self) -> Duration {
        Duration::from_millis(self.block_ms)
    }

    /// How much is trained and asked.
    pub(super) fn workload(&self) -> Workload {
        let (rounds, steps, prompts) =
            if self.small { (Some(2), Some(8), 1) } else { (None, None, 3) };
        Workload { rounds: self.rounds.or(rounds), steps: self.steps.or(steps), prompts }
    }

    /// How long a step may take: with a real model a round alone takes longer than all of the demo without.
    pub(super) const fn patience(&self) -> Duration {
        if self.base.is_some() { Duration::from_secs(7_200) } else { Duration::from_secs(600) }
    }
}

/// How much is trained and asked.
#[derive(Debug, Clone, Copy)]
pub(super) struct Workload {
    /// Training rounds; the preset's number if none is given.
    pub(super) rounds: Option<u32>,
    /// Optimiser steps of a shard; the preset's number if none is given.
    pub(super) steps: Option<u32>,
    /// Prompts of each contributor's held-out text.
    pub(super) prompts: usize,
}
