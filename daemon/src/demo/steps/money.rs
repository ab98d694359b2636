//! Waiting for settlements, claiming, and checking that every coin is accounted for.

use std::process::Stdio;

use anyhow::{Context, Result};
use protocol::chain::ChainView;
use protocol::{AccountId, Amount, Epoch, EvmAddress};
use tokio::process::Command;

use crate::api::types::{Claim, Claimed, RewardLine, Ticket};
use crate::demo::cluster::NODES;
use crate::demo::participants::Accounts;
use crate::demo::report::{Books, Payout, Totals, finals};
use crate::demo::world::World;

/// Epochs whose replicas must be proven and settled.
const PROVEN_EPOCHS: usize = 2;

/// Waits until the epoch of the last redemption is final, and enough epochs had proofs.
pub(in crate::demo) async fn settle(world: &mut World<'_>, inferences: usize) -> Result<Epoch> {
    let payer = world.people.consumer.address();
    let mut wait = world.wait_for("settlement");
    loop {
        world.workspace.cluster.statuses().await?;
        let chain = world.reader.catch_up().await?;
        let proven = finals(chain).filter(|s| s.settlement.replicas_proven > 0).count();
        let last_use = (0..=chain.epoch().0)
            .map(Epoch)
            .rfind(|epoch| chain.redemptions(*epoch).any(|r| r.payer == payer));
        let next = chain.next_to_settle();
        let text = format!(
            "settlement: the chain is in epoch {}, epoch {next} is the next to be settled, and \
             {proven} settled epochs have storage proofs",
            chain.epoch()
        );
        if let Some(epoch) = last_use
            // A fee is settled with its output, which may be of the epoch after its redemption.
            && epoch.next() < next
            && proven >= PROVEN_EPOCHS
            && is_paid_up(chain, payer, inferences)
        {
            let last = Epoch(next.0.saturating_sub(1));
            world.progress.line(format!("epoch {last} is final"));
            return Ok(last);
        }
        world.pause(&mut wait, &text).await?;
    }
}

/// Whether everything that the consumer promised was redeemed.
fn is_paid_up(chain: &ChainView, payer: EvmAddress, inferences: usize) -> bool {
    let redeemed = (0..=chain.epoch().0)
        .flat_map(|epoch| chain.redemptions(Epoch(epoch)).filter(|r| r.payer == payer))
        .count();
    redeemed > 0 && redeemed <= inferences
}

/// Claims for everybody, as anyone may.
pub(in crate::demo) async fn claim(world: &World<'_>, accounts: &Accounts) -> Result<()> {
    let client = world.server()?;
    for payee in world.payees(accounts) {
        let account: AccountId = payee.account;
        let claim = Claim { account: Some(account) };
        // A node that claims for itself may come first; the books below say what was paid.
        match client.post::<_, Claimed>("/claims", &claim).await {
            Ok(_) => {}
            Err(error) => tracing::info!(%account, %error, "not claimed"),
        }
    }
    world.progress.line("everybody's rewards are claimed");
    Ok(())
}

/// Reads the books over RPC until nothing moves between two readings.
pub(in crate::demo) async fn balance(world: &mut World<'_>, accounts: &Accounts) -> Result<Books> {
    let mut wait = world.wait_for("the books");
    loop {
        let before = world.reader.client().vault().await?;
        let held = world.reader.client().balance(world.network.deployment.vault).await?;
        let mut received = Amount::ZERO;
        let payees = world.payees(accounts);
        for payee in &payees {
            let balance = world.reader.client().balance(payee.payout).await?;
            received = received.saturating_add(balance);
        }
        let after = world.reader.client().vault().await?;
        let chain = world.reader.catch_up().await?;
        let total = chain.last_final().map_or(Amount::ZERO, |state| state.settlement.total);
        if before == after {
            let pending = total.saturating_sub(before.paid);
            let vault = held.saturating_sub(pending);
            let sum = |a: Amount, b: Amount| a.saturating_add(b);
            // What newcomers earned went to their stakes.
            let staked = payees.iter().map(|payee| chain.claimed(payee.account).lane);
            let staked = staked.fold(Amount::ZERO, sum);
            let is_whole = sum(before.funded, before.redeemed)
                == sum(vault, sum(before.paid, pending))
                && before.paid <= total
                && pending <= held;
            let is_received = sum(received, staked) == sum(world.held_before, before.paid);
            return Ok(Books {
                funded: before.funded,
                redeemed: before.redeemed,
                vault,
                paid: before.paid,
                pending,
                conserved: is_whole && is_received,
            });
        }
        world.pause(&mut wait, "the books to be still").await?;
    }
}

/// Proofs and faults as the final settlements on chain say them.
pub(in crate::demo) fn totals(world: &World<'_>) -> Totals {
    let mut totals = Totals::default();
    for state in finals(world.reader.view()) {
        totals.replicas_proven += state.settlement.replicas_proven;
        totals.storage_faults_caught += state.settlement.storage_faults;
        totals.shards_verified += state.settlement.shards_verified;
        totals.shards_rejected += state.settlement.shards_rejected;
    }
    totals
}

/// What everybody earned, and for what.
pub(in crate::demo) async fn statement(
    world: &World<'_>,
    accounts: &Accounts,
) -> Result<Vec<Payout>> {
    let client = world.server()?;
    let mut payouts = Vec::new();
    for payee in world.payees(accounts) {
        let path = format!("/rewards?account={}", payee.account);
        let lines: Vec<RewardLine> = client.get(&path).await?;
        payouts.push(Payout::new(payee.account, payee.role, payee.name, &lines));
    }
    Ok(payouts)
}

/// Lets another process, with an empty directory, recompute the last root from the chain.
pub(in crate::demo) async fn verify(world: &World<'_>, epoch: Epoch) -> Result<bool> {
    let member = &world.members()[(world.server + 1) % NODES];
    let Ticket { ticket } = member.client()?.get("/ticket").await?;
    let program = std::env::current_exe().context("this program cannot be found again")?;
    let output = Command::new(program)
        .args(["verify", "epoch", &epoch.to_string(), "--json", "--ticket", &ticket])
        .args(["--rpc-url", &world.network.rpc_url, "--dir"])
        .arg(world.workspace.dir().join("verifier"))
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output()
        .await
        .context("the verifier cannot be started")?;
    let said = String::from_utf8_lossy(&output.stdout);
    let answer: serde_json::Value =
        said.lines().last().and_then(|line| serde_json::from_str(line).ok()).unwrap_or_default();
    let chain = world.reader.view();
    let expected = chain.settlement(epoch).map(|s| s.settlement.payout_root.to_string());
    let root = answer["settlement"]["payout_root"].as_str().map(str::to_owned);
    let is_verified = output.status.success() && answer["verified"] == true && root == expected;
    if is_verified {
        world.progress.line(format!("another process verified epoch {epoch} from the chain"));
    } else {
        world.progress.line(format!("epoch {epoch} was not verified: {}", said.trim()));
    }
    Ok(is_verified)
}
