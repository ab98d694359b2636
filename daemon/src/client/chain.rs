//! The chain as a command sees it that has no node: read from its first block on.

use anyhow::{Context, Result, bail};
use contracts_abi::{ChainClient, ClientError};
use protocol::chain::{BlockHeader, ChainEvent, ChainView, SettlementState};
use protocol::settle::{Outcome, VerifyError, verify};
use protocol::{AccountId, Balance, BlockNumber, Epoch};

use crate::keys::random_evm_key;
use crate::network::NetworkFile;

/// A view of the chain that is brought up to date on demand.
#[derive(Debug)]
pub(crate) struct ChainReader {
    client: ChainClient,
    /// The view before the first block.
    empty: ChainView,
    view: ChainView,
    last: Option<BlockHeader>,
}

/// A settlement, and what recomputing it came to.
#[derive(Debug)]
pub(crate) struct Judged {
    pub(crate) state: SettlementState,
    pub(crate) outcome: Result<Outcome, VerifyError>,
}

impl ChainReader {
    /// Connects with a key of no importance: nothing is sent with it.
    pub(crate) async fn connect(network: &NetworkFile) -> Result<Self> {
        let key = random_evm_key()?;
        let deployment = network.deployment.clone();
        let client = ChainClient::connect(&network.rpc_url, deployment, &key).await?;
        Ok(Self { client, empty: network.view(), view: network.view(), last: None })
    }

    /// Reads every block that is there; from the first on again where blocks were replaced.
    pub(crate) async fn catch_up(&mut self) -> Result<&ChainView> {
        let head = self.client.head().await?;
        while self.is_behind(head) {
            for (header, events) in self.next_blocks(head).await?.into_iter().flatten() {
                self.view.apply(header, &events);
            }
        }
        Ok(&self.view)
    }

    /// Recomputes every settlement from the first block on, up to that of an epoch, and judges that one: what
    /// is final, or each of its proposals, those to which nobody objects first. Nobody's word is taken for
    /// any balance.
    pub(crate) async fn judge(&mut self, epoch: Epoch) -> Result<Vec<Judged>> {
        let head = self.client.head().await?;
        let mut balances = Vec::new();
        while self.is_behind(head) {
            let Some(blocks) = self.next_blocks(head).await? else {
                balances.clear();
                continue;
            };
            for (header, events) in blocks {
                self.view.apply(header, &events);
                for event in &events {
                    let ChainEvent::Finalised { epoch: settled, .. } = event else { continue };
                    let Some(state) = self.view.settlement(*settled) else { continue };
                    let judged = self.recompute(*state, &balances);
                    if *settled == epoch {
                        return Ok(vec![judged]);
                    }
                    let false_before = || format!("the settlement of epoch {settled} is false");
                    balances = judged.outcome.with_context(false_before)?.leaves;
                }
            }
        }
        let mut proposals: Vec<_> = self.view.proposals(epoch).copied().collect();
        if proposals.is_empty() {
            let now = self.view.epoch();
            bail!("epoch {epoch} has no settlement yet; the chain is in epoch {now}");
        }
        proposals.sort_by_key(|state| (state.objector.is_some(), state.proposed, state.id));
        Ok(proposals.into_iter().map(|state| self.recompute(state, &balances)).collect())
    }

    fn recompute(&self, state: SettlementState, before: &[(AccountId, Balance)]) -> Judged {
        Judged { state, outcome: verify(&self.view, &state.settlement, before) }
    }

    fn is_behind(&self, head: BlockNumber) -> bool {
        self.last.is_none_or(|last| last.number < head)
    }

    /// The next blocks; `None` where some were replaced, and reading begins anew.
    async fn next_blocks(
        &mut self,
        head: BlockNumber,
    ) -> Result<Option<Vec<(BlockHeader, Vec<ChainEvent>)>>> {
        let read = match &self.last {
            Some(last) => self.client.poll_after(last, head).await,
            None => {
                let first = self.client.deployment().genesis_block;
                self.client.poll_blocks(first, head).await
            }
        };
        if let Err(ClientError::Replaced(_)) = read {
            (self.view, self.last) = (self.empty.clone(), None);
            return Ok(None);
        }
        let blocks = read?;
        let (last, _) = blocks.last().context("the RPC gave no block that it said it has")?;
        self.last = Some(*last);
        Ok(Some(blocks))
    }

    /// The view as of the last [`Self::catch_up`].
    pub(crate) const fn view(&self) -> &ChainView {
        &self.view
    }

    /// The client, for reads of balances.
    pub(crate) const fn client(&self) -> &ChainClient {
        &self.client
    }
}
