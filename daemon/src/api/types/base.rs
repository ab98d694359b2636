//! Bases: models that no run made.

use protocol::{AccountId, Amount, Hash, ModelId};
use serde::{Deserialize, Serialize};

use super::model::Offer;
use crate::node::BaseOffer;

/// A base that somebody registered.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct BaseInfo {
    /// Its id on chain, among the models.
    pub id: ModelId,
    /// The account that registered it.
    pub developer: AccountId,
    /// What people call it, as whoever registered it says.
    pub name: String,
    /// The licence that its file states; empty where it states none.
    pub licence: String,
    /// Who made it, as its file says; empty where it does not.
    pub origin: String,
    /// BLAKE3 of its canonical checkpoint.
    pub checkpoint: Hash,
    /// Number of parameters.
    pub parameters: u64,
    /// The offer, once it is published.
    pub offer: Option<Offer>,
}

/// Offers a base of this machine for use, served by this node.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OfferBase {
    /// The start of the name or of the hash of a base on the node's machine.
    pub base: String,
    /// Price of 1,000 prompt tokens.
    pub price_in: Amount,
    /// Price of 1,000 generated tokens.
    pub price_out: Amount,
    /// Fixed part of the price of one use.
    pub price_use: Amount,
}

impl From<OfferBase> for BaseOffer {
    fn from(offer: OfferBase) -> Self {
        let OfferBase { base, price_in, price_out, price_use } = offer;
        Self { base, price_in, price_out, price_use }
    }
}
