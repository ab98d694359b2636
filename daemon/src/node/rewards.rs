//! What accounts earned, and claiming it.

use std::sync::Arc;

use anyhow::{Result, anyhow};
use protocol::chain::{ChainView, Settlement};
use protocol::settle::Outcome;
use protocol::{AccountId, Amount, Epoch};

use super::handle::{NodeHandle, TxOutcome, why};
use super::status::StatementLine;

impl NodeHandle {
    /// What final settlements that this node has seen owe and have paid to its account.
    pub(super) async fn earned(
        &self,
        chain: &Arc<ChainView>,
        account: Option<AccountId>,
    ) -> Amount {
        let (Some(last), Some(account)) = (chain.last_final(), account) else {
            return Amount::ZERO;
        };
        let Ok(outcome) = self.inner.worker.settler.confirmed(chain, &last.settlement).await else {
            return Amount::ZERO;
        };
        let leaf = outcome.leaves.iter().find(|(id, _)| *id == account);
        leaf.map_or(Amount::ZERO, |(_, amount)| *amount)
    }

    /// The statement of an account: every final epoch, with the reason for each zero.
    pub async fn rewards(&self, account: AccountId) -> Result<Vec<StatementLine>> {
        let chain = self.chain();
        let mut lines = Vec::new();
        for epoch in (0..chain.next_to_settle().0).map(Epoch) {
            let Some(state) = chain.settlement(epoch) else { continue };
            let outcome = self.confirmed(&chain, &state.settlement).await?;
            let paid = outcome.lines.iter().filter(|line| line.account == account);
            lines.extend(paid.map(|line| StatementLine {
                epoch,
                source: line.source,
                record: line.record,
                paid: Ok(line.amount),
            }));
            let unpaid = outcome.zeros.iter().filter(|zero| zero.account == account);
            lines.extend(unpaid.map(|zero| StatementLine {
                epoch,
                source: zero.source,
                record: zero.record,
                paid: Err(zero.reason),
            }));
        }
        Ok(lines)
    }

    async fn confirmed(
        &self,
        chain: &Arc<ChainView>,
        settlement: &Settlement,
    ) -> Result<Arc<Outcome>> {
        let outcome = self.inner.worker.settler.confirmed(chain, settlement).await;
        outcome.map_err(|failure| {
            anyhow!("the log of epoch {} is not available now: {}", settlement.epoch, why(failure))
        })
    }

    /// Claims what final settlements owe an account; anyone may, for anyone.
    pub async fn claim(&self, account: AccountId) -> Result<Option<TxOutcome>> {
        let chain = self.chain();
        let Some(last) = chain.last_final() else { return Ok(None) };
        let epoch = last.settlement.epoch;
        let claim = self.inner.worker.settler.claim(&chain, epoch, account).await;
        let claim = claim.map_err(|failure| {
            anyhow!("the log of epoch {epoch} is not available now: {}", why(failure))
        })?;
        match claim {
            Some(transaction) => self.submit(transaction).await.map(Some),
            None => Ok(None),
        }
    }
}
