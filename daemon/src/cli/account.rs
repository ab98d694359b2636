//! `openledger rewards` and `openledger claim`.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use anyhow::Result;
use clap::{Args, Subcommand};
use protocol::{AccountId, Amount};

use super::statement::{StatementArgs, statement};
use crate::api::Client;
use crate::api::types::{Claim, Claimed, RewardLine};
use crate::output::Output;
use crate::words::amount_in_open;

#[derive(Debug, Args)]
pub(super) struct AccountArgs {
    /// The account; this node's own by default
    #[arg(long)]
    account: Option<u64>,
}

#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(super) struct RewardsArgs {
    #[command(flatten)]
    of: AccountArgs,
    #[command(subcommand)]
    command: Option<RewardsCommand>,
}

#[derive(Debug, Subcommand)]
enum RewardsCommand {
    /// What was paid, is claimable or pending, by which record, and why something earned nothing
    Statement(Box<StatementArgs>),
}

pub(super) async fn rewards(client: &Client, args: &RewardsArgs, json: bool) -> Result<Output> {
    if let Some(RewardsCommand::Statement(args)) = &args.command {
        return statement(client, args, json).await;
    }
    let path = match args.of.account {
        Some(account) => format!("/rewards?account={account}"),
        None => "/rewards".to_owned(),
    };
    let lines: Vec<RewardLine> = client.get(&path).await?;
    Ok(Output::new(describe(&lines)?, &lines))
}

fn describe(lines: &[RewardLine]) -> Result<String, std::fmt::Error> {
    if lines.is_empty() {
        return Ok("nothing yet: no final settlement names this account".to_owned());
    }
    let mut text = String::new();
    let mut totals = BTreeMap::<&str, Amount>::new();
    let mut lane = Amount::ZERO;
    for line in lines {
        if line.held {
            lane = lane.saturating_add(line.amount);
        }
        let total = totals.entry(line.source.as_str()).or_default();
        *total = total.saturating_add(line.amount);
        let (epoch, source) = (line.epoch, &line.source);
        let amount = match &line.reason {
            Some(reason) => format!("0: {reason}"),
            None if line.held => format!("{}, held", amount_in_open(line.amount)),
            None => amount_in_open(line.amount),
        };
        writeln!(text, "epoch {epoch:<4} {source:<12} {amount:<24} {}", line.record)?;
    }
    for (source, total) in totals {
        writeln!(text, "total      {source:<12} {}", amount_in_open(total))?;
    }
    if lane > Amount::ZERO {
        let lane = amount_in_open(lane);
        writeln!(
            text,
            "of it {lane} without the least stake that counts: it becomes this account's stake as soon as it, with what is staked, is that much (`openledger claim` says what is missing)"
        )?;
    }
    Ok(text)
}

pub(super) async fn claim(client: &Client, args: &AccountArgs) -> Result<Output> {
    let claim = Claim { account: args.account.map(AccountId) };
    let claimed: Claimed = client.post("/claims", &claim).await?;
    Ok(Output::new(told(&claimed), &claimed))
}

fn told(claimed: &Claimed) -> String {
    let account = claimed.account;
    let mut text = match &claimed.transaction {
        Some(report) => {
            let (paid, staked) = (amount_in_open(claimed.paid), amount_in_open(claimed.staked));
            let (block, gas) = (report.block, report.gas);
            let staked = match claimed.staked {
                Amount::ZERO => String::new(),
                _ => format!(", and {staked} became its stake"),
            };
            format!("paid {paid} to account {account} in block {block} ({gas} gas){staked}")
        }
        None => format!("account {account} has nothing to claim"),
    };
    if claimed.held > Amount::ZERO {
        let (held, missing) = (amount_in_open(claimed.held), amount_in_open(claimed.missing));
        let _ = write!(text, "\n{}", held_until(&held, &missing));
    }
    text
}

/// What is held, and what frees it.
pub(super) fn held_until(held: &str, missing: &str) -> String {
    format!(
        "{held} is held: it was earned without the least stake that counts, and becomes the account's \
         stake once {missing} more is earned so or staked"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_claim_says_what_is_held_and_what_frees_it() {
        let open = |n: u128| Amount(n * Amount::ONE_OPEN.0);
        let mut claimed = Claimed {
            account: AccountId(4),
            transaction: None,
            paid: Amount::ZERO,
            staked: Amount::ZERO,
            held: open(300),
            missing: open(700),
        };
        let text = told(&claimed);
        assert!(text.starts_with("account 4 has nothing to claim\n300"), "{text}");
        assert!(text.contains("once 700 OPEN more is earned so or staked"), "{text}");
        (claimed.held, claimed.missing) = (Amount::ZERO, Amount::ZERO);
        assert_eq!(told(&claimed), "account 4 has nothing to claim");
    }
}
