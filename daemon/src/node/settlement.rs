//! Settling an epoch, checking the settlements of others, claiming.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use futures::{StreamExt as _, stream};
use protocol::chain::{ChainView, Settlement, Transaction};
use protocol::limits::MAX_OPENINGS_BYTES;
use protocol::node::{Done, Failure};
use protocol::record::Body;
use protocol::settle::{Evidence, Outcome, SettleError, VerifyError, settle, verify};
use protocol::{AccountId, Amount, Epoch, NodeId};

use super::blobs::Blobs;
use super::pool::Pool;
use super::stopped::Stopped;

/// Openings that a settlement fetches at once.
const FETCHES: usize = 16;

/// Outcomes by epoch, and how they come about.
#[derive(Debug, Clone)]
pub(crate) struct Settler {
    blobs: Blobs,
    pool: Pool,
    outcomes: Arc<Mutex<BTreeMap<Epoch, Arc<Outcome>>>>,
    stopped: Stopped,
}

impl Settler {
    pub(crate) fn new(blobs: Blobs, pool: Pool) -> Self {
        let stopped = Stopped::new(blobs.store().dir().join("bug-reports"));
        Self { blobs, pool, outcomes: Arc::default(), stopped }
    }

    /// The outcome of an epoch that this node settled or verified.
    pub(crate) fn outcome(&self, epoch: Epoch) -> Option<Arc<Outcome>> {
        self.outcomes.lock().unwrap_or_else(PoisonError::into_inner).get(&epoch).cloned()
    }

    /// Forgets all outcomes: the blocks that they follow from were replaced.
    pub(crate) fn forget(&self) {
        self.outcomes.lock().unwrap_or_else(PoisonError::into_inner).clear();
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

    /// Settles an epoch from the records at hand and publishes the log.
    pub(crate) async fn settle(&self, chain: &Arc<ChainView>, epoch: Epoch) -> Done {
        if self.stopped.contains(epoch) {
            return Done::Failed(Failure::Local);
        }
        let parent = match self.balances_before(chain, epoch).await {
            Ok(parent) => parent,
            Err(failure) => return Done::Failed(failure),
        };
        let evidence = self.gather(chain, epoch).await;
        let settled = settle(chain, epoch, &parent, &evidence);
        let (outcome, log) = match settled {
            Ok(settled) => settled,
            Err(error @ SettleError::Invariant { .. }) => {
                self.stopped.stop(epoch, error, &evidence.to_log(epoch, &parent)).await;
                return Done::Failed(Failure::Local);
            }
            Err(error) => {
                tracing::error!(%epoch, %error, "the epoch cannot be settled");
                return Done::Failed(Failure::Invalid);
            }
        };
        if let Err(failure) = self.blobs.put(log).await {
            return Done::Failed(failure);
        }
        let outcome = self.remember(outcome);
        Done::Settled(outcome.settlement, outcome.uses.clone())
    }

    async fn balances_before(
        &self,
        chain: &Arc<ChainView>,
        epoch: Epoch,
    ) -> Result<Vec<(AccountId, Amount)>, Failure> {
        let Some(before) = epoch.0.checked_sub(1).map(Epoch) else { return Ok(Vec::new()) };
        let state = chain.settlement(before).ok_or(Failure::Unavailable)?;
        Ok(self.confirmed(chain, &state.settlement).await?.leaves.clone())
    }

    /// Records, and the openings that their proofs name.
    async fn gather(&self, chain: &Arc<ChainView>, epoch: Epoch) -> Evidence {
        let mut evidence = self.pool.evidence(epoch);
        let proofs: Vec<_> = evidence
            .records
            .values()
            .filter(|record| record.record().epoch == epoch)
            .filter_map(|record| match &record.record().body {
                Body::StorageProof(body) => Some((record.record().account, body.clone())),
                _ => None,
            })
            .collect();
        let fetches = proofs.into_iter().map(|(account, body)| {
            let limit = u64::from(body.length).min(MAX_OPENINGS_BYTES as u64);
            let from: Vec<NodeId> = chain.account(account).map(|a| a.node).into_iter().collect();
            async move { (body.openings, self.blobs.obtain(body.openings, limit, &from).await) }
        });
        for (openings, found) in together(fetches).await {
            // Openings that nobody has any more leave their holder unpaid.
            if let Ok(bytes) = found {
                evidence.openings.insert(openings, bytes.to_vec());
            }
        }
        evidence
    }

    /// The outcome of a settlement on chain, recomputed from its log.
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
        let proposer = chain.settlement(settlement.epoch).map(|state| state.proposer);
        let from: Vec<NodeId> = proposer
            .and_then(|account| chain.account(account))
            .map(|account| account.node)
            .into_iter()
            .collect();
        let log = self.blobs.obtain(settlement.log, settlement.log_length, &from).await?;
        match verify(chain, settlement, &log) {
            Ok(outcome) => Ok(self.remember(outcome)),
            // Whoever proposed it may be right: it is this program that is wrong.
            Err(VerifyError::Settle(error @ SettleError::Invariant { epoch, .. })) => {
                self.stopped.stop(epoch, error, &log).await;
                Err(Failure::Local)
            }
            Err(error) => {
                tracing::error!(epoch = %settlement.epoch, %error, "a settlement is wrong");
                Err(Failure::Invalid)
            }
        }
    }

    pub(crate) async fn check(&self, chain: &Arc<ChainView>, settlement: &Settlement) -> Done {
        match self.confirmed(chain, settlement).await {
            Ok(outcome) => Done::Verified(Some(outcome.uses.clone())),
            Err(Failure::Invalid) => Done::Verified(None),
            Err(failure) => Done::Failed(failure),
        }
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
        Ok(outcome
            .claim(account)
            .filter(|(cumulative, ..)| *cumulative > chain.claimed(account))
            .map(|(cumulative, index, count, path)| Transaction::Claim {
                account,
                cumulative,
                index,
                count,
                path,
            }))
    }
}

/// What all of them give. One after the other they would take some round trips each: of fifty nodes
/// that are 200 ms apart, longer than an epoch of 48 s.
async fn together<T>(fetches: impl Iterator<Item = impl Future<Output = T>>) -> Vec<T> {
    stream::iter(fetches).buffer_unordered(FETCHES).collect().await
}

#[cfg(test)]
mod tests {
    use tokio::sync::Barrier;

    use super::*;

    #[tokio::test]
    async fn one_fetch_does_not_wait_for_another() {
        let (all_have_begun, count) = (Barrier::new(FETCHES), 2 * FETCHES);
        let fetches = (0..count).map(async |_| all_have_begun.wait().await);
        let long = async {
            for _ in 0..10_000 {
                tokio::task::yield_now().await;
            }
        };
        tokio::select! {
            biased;
            done = together(fetches) => assert_eq!(done.len(), count),
            () = long => panic!("none ended"),
        }
    }
}
