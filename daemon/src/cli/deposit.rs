//! `openledger deposit`: what a consumer has locked for who serves it.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use clap::{Args, Subcommand};
use contracts_abi::{ChainClient, Deployment};
use protocol::chain::{Deposit, Transaction};
use protocol::{AccountId, Amount, BlockNumber, EvmAddress};
use serde_json::json;

use crate::keys::{NodeKeys, PassphraseSources};
use crate::network::NetworkFile;
use crate::output::Output;
use crate::words::amount_in_open;

#[derive(Debug, Subcommand)]
pub(super) enum DepositCommand {
    /// Lock more OPEN for an account that serves; a request to have the deposit back ends with that
    Add {
        #[command(flatten)]
        of: DepositArgs,
        /// How much, in the smallest unit of OPEN
        amount: u128,
    },
    /// Ask for what is left; until the request has expired, nothing is served on it
    Request(DepositArgs),
    /// Take what is left, in the blocks of the request
    Withdraw(DepositArgs),
    /// Show what is left, and when it may be taken
    Show(DepositArgs),
}

#[derive(Debug, Args)]
pub(super) struct DepositArgs {
    /// Number of the account that serves
    payee: u64,
    /// A data directory whose operator key pays; the node's own by default
    #[arg(long, value_name = "DIR")]
    payer: Option<PathBuf>,
    /// The contract that it is in, where that was replaced; the network's own by default
    #[arg(long, value_name = "ADDRESS")]
    escrow: Option<EvmAddress>,
}

pub(super) async fn deposit(dir: &Path, command: DepositCommand) -> Result<Output> {
    let (DepositCommand::Add { of, .. }
    | DepositCommand::Request(of)
    | DepositCommand::Withdraw(of)
    | DepositCommand::Show(of)) = &command;
    let payer = of.payer.as_deref().unwrap_or(dir);
    let payee = AccountId(of.payee);
    let keys = NodeKeys::open(payer, &PassphraseSources::from_env(None).find(payer)?)?;
    let network = NetworkFile::of_dir(dir)?;
    let deployment = network.deployment.clone();
    let escrow = escrow_of(of, &deployment)?;
    let chain = ChainClient::connect(&network.rpc_url, deployment, &keys.operator).await?;
    let before = chain.deposit_in(escrow, chain.address(), payee).await?;
    let transaction = match command {
        DepositCommand::Add { amount: 0, .. } => bail!("a deposit of nothing changes nothing"),
        DepositCommand::Add { .. } if escrow != network.deployment.escrow => {
            bail!("on what is in {escrow} nothing is served any more, so nothing is put in there")
        }
        DepositCommand::Add { amount, .. } => {
            Some(Transaction::Deposit { payee, amount: Amount(amount) })
        }
        DepositCommand::Request(_) if before.balance == Amount::ZERO => {
            bail!("nothing is left of the deposit for account {payee}")
        }
        DepositCommand::Request(_) => Some(Transaction::RequestWithdrawal { escrow, payee }),
        DepositCommand::Withdraw(_) => {
            check_window(&before, chain.head().await?.next())?;
            Some(Transaction::Withdraw { escrow, payee })
        }
        DepositCommand::Show(_) => None,
    };
    if let Some(transaction) = transaction {
        chain.submit(&transaction).await.context("the chain did not take it")?;
    }
    let deposit = chain.deposit_in(escrow, chain.address(), payee).await?;
    Ok(describe(&chain, payee, &deposit))
}

/// The contract that a command is about.
fn escrow_of(of: &DepositArgs, deployment: &Deployment) -> Result<EvmAddress> {
    let escrow = of.escrow.unwrap_or(deployment.escrow);
    if escrow != deployment.escrow && !deployment.replaced.escrows.contains(&escrow) {
        bail!("{escrow} is no escrow of this network");
    }
    Ok(escrow)
}

/// Whether a deposit may be taken in a block.
pub(super) fn check_window(deposit: &Deposit, block: BlockNumber) -> Result<()> {
    match deposit.withdrawal {
        None => bail!("nobody has asked for the deposit; `openledger deposit request` does"),
        Some((from, _)) if block < from => {
            bail!("the deposit may be taken from block {from} on, and the next is {block}")
        }
        Some((_, until)) if block > until => bail!(
            "the request for the deposit expired after block {until}; `openledger deposit request` \
             asks again"
        ),
        Some(_) => Ok(()),
    }
}

fn describe(chain: &ChainClient, payee: AccountId, deposit: &Deposit) -> Output {
    let mut text = format!(
        "{} left for account {payee}, {} paid so far",
        amount_in_open(deposit.balance),
        amount_in_open(deposit.redeemed)
    );
    if let Some((from, until)) = deposit.withdrawal {
        text.push_str(&format!("; it may be withdrawn in blocks {from} to {until}"));
    }
    let window = deposit.withdrawal.map(|(from, until)| json!({ "from": from, "until": until }));
    let json = json!({
        "payer": chain.address(),
        "payee": payee,
        "balance": deposit.balance,
        "redeemed": deposit.redeemed,
        "withdrawal": window,
    });
    Output::new(text, &json)
}
