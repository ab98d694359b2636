//! Fetches the data of a training run.

use std::sync::Arc;

use compute::data::{self, Text};
pub(crate) use compute::run::RunData;
use protocol::chain::ChainView;
use protocol::codec::Wire;
use protocol::limits::MAX_MANIFEST_BYTES;
use protocol::manifest::Manifest;
use protocol::node::Failure;
use protocol::training::RunConfig;
use protocol::{BlobRef, DatanetId, ModelId};

use super::blobs::Blobs;
use super::compute_thread::failed;

/// Fetches and reads what a run needs.
pub(crate) async fn load(
    chain: &Arc<ChainView>,
    blobs: &Blobs,
    model: ModelId,
) -> Result<RunData, Failure> {
    let (ordered, order) = chain.model(model).ok_or(Failure::Invalid)?;
    let config = RunConfig::from_bytes(&order.config).map_err(|_| Failure::Invalid)?;
    let texts = read_snapshot(chain, blobs, order.datanet, *ordered).await?;
    let length = u64::from(config.tokenizer_length);
    let tokenizer = blobs.obtain(config.tokenizer, length, &[]).await?;
    let order = order.config.clone();
    let read = tokio::task::spawn_blocking(move || RunData::read(&order, &tokenizer, texts)).await;
    read.map_err(|_| Failure::Local)?.map_err(failed)
}

/// The text of every unit of a snapshot, in order of commitment.
pub(crate) async fn read_snapshot(
    chain: &Arc<ChainView>,
    blobs: &Blobs,
    datanet: DatanetId,
    before: protocol::BlockNumber,
) -> Result<Vec<Text>, Failure> {
    let mut texts = Vec::new();
    for contribution in chain.snapshot(datanet, before) {
        let limit = MAX_MANIFEST_BYTES as u64;
        let bytes = blobs.obtain(contribution.manifest, limit, &[]).await?;
        let manifest = Manifest::from_bytes(&bytes).map_err(|_| Failure::Invalid)?;
        manifest.check(&contribution.packs, contribution.units).map_err(|error| {
            tracing::error!(%error, contribution = contribution.id, "a manifest is wrong");
            Failure::Invalid
        })?;
        let mut packs = Vec::new();
        for BlobRef { hash, length } in &manifest.packs {
            packs.push(blobs.obtain(*hash, *length, &[]).await?);
        }
        // Bounds were checked by `Manifest::check`.
        let units = data::texts(&manifest, &packs, contribution.account).ok_or(Failure::Invalid)?;
        texts.extend(units);
    }
    Ok(texts)
}
