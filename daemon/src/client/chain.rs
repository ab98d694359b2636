//! The chain as a command sees it that has no node: read from its first block on.

use anyhow::{Context, Result};
use contracts_abi::{ChainClient, ClientError};
use protocol::chain::{BlockHeader, ChainView};

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
        while self.last.is_none_or(|last| last.number < head) {
            let read = match &self.last {
                Some(last) => self.client.poll_after(last, head).await,
                None => {
                    let first = self.client.deployment().genesis_block;
                    self.client.poll_blocks(first, head).await
                }
            };
            if let Err(ClientError::Replaced(_)) = read {
                (self.view, self.last) = (self.empty.clone(), None);
                continue;
            }
            let blocks = read?;
            let (last, _) = blocks.last().context("the RPC gave no block that it said it has")?;
            self.last = Some(*last);
            for (header, events) in &blocks {
                self.view.apply(*header, events);
            }
        }
        Ok(&self.view)
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
