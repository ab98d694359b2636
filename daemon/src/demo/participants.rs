//! The people of the demo: who publishes, who orders the model, who pays.

use std::path::Path;

use anyhow::{Context, Result};
use contracts_abi::ChainClient;
use protocol::eip712::EvmKey;
use protocol::{AccountId, EvmAddress};

use super::cluster::Member;
use super::texts::Corpus;
use crate::api::types::{Created, Register};
use crate::devchain::dev_key;
use crate::keys::{Cost, NodeKeys, Passphrase, random_bytes, random_evm_key};
use crate::network::NetworkFile;

/// The chain's own coin that an operator gets, in wei: enough for some thousand transactions.
pub(super) const GAS: u128 = 5_000_000_000_000_000_000;

/// Someone who publishes a corpus through a node.
#[derive(Debug)]
pub(super) struct Contributor {
    pub(super) corpus: Corpus,
    pub(super) owner: EvmAddress,
    /// The node that publishes for them, as an index.
    pub(super) host: usize,
}

/// Everybody who runs no node.
#[derive(Debug)]
pub(super) struct Participants {
    pub(super) contributors: Vec<Contributor>,
    pub(super) developer: EvmAddress,
    pub(super) treasury: EvmAddress,
    pub(super) consumer: EvmKey,
}

/// The accounts of those who earn, known once all are registered.
#[derive(Debug)]
pub(super) struct Accounts {
    /// Of the nodes, in their order.
    pub(super) nodes: Vec<AccountId>,
    /// Of the contributors, in their order.
    pub(super) contributors: Vec<AccountId>,
    pub(super) developer: AccountId,
}

impl Participants {
    /// New keys for everybody; the contributors publish through the given nodes in turn.
    pub(super) fn generate(corpora: Vec<Corpus>, hosts: &[usize]) -> Result<Self> {
        let address = || random_evm_key().map(|key| key.address());
        let mut contributors = Vec::new();
        for (corpus, host) in corpora.into_iter().zip(hosts.iter().copied().cycle()) {
            contributors.push(Contributor { corpus, owner: address()?, host });
        }
        let (developer, treasury) = (address()?, address()?);
        Ok(Self { contributors, developer, treasury, consumer: random_evm_key()? })
    }

    /// Registers the contributors through their nodes and the developer through the server.
    pub(super) async fn register(
        &self,
        members: &[Member],
        server: usize,
        nodes: Vec<AccountId>,
    ) -> Result<Accounts> {
        let mut contributors = Vec::new();
        for contributor in &self.contributors {
            contributors.push(register(&members[contributor.host], contributor.owner).await?);
        }
        let developer = register(&members[server], self.developer).await?;
        Ok(Accounts { nodes, contributors, developer })
    }
}

async fn register(member: &Member, owner: EvmAddress) -> Result<AccountId> {
    let created: Created<AccountId> =
        member.client()?.post("/accounts", &Register { owner }).await?;
    Ok(created.id)
}

/// Connects the sponsor, who pays for gas and stakes.
pub(super) async fn sponsor(network: &NetworkFile) -> Result<ChainClient> {
    let deployment = network.deployment.clone();
    let client = ChainClient::connect(&network.rpc_url, deployment, &dev_key(1)).await;
    client.context("the sponsor cannot connect to the chain")
}

/// Keeps the consumer's key as a data directory, so that a person can go on asking.
pub(super) fn keep_consumer(dir: &Path, consumer: &EvmKey) -> Result<()> {
    storage::durable::create_dir(dir)?;
    let (phrase, _) = Passphrase::generate(dir)?;
    let keys = NodeKeys { node: random_bytes()?, operator: consumer.clone() };
    Ok(keys.create(dir, &phrase, Cost::Light)?)
}
