//! Fetching one blob from the first provider that delivers it.
//!
//! The length is verified against the hash before the first byte of content is asked for, so a
//! blob beyond the limit costs one kilobyte. Every step is bounded in time, and a provider that
//! drips is left; what arrived stays in the store, and the next one goes on from there.

use std::pin::pin;
use std::time::Duration;

use futures::StreamExt;
use iroh::endpoint::Connection;
use iroh_blobs::HashAndFormat;
use iroh_blobs::api::remote::GetProgressItem;
use iroh_blobs::get::GetError;
use iroh_blobs::get::fsm::DecodeError;
use iroh_blobs::get::request::get_verified_size;
use protocol::{Hash, NodeId};
use storage::StoreError;
use tokio::time::{Instant, timeout, timeout_at};

use super::data::DataPlane;
use super::error::{FetchError, ProviderError};
use super::reputation::Deed;

/// To learn the length, and between two signs of progress.
const STALL: Duration = Duration::from_secs(20);
/// The slowest transfer that is waited for, in bytes per second.
const SLOWEST: u64 = 16 << 10;

/// What a fetch did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FetchStats {
    /// Payload bytes that crossed the network; 0 when the blob was here already.
    pub bytes: u64,
    /// Who delivered the last of them.
    pub from: Option<NodeId>,
}

/// Whether a blob of this length may come.
pub type Admit<'a> = dyn Fn(u64) -> Result<(), StoreError> + Send + Sync + 'a;

/// Why one provider was left.
enum Left {
    /// Try the next one.
    Next(ProviderError),
    /// No provider can help.
    Final(FetchError),
}

impl DataPlane {
    /// Fetches a blob into the store.
    pub(crate) async fn fetch(
        &self,
        hash: Hash,
        limit: u64,
        providers: &[NodeId],
        admit: &Admit<'_>,
    ) -> Result<FetchStats, FetchError> {
        let blob = iroh_blobs::Hash::from_bytes(hash.0);
        // Held to the end, so that no collection of garbage takes the partial blob away.
        let _held = self
            .store
            .tags()
            .temp_tag(HashAndFormat::raw(blob))
            .await
            .map_err(|error| FetchError::Store(error.into()))?;
        let local = self.store.remote().local(HashAndFormat::raw(blob)).await;
        if local.map_err(|error| FetchError::Store(error.into()))?.is_complete() {
            return Ok(FetchStats { bytes: 0, from: None });
        }
        let mut tried = Vec::new();
        let mut bytes = 0;
        for &provider in providers {
            match self.fetch_from(provider, blob, (limit, admit), &mut bytes).await {
                Ok(()) => {
                    self.note(provider, Deed::Useful);
                    return Ok(FetchStats { bytes, from: Some(provider) });
                }
                Err(Left::Final(error)) => return Err(error),
                Err(Left::Next(error)) => {
                    tracing::debug!(%provider, %hash, %error, "provider left");
                    if matches!(error, ProviderError::Corrupt(_)) {
                        self.note(provider, Deed::Invalid);
                    }
                    tried.push((provider, error));
                }
            }
        }
        Err(FetchError::Exhausted { tried })
    }

    fn note(&self, provider: NodeId, deed: Deed) {
        self.standings.reputation().note(provider, deed, std::time::Instant::now());
    }

    async fn fetch_from(
        &self,
        provider: NodeId,
        blob: iroh_blobs::Hash,
        (limit, admit): (u64, &Admit<'_>),
        bytes: &mut u64,
    ) -> Result<(), Left> {
        let _turn = self.turn(provider).await;
        let connection = self.connect(provider, iroh_blobs::ALPN).await.map_err(Left::Next)?;
        let _tracked = self.meter.track(&connection);
        let size = timeout(STALL, get_verified_size(&connection, &blob)).await;
        let (len, _) = size
            .map_err(|_| Left::Next(ProviderError::Stalled))?
            .map_err(|error| Left::Next(classify(error)))?;
        if len > limit {
            return Err(Left::Final(FetchError::TooLarge { len, limit }));
        }
        admit(len).map_err(|error| Left::Final(FetchError::NoRoom(error)))?;
        let before = *bytes;
        let result = self.transfer(connection, blob, len, before, bytes).await;
        self.meter.count_fetched(*bytes - before);
        result
    }

    async fn transfer(
        &self,
        connection: Connection,
        blob: iroh_blobs::Hash,
        len: u64,
        before: u64,
        bytes: &mut u64,
    ) -> Result<(), Left> {
        let end = Instant::now() + STALL + Duration::from_secs(len / SLOWEST);
        let progress = self.store.remote().fetch(connection, HashAndFormat::raw(blob));
        let mut progress = pin!(progress.stream());
        loop {
            let next = end.min(Instant::now() + STALL);
            match timeout_at(next, progress.next()).await {
                Ok(Some(GetProgressItem::Progress(total))) => *bytes = before + total,
                Ok(Some(GetProgressItem::Done(stats))) => {
                    *bytes = before + stats.counters.payload_bytes_read;
                    return Ok(());
                }
                Ok(Some(GetProgressItem::Error(GetError::LocalFailure { source, .. }))) => {
                    return Err(Left::Final(FetchError::Store(source.into())));
                }
                Ok(Some(GetProgressItem::Error(error))) => {
                    return Err(Left::Next(classify(error)));
                }
                Ok(None) | Err(_) => return Err(Left::Next(ProviderError::Stalled)),
            }
        }
    }
}

fn classify(error: GetError) -> ProviderError {
    let wrong = matches!(
        &error,
        GetError::Decode {
            source: DecodeError::ParentHashMismatch { .. } | DecodeError::LeafHashMismatch { .. },
            ..
        }
    );
    match wrong {
        true => ProviderError::Corrupt(error.into()),
        false => ProviderError::Missing(error.into()),
    }
}
