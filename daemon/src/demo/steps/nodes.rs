//! Starting the nodes, and killing them on purpose.

use std::path::PathBuf;

use anyhow::{Context, Result};
use protocol::chain::Transaction;
use protocol::{AccountId, Amount, EvmAddress};

use crate::demo::cluster::{Member, NODES};
use crate::demo::crash::{Crash, Phase};
use crate::demo::participants::GAS;
use crate::demo::world::World;
use crate::devchain::whole;

/// Stake of each node.
const STAKE: Amount = whole(10_000);

/// Starts the nodes and waits until each is registered and staked; their accounts.
pub(in crate::demo) async fn start(world: &mut World<'_>) -> Result<Vec<AccountId>> {
    let mut prepared = Vec::new();
    for index in 0..NODES {
        let dir = world.workspace.dir().join(format!("node{}", index + 1));
        prepared.push((dir.clone(), Member::prepare(&dir, &world.network)?.operator_address()));
    }
    fund(world, prepared.iter().map(|(_, operator)| *operator)).await?;
    let mut bootstrap = Vec::new();
    for (index, (dir, operator)) in prepared.into_iter().enumerate() {
        let member = spawn(world, index, dir, operator, &bootstrap)?;
        world.workspace.cluster.members.push(member);
        if index == 0 {
            let first = &mut world.workspace.cluster.members[0];
            bootstrap = first.ready().await?.bootstrap;
        }
    }
    for member in &mut world.workspace.cluster.members {
        member.ready().await?;
    }
    let accounts = accounts(world).await?;
    stake(world, &accounts).await?;
    let pids: Vec<_> = world.members().iter().map(|member| member.pid.to_string()).collect();
    world.progress.line(format!("{NODES} nodes run as processes {}", pids.join(", ")));
    Ok(accounts)
}

/// Waits until the stake of every node counts: it has to stay for a whole epoch, and a run that is
/// ordered before has no slot for those whose stake does not.
pub(in crate::demo) async fn count(world: &mut World<'_>, nodes: &[AccountId]) -> Result<()> {
    let what = "the stake of the nodes to count";
    let mut wait = world.wait_for(what);
    loop {
        let chain = world.reader.catch_up().await?;
        let counting = chain.seats_in(chain.epoch());
        if nodes.iter().all(|account| counting.of(*account) > 0) {
            return Ok(());
        }
        world.pause(&mut wait, what).await?;
    }
}

/// Kills the nodes whose turn it is in this phase, and starts them again.
pub(in crate::demo) async fn crash(
    world: &mut World<'_>,
    crashes: &[Crash],
    phase: Phase,
) -> Result<()> {
    for crash in crashes.iter().filter(|crash| crash.phase == phase) {
        world.progress.line(format!("node {} is killed and started again", crash.node + 1));
        world.workspace.cluster.crash(crash.node).await?;
    }
    Ok(())
}

fn spawn(
    world: &World<'_>,
    index: usize,
    dir: PathBuf,
    operator: EvmAddress,
    bootstrap: &[String],
) -> Result<Member> {
    let name = format!("node {}", index + 1);
    Member::spawn(name, dir, operator, bootstrap, world.cheat == Some(index))
}

async fn fund(world: &World<'_>, operators: impl Iterator<Item = EvmAddress>) -> Result<()> {
    let all = operators.chain([world.people.consumer.address()]);
    let sends = all.map(|address| world.sponsor.send_gas(address, GAS));
    futures::future::try_join_all(sends).await.context("gas cannot be sent")?;
    Ok(())
}

async fn accounts(world: &mut World<'_>) -> Result<Vec<AccountId>> {
    let mut wait = world.wait_for("the nodes to register");
    loop {
        let statuses = world.workspace.cluster.statuses().await?;
        let accounts: Vec<_> = statuses.iter().map(|status| status.account).collect();
        if accounts.iter().all(|account| *account != AccountId(0)) {
            return Ok(accounts);
        }
        world.pause(&mut wait, "the nodes to register").await?;
    }
}

async fn stake(world: &World<'_>, accounts: &[AccountId]) -> Result<()> {
    let stakes: Vec<_> = accounts
        .iter()
        .map(|account| Transaction::StakeFor { account: *account, amount: STAKE })
        .collect();
    // The first alone: it also approves the token.
    let (one, rest) = stakes.split_first().context("there are nodes")?;
    world.sponsor.submit(one).await.context("the chain did not take the stake")?;
    let rest = rest.iter().map(|stake| world.sponsor.submit(stake));
    futures::future::try_join_all(rest).await.context("the chain did not take the stakes")?;
    Ok(())
}
