//! The data of one training run: snapshot, tokenizer, hyper-parameters.

use std::sync::Arc;

use compute::clusters::{ClusterParams, Clusters};
use compute::model::ModelConfig;
use compute::tokenizer::Tokenizer;
use protocol::chain::ChainView;
use protocol::codec::Wire;
use protocol::hash::blake3;
use protocol::limits::MAX_MANIFEST_BYTES;
use protocol::manifest::Manifest;
use protocol::node::Failure;
use protocol::training::{RunConfig, trained_units};
use protocol::{AccountId, DatanetId, Hash, ModelId};

use super::blobs::Blobs;

/// A unit of a snapshot, read.
#[derive(Debug, Clone)]
pub(crate) struct SnapshotUnit {
    pub(crate) hash: Hash,
    pub(crate) owner: AccountId,
    pub(crate) text: String,
    pub(crate) tokens: Vec<u32>,
}

/// Everything that a run's shards depend on, besides the checkpoint.
#[derive(Debug)]
pub(crate) struct RunData {
    pub(crate) config: RunConfig,
    pub(crate) shape: ModelConfig,
    pub(crate) tokenizer: Tokenizer,
    pub(crate) units: Vec<SnapshotUnit>,
    /// Which units repeat earlier ones: those are neither trained on, nor indexed, nor paid.
    pub(crate) clusters: Clusters,
}

impl RunData {
    /// Fetches and reads what a run needs.
    pub(crate) async fn load(
        chain: &Arc<ChainView>,
        blobs: &Blobs,
        model: ModelId,
    ) -> Result<Self, Failure> {
        let (ordered, order) = chain.model(model).ok_or(Failure::Invalid)?;
        let config = RunConfig::from_bytes(&order.config).map_err(|_| Failure::Invalid)?;
        let shape = compute::preset::run_model(&config).ok_or(Failure::Invalid)?;
        let texts = read_snapshot(chain, blobs, order.datanet, *ordered).await?;
        let length = u64::from(config.tokenizer_length);
        let bytes = blobs.obtain(config.tokenizer, length, &[]).await?;
        let encoded = tokio::task::spawn_blocking(move || encode_all(&bytes, texts)).await;
        let (tokenizer, units, clusters) = encoded.map_err(|_| Failure::Local)??;
        Ok(Self { config, shape, tokenizer, units, clusters })
    }

    /// Token ids of the units that are trained on, of those that a slot reads.
    pub(crate) fn tokens_of(&self, read: &[u32]) -> Vec<Vec<u32>> {
        let unit = |rank: u32| self.units.get(rank as usize);
        let length = |rank| unit(rank).map(|unit| unit.tokens.len());
        let is_repeated = |rank| !self.clusters.is_canonical(rank);
        let trained = trained_units(read, self.config.context, length, is_repeated);
        trained.into_iter().filter_map(unit).map(|unit| unit.tokens.clone()).collect()
    }
}

fn encode_all(
    tokenizer: &[u8],
    texts: Vec<(Hash, AccountId, String)>,
) -> Result<(Tokenizer, Vec<SnapshotUnit>, Clusters), Failure> {
    let tokenizer = Tokenizer::from_bytes(tokenizer).map_err(|error| {
        tracing::error!(%error, "the run's tokenizer cannot be used");
        Failure::Invalid
    })?;
    let snapshot = ClusterParams::of_snapshot(texts.iter().map(|(hash, _, _)| *hash));
    let contents: Vec<&str> = texts.iter().map(|(_, _, text)| text.as_str()).collect();
    let clusters = Clusters::find(&contents, &snapshot);
    let mut units = Vec::with_capacity(texts.len());
    for (hash, owner, text) in texts {
        let tokens = tokenizer.encode(&text).map_err(|_| Failure::Invalid)?;
        units.push(SnapshotUnit { hash, owner, text, tokens });
    }
    Ok((tokenizer, units, clusters))
}

/// The text of every unit of a snapshot, in order of commitment.
pub(crate) async fn read_snapshot(
    chain: &Arc<ChainView>,
    blobs: &Blobs,
    datanet: DatanetId,
    before: protocol::BlockNumber,
) -> Result<Vec<(Hash, AccountId, String)>, Failure> {
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
        for (pack, length) in &manifest.packs {
            packs.push(blobs.obtain(*pack, *length, &[]).await?);
        }
        for unit in &manifest.units {
            // Bounds were checked by `Manifest::check`.
            let (from, to) = (unit.offset as usize, (unit.offset + unit.length) as usize);
            let bytes = packs.get(unit.pack as usize).and_then(|pack| pack.get(from..to));
            let bytes = bytes.ok_or(Failure::Invalid)?;
            let text = String::from_utf8_lossy(bytes).into_owned();
            texts.push((blake3(bytes), contribution.account, text));
        }
    }
    Ok(texts)
}
