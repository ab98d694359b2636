//! `openledger rewards` and `openledger claim`.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use anyhow::Result;
use clap::Args;
use protocol::{AccountId, Amount};

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

pub(super) async fn rewards(client: &Client, args: &AccountArgs) -> Result<Output> {
    let path = match args.account {
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
    for line in lines {
        let total = totals.entry(line.source.as_str()).or_default();
        *total = total.saturating_add(line.amount);
        let (epoch, source) = (line.epoch, &line.source);
        let amount = match &line.reason {
            Some(reason) => format!("0: {reason}"),
            None => amount_in_open(line.amount),
        };
        writeln!(text, "epoch {epoch:<4} {source:<12} {amount:<24} {}", line.record)?;
    }
    for (source, total) in totals {
        writeln!(text, "total      {source:<12} {}", amount_in_open(total))?;
    }
    Ok(text)
}

pub(super) async fn claim(client: &Client, args: &AccountArgs) -> Result<Output> {
    let claim = Claim { account: args.account.map(AccountId) };
    let claimed: Claimed = client.post("/claims", &claim).await?;
    let text = match &claimed.transaction {
        Some(report) => {
            format!(
                "paid account {} in block {} ({} gas)",
                claimed.account, report.block, report.gas
            )
        }
        None => format!("account {} has nothing to claim", claimed.account),
    };
    Ok(Output::new(text, &claimed))
}
