//! Bases that are offered on the network.

use std::sync::Arc;

use axum::body::Bytes;
use axum::extract::State;
use axum::routing::get;
use axum::{Json, Router};

use super::Context;
use super::problem::{Answer, body, failed};
use super::types::{BaseInfo, Offer, OfferBase};

pub(super) fn routes() -> Router<Arc<Context>> {
    Router::new().route("/bases", get(bases).post(offer))
}

async fn bases(State(context): State<Arc<Context>>) -> Json<Vec<BaseInfo>> {
    let chain = context.node.chain();
    let info = |(id, known): (protocol::ModelId, &protocol::base::Registered)| BaseInfo {
        id,
        developer: known.developer,
        name: known.base.name.clone(),
        licence: known.base.licence.clone(),
        origin: known.base.origin.clone(),
        checkpoint: known.base.checkpoint.hash,
        parameters: known.base.shape.parameters,
        offer: chain.publication(id).map(|offer| Offer::from(*offer)),
    };
    Json(chain.bases().map(info).collect())
}

async fn offer(State(context): State<Arc<Context>>, bytes: Bytes) -> Answer<Offer> {
    let offer: OfferBase = body(&bytes)?;
    Ok(Json(context.node.offer_base(offer.into()).await.map_err(failed)?.into()))
}
