//! Settling an epoch, checking the settlements of others, claiming.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use protocol::chain::{ChainView, Settlement, SettlementState, Transaction};
use protocol::limits::MAX_BALANCES_BYTES;
use protocol::node::{Done, Failure};
use protocol::settle::{
    Outcome, SettleError, VerifyError, decode_balances, encode_balances, payout_tree, refute,
    settle, verify,
};
use protocol::{AccountId, Balance, Epoch, NodeId};

use super::blobs::Blobs;
use super::stopped::Stopped;

type Balances = Vec<(AccountId, Balance)>;

/// Outcomes by epoch, and how they come about.
#[derive(Debug, Clone)]
pub(crate) struct Settler {
    blobs: Blobs,
    outcomes: Arc<Mutex<BTreeMap<Epoch, Arc<Outcome>>>>,
    stopped: Stopped,
}

impl Settler {
    pub(crate) fn new(blobs: Blobs) -> Self {
        let stopped = Stopped::new(blobs.store().dir().join("bug-reports"));
        Self { blobs, outcomes: Arc::default(), stopped }
    }

    /// The outcome of an epoch that this node settled or verified.
    pub(crate) fn outcome(&self, epoch: Epoch) -> Option<Arc<Outcome>> {
        self.outcomes.lock().unwrap_or_else(PoisonError::into_inner).get(&epoch).cloned()
    }

    /// Forgets the outcomes that followed from blocks which were replaced: of what is left of the chain
    /// those that are final stay, and nobody else might have the balances in them.
    pub(crate) fn forget(&self, left: &ChainView) {
        let unsettled = left.next_to_settle();
        let mut outcomes = self.outcomes.lock().unwrap_or_else(PoisonError::into_inner);
        outcomes.retain(|epoch, _| *epoch < unsettled);
    }

    /// Why this node does not settle some epochs: its program is wrong.
    pub(crate) fn stopped(&self) -> Vec<String> {
        self.stopped.lines()
    }

    fn remember(&self, outcome: Outcome) -> Arc<Outcome> {
        let outcome = Arc::new(outcome);
        let epoch = outcome.settlement.epoch;
        let mut outcomes = self.outcomes.lock().unwrap_or_else(PoisonError::into_inner);
        outcomes.insert(epoch, Arc::clone(&outcome));
        outcome
    }

    /// Recomputes a settlement that has just become final, while the view still has its records: so a
    /// node that follows the chain from its first block needs nobody's word for any balance.
    pub(crate) fn follow(&self, chain: &ChainView, epoch: Epoch) {
        let Some(state) = chain.settlement(epoch).filter(|state| state.is_final) else { return };
        if self.outcome(epoch).is_some_and(|known| known.settlement == state.settlement) {
            return;
        }
        let Some(parent) = self.own_balances_before(chain, epoch) else { return };
        match verify(chain, &state.settlement, &parent) {
            Ok(outcome) => {
                self.remember(outcome);
            }
            Err(error) => {
                tracing::error!(%epoch, %error, "a settlement became final that does not follow");
            }
        }
    }

    /// Settles an epoch from the chain, and keeps the new balances for whoever asks.
    pub(crate) async fn settle(&self, chain: &Arc<ChainView>, epoch: Epoch) -> Done {
        let outcome = match self.recompute(chain, epoch).await {
            Ok(outcome) => outcome,
            Err(failure) => return Done::Failed(failure),
        };
        match self.blobs.put(encode_balances(&outcome.leaves)).await {
            Ok(_) => Done::Settled(outcome.settlement, outcome.uses.clone()),
            Err(failure) => Done::Failed(failure),
        }
    }

    /// What follows from the chain for an epoch.
    async fn recompute(
        &self,
        chain: &Arc<ChainView>,
        epoch: Epoch,
    ) -> Result<Arc<Outcome>, Failure> {
        if self.stopped.contains(epoch) {
            return Err(Failure::Local);
        }
        let parent = self.balances_before(chain, epoch).await?;
        match settle(chain, epoch, &parent) {
            Ok(outcome) => Ok(self.remember(outcome)),
            Err(error @ SettleError::Invariant { .. }) => {
                self.stopped.stop(epoch, error, &encode_balances(&parent)).await;
                Err(Failure::Local)
            }
            Err(error) => {
                tracing::error!(%epoch, %error, "the epoch cannot be settled");
                Err(Failure::Invalid)
            }
        }
    }

    /// The balances before an epoch as this node computed them.
    fn own_balances_before(&self, chain: &ChainView, epoch: Epoch) -> Option<Balances> {
        let Some(before) = epoch.0.checked_sub(1).map(Epoch) else { return Some(Vec::new()) };
        let state = chain.settlement(before)?;
        let known = self.outcome(before)?;
        let is_it = known.settlement.payout_root == state.settlement.payout_root;
        is_it.then(|| known.leaves.clone())
    }

    /// The balances before an epoch. Where the settlement before is not what this node came to, or it was
    /// not there, the list comes from whoever has it, and its root is on chain.
    async fn balances_before(
        &self,
        chain: &Arc<ChainView>,
        epoch: Epoch,
    ) -> Result<Balances, Failure> {
        if let Some(balances) = self.own_balances_before(chain, epoch) {
            return Ok(balances);
        }
        let before = epoch.0.checked_sub(1).map(Epoch).ok_or(Failure::Unavailable)?;
        let state = chain.settlement(before).ok_or(Failure::Unavailable)?;
        self.listed_balances(chain, state).await
    }

    async fn listed_balances(
        &self,
        chain: &Arc<ChainView>,
        state: &SettlementState,
    ) -> Result<Balances, Failure> {
        let Settlement { balances, balances_length, payout_root, .. } = state.settlement;
        let proposer = chain.account(state.proposer).map(|account| account.node);
        let from: Vec<NodeId> = proposer.into_iter().collect();
        let limit = balances_length.min(MAX_BALANCES_BYTES as u64);
        let bytes = self.blobs.obtain(balances, limit, &from).await?;
        let balances = decode_balances(&bytes).map_err(|_| Failure::Invalid)?;
        if payout_tree(&balances).root() == payout_root {
            Ok(balances)
        } else {
            Err(Failure::Invalid)
        }
    }

    /// The outcome of a settlement on chain, recomputed.
    pub(crate) async fn confirmed(
        &self,
        chain: &Arc<ChainView>,
        settlement: &Settlement,
    ) -> Result<Arc<Outcome>, Failure> {
        // An epoch may have been proposed anew: what is remembered counts for that settlement only.
        if let Some(outcome) = self.outcome(settlement.epoch)
            && outcome.settlement == *settlement
        {
            return Ok(outcome);
        }
        if self.stopped.contains(settlement.epoch) {
            return Err(Failure::Local);
        }
        let parent = self.balances_before(chain, settlement.epoch).await?;
        match verify(chain, settlement, &parent) {
            Ok(outcome) => Ok(self.remember(outcome)),
            // Whoever proposed it may be right: it is this program that is wrong.
            Err(VerifyError::Settle(error @ SettleError::Invariant { epoch, .. })) => {
                self.stopped.stop(epoch, error, &encode_balances(&parent)).await;
                Err(Failure::Local)
            }
            Err(VerifyError::Settle(error)) => {
                tracing::warn!(epoch = %settlement.epoch, %error, "a settlement cannot be checked");
                Err(Failure::Unavailable)
            }
            Err(error) => {
                tracing::error!(epoch = %settlement.epoch, %error, "a settlement is wrong");
                Err(Failure::Invalid)
            }
        }
    }

    /// Recomputes what somebody proposed.
    pub(crate) async fn check(&self, chain: &Arc<ChainView>, settlement: &Settlement) -> Done {
        match self.recompute(chain, settlement.epoch).await {
            Ok(outcome) => {
                if outcome.settlement != *settlement {
                    tracing::error!(epoch = %settlement.epoch, "a settlement is wrong");
                }
                Done::Settled(outcome.settlement, outcome.uses.clone())
            }
            Err(failure) => Done::Failed(failure),
        }
    }

    /// The challenge that ends a proposal, which is wrong. What this node has itself comes first: whoever
    /// proposes what is wrong need not publish what it stands for.
    pub(crate) async fn refute(&self, chain: &Arc<ChainView>, settlement: &Settlement) -> Done {
        let parent = match self.balances_before(chain, settlement.epoch).await {
            Ok(parent) => parent,
            Err(failure) => return Done::Failed(failure),
        };
        let own = self.outcome(settlement.epoch);
        let own: Vec<&[_]> = own.iter().map(|outcome| outcome.leaves.as_slice()).collect();
        let known = refute(settlement, &parent, &own);
        if known.is_some() {
            return Done::Refuted(known);
        }
        let Some(state) = chain.proposal(&settlement.id()) else { return Done::Refuted(None) };
        let published = self.listed_balances(chain, state).await.ok();
        Done::Refuted(published.and_then(|list| refute(settlement, &parent, &[&list])))
    }

    /// What claims for an account: nothing when there is nothing new to claim.
    pub(crate) async fn claim(
        &self,
        chain: &Arc<ChainView>,
        epoch: Epoch,
        account: AccountId,
    ) -> Result<Option<Transaction>, Failure> {
        let state = chain.settlement(epoch).filter(|state| state.is_final);
        let state = state.ok_or(Failure::Unavailable)?;
        let outcome = self.confirmed(chain, &state.settlement).await?;
        Ok(outcome.claim(chain, account))
    }
}
