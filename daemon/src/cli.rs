//! The command line.
//!
//! Commands speak to the running node of a data directory through its API; `init`, `node run`,
//! `deposit`, `wallet`, `verify`, `devchain`, `demo`, `serve` and what is about base models stand alone. With `--json` the last line of the output is one JSON
//! value, errors included. Exit codes: 0 done, 1 failed, 2 wrong usage.

mod account;
mod adapter;
mod attribute;
mod base;
mod data;
mod deposit;
mod devchain;
mod export;
mod init;
mod model;
mod rule;
mod run;
mod serve;
mod statement;
mod status;
mod train;
mod verify;
mod wallet;

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::Result;
use clap::{Parser, Subcommand};

use crate::api::Client;
use crate::output::{Output, print_error};

/// openledger: data, proofs and payable models, at home.
#[derive(Debug, Parser)]
#[command(name = "openledger", version, propagate_version = true)]
struct Cli {
    /// The data directory of the node
    #[arg(long, global = true, env = "OPENLEDGER_DIR", default_value_os_t = default_dir())]
    dir: PathBuf,
    /// Print one JSON value on the last line
    #[arg(long, global = true)]
    json: bool,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Make keys, configuration and network file in an empty data directory
    Init(init::InitArgs),
    /// Run the node
    #[command(subcommand)]
    Node(NodeCommand),
    /// Show the node's state: account, storage, training, earnings, and the ticket to join through it
    Status,
    /// Create, fill and list Datanets
    #[command(subcommand)]
    Datanet(data::DatanetCommand),
    /// Keep a local copy of a pack, unpaid
    Pin(data::PinArgs),
    /// Order, offer and list models; import base models
    #[command(subcommand)]
    Model(model::ModelCommand),
    /// Serve the base models of this machine to OpenAI's clients, and manage the keys with which they ask
    Serve(Box<serve::ServeArgs>),
    /// Use a model, paying with a signed receipt
    Infer(model::InferArgs),
    /// Put OPEN down for who serves models, and get back what is left of it
    #[command(subcommand)]
    Deposit(deposit::DepositCommand),
    /// Show what lies in escrow, what was promised of it and what keys may spend; take it back
    Wallet(wallet::WalletArgs),
    /// Show which data an answer, or any text, comes from; free of charge where this node holds the model
    Attribute(attribute::AttributeArgs),
    /// Show what an account earned, and why some of its work earned nothing
    Rewards(account::RewardsArgs),
    /// Claim what final settlements owe an account
    Claim(account::AccountArgs),
    /// Recompute what the network published
    #[command(subcommand)]
    Verify(verify::VerifyCommand),
    /// Rule on the objection to a settlement, as the arbiter
    Rule(Box<rule::RuleArgs>),
    /// Run a development chain on this machine, with the contracts deployed
    Devchain(devchain::DevchainArgs),
    /// Run a whole network on this machine: five nodes, three contributors, one model
    Demo(crate::demo::DemoArgs),
}

#[derive(Debug, Subcommand)]
enum NodeCommand {
    /// Run in the foreground until Ctrl-C or SIGTERM
    Run(Box<run::RunArgs>),
    /// Run a dishonest node, for the demo: it deletes a pack that it claims, and trains on other data
    #[command(hide = true)]
    Sabotage(Box<run::RunArgs>),
}

fn default_dir() -> PathBuf {
    let home = std::env::var_os("HOME").or_else(|| std::env::var_os("USERPROFILE"));
    home.map(PathBuf::from).unwrap_or_default().join(".openledger")
}

/// Parses the arguments of the process, does what they say, and tells how it went.
pub fn main() -> ExitCode {
    keep_files_private();
    let cli = Cli::parse();
    let json = cli.json;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    let result = match runtime {
        Ok(runtime) => {
            let result = runtime.block_on(Box::pin(dispatch(cli)));
            // Blocking work of a node that was told to stop is not waited for.
            runtime.shutdown_background();
            result
        }
        Err(error) => Err(error.into()),
    };
    match result {
        Ok(output) => {
            output.print(json);
            output.code()
        }
        Err(error) => {
            print_error(&error, json);
            ExitCode::FAILURE
        }
    }
}

/// What this process creates is its owner's alone, the files of its databases included.
fn keep_files_private() {
    #[cfg(unix)]
    rustix::process::umask(rustix::fs::Mode::RWXG | rustix::fs::Mode::RWXO);
}

async fn dispatch(cli: Cli) -> Result<Output> {
    let dir = cli.dir;
    match cli.command {
        Command::Init(args) => init::init(&dir, &args),
        Command::Node(NodeCommand::Run(args)) => {
            run::run(&dir, *args, |worker| Arc::new(worker)).await
        }
        Command::Node(NodeCommand::Sabotage(args)) => {
            run::run(&dir, *args, crate::demo::sabotage).await
        }
        Command::Status => status::status(&Client::of_dir(&dir)?).await,
        Command::Datanet(command) => data::datanet(&Client::of_dir(&dir)?, command).await,
        Command::Pin(args) => data::pin(&Client::of_dir(&dir)?, &args).await,
        Command::Model(command) => model::model(&dir, command, cli.json).await,
        Command::Serve(args) => serve::serve(&dir, *args, cli.json).await,
        Command::Infer(args) => model::infer(&dir, &args).await,
        Command::Deposit(command) => deposit::deposit(&dir, command).await,
        Command::Wallet(args) => wallet::wallet(&dir, args).await,
        Command::Attribute(args) => attribute::attribute(&dir, args, cli.json).await,
        Command::Rewards(args) => account::rewards(&Client::of_dir(&dir)?, &args, cli.json).await,
        Command::Claim(args) => account::claim(&Client::of_dir(&dir)?, &args).await,
        Command::Verify(command) => verify::verify(&dir, command).await,
        Command::Rule(args) => rule::rule(&dir, *args).await,
        Command::Devchain(args) => devchain::devchain(&dir, args).await,
        Command::Demo(args) => crate::demo::demo(args, cli.json).await,
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }
}
