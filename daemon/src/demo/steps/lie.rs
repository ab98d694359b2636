//! A settlement that does not follow from the chain: somebody proposes it, and what becomes of it.

use anyhow::{Context, Result, bail};
use contracts_abi::TxError;
use protocol::chain::{ChainEvent, ChainView, Settlement, Transaction};
use protocol::identity::Binding;
use protocol::{AccountId, Amount, BlockNumber, Epoch};
use serde::Serialize;

use crate::demo::world::World;
use crate::devchain::PROPOSAL_BOND;
use crate::keys::random_bytes;

/// A false settlement and the right one of the same epoch, in blocks of the chain.
#[derive(Debug, Clone, Copy, Serialize)]
pub(in crate::demo) struct Refused {
    pub(in crate::demo) epoch: Epoch,
    pub(in crate::demo) proposed: BlockNumber,
    /// When it fell.
    pub(in crate::demo) fell: BlockNumber,
    /// What its proposer lost: half went to the node that showed that it is false, half to the vault.
    pub(in crate::demo) lost: Amount,
    /// When the right one was proposed, and the block by which it was final.
    pub(in crate::demo) right_proposed: BlockNumber,
    pub(in crate::demo) right_final: BlockNumber,
}

/// Has a stranger propose that the next epoch pays nobody, and a thousand OPEN to nowhere; waits until the
/// nodes have shown that it is false, and the right settlement is final.
pub(in crate::demo) async fn refuse(world: &mut World<'_>) -> Result<Refused> {
    let liar = stranger(world).await?;
    let (epoch, proposed) = propose(world, liar).await?;
    world.progress.line(format!("a stranger proposes a false settlement of epoch {epoch}"));
    let mut wait = world.wait_for("the false settlement to fall");
    let mut fell = None;
    loop {
        let chain = world.reader.catch_up().await?;
        let found = chain.defeats(epoch).find(|(proposer, _)| *proposer == liar);
        fell = fell.or(found.map(|(_, block)| block));
        if let (Some(fell), true) = (fell, chain.next_to_settle() > epoch) {
            let (right_proposed, right_final) = (right_of(chain, epoch, liar)?, chain.now());
            let lost = PROPOSAL_BOND.saturating_sub(world.sponsor.stake(liar).await?);
            // A bounty is no pay: it was the stranger's.
            let bounty = Amount(lost.0 / 2);
            world.held_before = world.held_before.saturating_add(bounty);
            world.progress.line(format!("it fell, and the right one of epoch {epoch} is final"));
            return Ok(Refused { epoch, proposed, fell, lost, right_proposed, right_final });
        }
        world.pause(&mut wait, "the false settlement to fall").await?;
    }
}

/// When the settlement of an epoch was proposed that became final.
fn right_of(chain: &ChainView, epoch: Epoch, liar: AccountId) -> Result<BlockNumber> {
    match chain.settlement(epoch) {
        Some(state) if state.proposer != liar => Ok(state.proposed),
        _ => bail!("the false settlement of epoch {epoch} became final"),
    }
}

/// Somebody without a node, whose stake is the bond of one proposal.
async fn stranger(world: &World<'_>) -> Result<AccountId> {
    let owner = world.sponsor.address();
    let (chain_id, registry) =
        (world.network.deployment.chain_id, world.network.deployment.registry);
    let binding = Binding { chain_id, registry, owner, operator: owner, payout: owner };
    let (node, binding) = binding.sign(&random_bytes()?);
    let register = Transaction::Register { owner, operator: owner, payout: owner, node, binding };
    let receipt =
        world.sponsor.submit(&register).await.context("the stranger is not registered")?;
    let account = receipt.events.iter().find_map(|event| match event {
        ChainEvent::AccountRegistered { account, .. } => Some(*account),
        _ => None,
    });
    let account = account.context("the chain registered nobody")?;
    let stake = Transaction::StakeFor { account, amount: PROPOSAL_BOND };
    world.sponsor.submit(&stake).await.context("the stranger has no stake")?;
    Ok(account)
}

/// Proposes once an epoch can be settled and nobody else has; the epoch, and the block.
async fn propose(world: &mut World<'_>, proposer: AccountId) -> Result<(Epoch, BlockNumber)> {
    let mut wait = world.wait_for("an epoch to lie about");
    loop {
        let chain = world.reader.catch_up().await?;
        if let Some(settlement) = lie(chain) {
            let propose = Transaction::Propose { proposer, settlement };
            match world.sponsor.submit(&propose).await {
                Ok(receipt) => return Ok((settlement.epoch, receipt.block)),
                // Another came first, and is final already.
                Err(error @ TxError::Revert { .. }) => tracing::info!(%error, "it came too late"),
                Err(error) => return Err(error.into()),
            }
        }
        world.pause(&mut wait, "an epoch to lie about").await?;
    }
}

/// What was owed before, and a thousand OPEN more that are nobody's.
fn lie(chain: &ChainView) -> Option<Settlement> {
    let (epoch, parent) = (chain.next_to_settle(), chain.last_final()?);
    let is_first = chain.proposals(epoch).next().is_none();
    let is_over = chain.now() >= chain.schedule.cutoff(epoch);
    (is_first && is_over).then(|| Settlement {
        epoch,
        parent: parent.id,
        records: chain.records_head(epoch),
        total: parent.settlement.total.saturating_add(PROPOSAL_BOND),
        ..parent.settlement
    })
}
