//! The chain as a command sees it that has no node: read from its first block on.

use anyhow::{Context, Result};
use contracts_abi::ChainClient;
use protocol::BlockNumber;
use protocol::chain::ChainView;

use crate::keys::random_evm_key;
use crate::network::NetworkFile;

/// A view of the chain that is brought up to date on demand.
#[derive(Debug)]
pub(crate) struct ChainReader {
    client: ChainClient,
    view: ChainView,
    next: BlockNumber,
}

impl ChainReader {
    /// Connects with a key of no importance: nothing is sent with it.
    pub(crate) async fn connect(network: &NetworkFile) -> Result<Self> {
        let key = random_evm_key()?;
        let deployment = network.deployment.clone();
        let client = ChainClient::connect(&network.rpc_url, deployment, &key).await?;
        let next = network.deployment.genesis_block;
        Ok(Self { client, view: network.view(), next })
    }

    /// Reads every block that is there.
    pub(crate) async fn catch_up(&mut self) -> Result<&ChainView> {
        let head = self.client.head().await?;
        while self.next <= head {
            let blocks = self.client.poll_blocks(self.next, head).await?;
            let (last, _) = blocks.last().context("the RPC gave no block that it said it has")?;
            self.next = last.number.next();
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
