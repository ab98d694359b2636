//! Fetches the data of a training run.

use std::sync::Arc;

use compute::data::{self, Text};
use compute::run::BaseFiles;
pub(crate) use compute::run::RunData;
use protocol::chain::{ChainView, Contribution};
use protocol::model::{AdapterOrder, RunModel};
use protocol::node::Failure;
use protocol::order::most_data;
use protocol::training::{Contributions, Selection};
use protocol::{BlobRef, BlockNumber, DatanetId, ModelId};

use super::blobs::Blobs;
use super::failures::failed;

/// Fetches and reads what a run needs.
pub(crate) async fn load(
    chain: &Arc<ChainView>,
    blobs: &Blobs,
    model: ModelId,
) -> Result<RunData, Failure> {
    let (_, order) = chain.model(model).ok_or(Failure::Invalid)?;
    let config = &chain.order(model).map_err(|_| Failure::Invalid)?.config;
    let mut texts = Vec::new();
    for contribution in chain.run_data(model) {
        texts.extend(read(chain, blobs, contribution).await?);
    }
    let length = u64::from(config.tokenizer_length);
    let tokenizer = blobs.obtain(config.tokenizer, length, &[]).await?;
    let base = match &config.model {
        RunModel::Preset(_) => None,
        RunModel::Adapter(AdapterOrder { base, card, .. }) => {
            let checkpoint = blobs.obtain(base.hash, base.length, &[]).await?;
            Some((checkpoint, blobs.obtain(card.hash, card.length, &[]).await?))
        }
    };
    let order = order.config.clone();
    let read = move || {
        let files = base.as_ref().map(|(checkpoint, card)| BaseFiles { checkpoint, card });
        RunData::read(&order, &tokenizer, files, texts)
    };
    let read = tokio::task::spawn_blocking(read).await;
    read.map_err(|_| Failure::Local)?.map_err(failed)
}

/// What of a Datanet this node can read now.
pub(crate) struct Readable {
    /// The contributions, as the order of a run names them.
    pub(crate) data: Vec<Contributions>,
    /// The text of their units, in order of commitment.
    pub(crate) texts: Vec<Text>,
    /// How many contributions are left out: nobody had them, they are not what the chain says, or there
    /// is more than a run may read.
    pub(crate) left_out: usize,
}

/// Reads all that it can of the contributions to a Datanet that were admitted before a block. What it
/// cannot read is left out, so that nobody keeps a Datanet from being trained on by adding to it.
pub(crate) async fn read_datanet(
    chain: &Arc<ChainView>,
    blobs: &Blobs,
    datanet: DatanetId,
    before: BlockNumber,
) -> Result<Readable, Failure> {
    // The rest of the memory is for the model and its steps.
    let most = most_data(chain.params().training.max_memory) / 2;
    let (mut selection, mut texts) = (Selection::default(), Vec::new());
    let (mut bytes, mut left_out) = (0u64, 0);
    for contribution in chain.snapshot(datanet, before) {
        let after = bytes.saturating_add(BlobRef::total(&contribution.packs));
        let found = match selection.has_room() && after <= most {
            true => read(chain, blobs, contribution).await,
            false => Err(Failure::Invalid),
        };
        match found {
            Ok(units) => {
                selection.take(contribution.id);
                bytes = after;
                texts.extend(units);
            }
            Err(Failure::Local) => return Err(Failure::Local),
            Err(failure) => {
                tracing::warn!(contribution = contribution.id, ?failure, "left out of a run");
                selection.leave_out();
                left_out += 1;
            }
        }
    }
    Ok(Readable { data: selection.ranges(), texts, left_out })
}

/// The text of every unit of a contribution, which must be as many as the chain says.
async fn read(
    chain: &ChainView,
    blobs: &Blobs,
    contribution: &Contribution,
) -> Result<Vec<Text>, Failure> {
    let mut packs = Vec::with_capacity(contribution.packs.len());
    for pack in &contribution.packs {
        let bytes = blobs.obtain(pack.hash, pack.length, &[]).await?;
        if bytes.len() as u64 != pack.length {
            return Err(Failure::Invalid);
        }
        packs.push(bytes);
    }
    let (unit_bytes, account) = (chain.params().unit_bytes, contribution.account);
    let units = tokio::task::spawn_blocking(move || data::texts(&packs, unit_bytes, account)).await;
    let units = units.map_err(|_| Failure::Local)?;
    let is_whole = u32::try_from(units.len()) == Ok(contribution.units);
    if is_whole { Ok(units) } else { Err(Failure::Invalid) }
}
