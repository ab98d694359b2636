//! The people of the demo: who publishes, who orders the model, who pays.

use std::path::Path;

use anyhow::{Context, Result};
use contracts_abi::ChainClient;
use protocol::eip712::EvmKey;
use protocol::{AccountId, EvmAddress};

use super::cluster::Member;
use super::texts::Contributor;
use crate::api::types::{Created, Register};
use crate::cli::devchain::dev_key;
use crate::keys::random_evm_key;
use crate::network::NetworkFile;

/// The chain's own coin that an operator gets, in wei: enough for some thousand transactions.
pub(super) const GAS: u128 = 5_000_000_000_000_000_000;

/// Someone with an account of their own, published through a node.
#[derive(Debug)]
pub(super) struct Author {
    pub(super) text: Contributor,
    pub(super) owner: EvmAddress,
    pub(super) account: AccountId,
    /// The node that publishes for them.
    pub(super) host: usize,
}

/// Everybody who is no node.
#[derive(Debug)]
pub(super) struct Cast {
    pub(super) authors: Vec<Author>,
    pub(super) developer: EvmAddress,
    pub(super) developer_account: AccountId,
    pub(super) treasury: EvmAddress,
    pub(super) consumer: EvmKey,
}

impl Cast {
    /// New keys for everybody; the authors publish through the given nodes in turn.
    pub(super) fn assemble(texts: Vec<Contributor>, hosts: &[usize]) -> Result<Self> {
        let address = || random_evm_key().map(|key| key.address());
        let mut authors = Vec::new();
        for (index, text) in texts.into_iter().enumerate() {
            let host = hosts.get(index % hosts.len().max(1)).copied().unwrap_or_default();
            authors.push(Author { text, owner: address()?, account: AccountId(0), host });
        }
        Ok(Self {
            authors,
            developer: address()?,
            developer_account: AccountId(0),
            treasury: address()?,
            consumer: random_evm_key()?,
        })
    }

    /// Registers the authors and the developer through their nodes.
    pub(super) async fn register(&mut self, members: &[Member], server: usize) -> Result<()> {
        for author in &mut self.authors {
            author.account = register(&members[author.host], author.owner).await?;
        }
        self.developer_account = register(&members[server], self.developer).await?;
        Ok(())
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
    client.context("the sponsor cannot connect")
}

/// Keeps the consumer's key as a data directory, so that a person can go on asking.
pub(super) fn keep_consumer(dir: &Path, consumer: &EvmKey) -> Result<()> {
    use crate::keys::{Cost, NodeKeys, Passphrase, random_bytes};
    storage::durable::create_dir(dir)?;
    let (phrase, _) = Passphrase::generate(dir)?;
    let keys = NodeKeys { node: random_bytes()?, operator: consumer.clone() };
    Ok(keys.create(dir, &phrase, Cost::Light)?)
}
