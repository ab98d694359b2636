//! Offering a base of this machine to the network, as it is.

use anyhow::{Context, Result, bail};
use compute::model::shape_of;
use protocol::base::BaseModel;
use protocol::chain::{ModelPublication, Registration, Transaction};
use protocol::codec::Wire;
use protocol::{Amount, Digest, ModelId};

use super::handle::NodeHandle;
use crate::bases::BaseFiles;

/// A base to be served by this node for money.
#[derive(Debug, Clone)]
pub struct BaseOffer {
    /// The start of the name or of the hash of a base on this machine.
    pub base: String,
    /// Price of 1,000 prompt tokens.
    pub price_in: Amount,
    /// Price of 1,000 generated tokens.
    pub price_out: Amount,
    /// Fixed part of the price of one use.
    pub price_use: Amount,
}

/// What the chain is told of a base.
fn described(files: &BaseFiles) -> Result<BaseModel> {
    let card = files.card();
    let base = BaseModel {
        checkpoint: files.checkpoint_ref(),
        tokenizer: files.tokenizer_ref(),
        card: files.card_ref(),
        shape: shape_of(files.model()),
        name: card.name.clone(),
        licence: card.licence.clone().unwrap_or_default(),
        origin: card.origin.clone().unwrap_or_default(),
    };
    base.is_sane().then_some(base).context("it is larger than what the network takes for a base")
}

impl NodeHandle {
    /// Registers a base of this machine, unless this node's account did so before, and offers it.
    pub async fn offer_base(&self, offer: BaseOffer) -> Result<ModelPublication> {
        let BaseOffer { base, price_in, price_out, price_use } = offer;
        let Some(server) = self.account() else {
            bail!("this node has no account yet; `openledger status` says what it waits for");
        };
        let base = described(&self.base(&base).await?)?;
        let chain = self.chain();
        let is_it = |known: &protocol::base::Registered| {
            known.developer == server && known.base.checkpoint == base.checkpoint
        };
        let known = chain.bases().find(|(_, known)| is_it(known)).map(|(id, _)| id);
        let checkpoint = base.checkpoint.hash;
        let model = match known {
            Some(id) => id,
            None => {
                let config = base.to_bytes();
                let registration = Registration { id: ModelId(0), developer: server, config };
                let outcome = self.submit(Transaction::RegisterBase(registration)).await?;
                outcome.created.map(ModelId).context("the chain did not number the base")?
            }
        };
        let sketch_root = Digest::ZERO;
        let publication = ModelPublication {
            model,
            checkpoint,
            sketch_root,
            server,
            price_in,
            price_out,
            price_use,
        };
        self.submit(Transaction::PublishModel(publication)).await?;
        Ok(publication)
    }
}
