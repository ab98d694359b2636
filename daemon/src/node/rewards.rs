//! What accounts earned, and claiming it.

use std::sync::Arc;

use anyhow::{Result, anyhow};
use protocol::balance::{Balance, Due};
use protocol::chain::{ChainView, Settlement};
use protocol::settle::Outcome;
use protocol::{AccountId, Epoch};

use super::handle::{NodeHandle, TxOutcome, why};
use super::status::StatementLine;

impl NodeHandle {
    /// What final settlements that this node has seen give its account, paid or not.
    pub(super) async fn earned(
        &self,
        chain: &Arc<ChainView>,
        account: Option<AccountId>,
    ) -> Balance {
        let (Some(last), Some(account)) = (chain.last_final(), account) else {
            return Balance::ZERO;
        };
        let outcome = self.inner.worker.settler.confirmed(chain, &last.settlement).await;
        outcome.map_or(Balance::ZERO, |outcome| outcome.earned(account))
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
                is_held: line.is_held,
            }));
            let unpaid = outcome.zeros.iter().filter(|zero| zero.account == account);
            lines.extend(unpaid.map(|zero| StatementLine {
                epoch,
                source: zero.source,
                record: zero.record,
                paid: Err(zero.reason),
                is_held: false,
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

    /// Claims what final settlements owe an account; anyone may, for anyone. What it does, and what stays
    /// held.
    pub async fn claim(&self, account: AccountId) -> Result<(Due, Option<TxOutcome>)> {
        let chain = self.chain();
        let Some(last) = chain.last_final() else { return Ok((Due::default(), None)) };
        let outcome = self.confirmed(&chain, &last.settlement).await?;
        let due = chain.claimable(account, outcome.earned(account));
        match outcome.claim(&chain, account) {
            Some(transaction) => Ok((due, Some(self.submit(transaction).await?))),
            None => Ok((due, None)),
        }
    }
}
