//! Blobs: who has them, and how they get to others.

use protocol::{
    BlobRef, Hash,
    codec::Wire as _,
    holding::{CellOpening, Openings},
    node::Done,
};

use storage::StoreError;

use super::{
    Answer,
    env::Env,
    hosts::{Committed, Opened},
    links::Transfer,
    number,
    times::Times,
};
use crate::{kernel::Purpose, network::SEEK_MICROS, nodes::SharedBlobs};

/// All blobs, each once, and who has them.
pub(super) struct Store {
    blobs: SharedBlobs,
    /// The packs that were contributed.
    packs: Vec<BlobRef>,
    /// How long nodes fetched packs.
    retrievals: Times,
}

impl Store {
    pub(super) fn new(blobs: SharedBlobs, packs: Vec<BlobRef>) -> Self {
        Self { blobs, packs, retrievals: Times::default() }
    }

    pub(super) const fn blobs(&self) -> &SharedBlobs {
        &self.blobs
    }

    pub(super) const fn blobs_mut(&mut self) -> &mut SharedBlobs {
        &mut self.blobs
    }

    /// How many packs were contributed.
    pub(super) const fn packs(&self) -> usize {
        self.packs.len()
    }

    pub(super) const fn retrievals(&self) -> &Times {
        &self.retrievals
    }

    /// Whether a node has a blob.
    pub(super) fn has(&self, index: usize, hash: &Hash) -> bool {
        self.blobs.has(number(index), hash)
    }

    /// A node has a blob from now on.
    pub(super) fn hold(&mut self, index: usize, hash: Hash) {
        self.blobs.hold(number(index), hash);
    }

    /// Stores a blob that a node made.
    pub(super) fn put(&mut self, index: usize, bytes: Vec<u8>) -> Result<Hash, StoreError> {
        self.blobs.put(number(index), bytes)
    }

    /// Who gives a blob to a node: one of those that have it, drawn; its contributor (an inner `None`)
    /// otherwise.
    fn source(&self, env: &Env, index: usize, hash: &Hash, draw: u64) -> Option<Option<u32>> {
        let me = number(index);
        let gives = |holder: &u32| {
            let from = *holder as usize;
            *holder != me
                && env.population.is_online(from)
                && env.links.network().reaches(env.now(), me, *holder).is_some()
                && env.population.serves(from, index, hash, env.now())
        };
        let holders: Vec<_> = self.blobs.holders(hash).filter(gives).collect();
        if holders.is_empty() {
            return self.blobs.is_published(hash).then_some(None);
        }
        let place = draw % holders.len() as u64;
        let place = usize::try_from(place).expect("one of those in memory");
        Some(Some(holders[place]))
    }

    /// The time of a transfer to a node, in microseconds; `None` when nobody gives the blob or it was
    /// given up.
    pub(super) fn transfer(
        &self,
        env: &mut Env,
        index: usize,
        hash: &Hash,
        bytes: u64,
    ) -> Option<u64> {
        let to = number(index);
        if self.blobs.has(to, hash) {
            return Some(0);
        }
        // Counted only where something is asked, so that what is at hand shifts no draws.
        let which = env.population.node_mut(index).ask();
        let draw = env.draws.word(Purpose::Request, to.into(), which);
        let from = self.source(env, index, hash, draw)?;
        let (now, epoch) = (env.now(), env.view().epoch());
        env.links.transfer(now, epoch, Transfer { from, to, bytes, which })
    }

    /// Fetches a blob for a node.
    pub(super) fn fetch(&mut self, env: &mut Env, index: usize, blob: BlobRef) -> Answer {
        match self.transfer(env, index, &blob.hash, blob.length) {
            Some(taken) => {
                if taken > 0 {
                    self.retrievals.add(taken);
                }
                Answer { gains: Some(blob.hash), ..Answer::after(taken, Done::Fetched) }
            }
            None => Answer::unavailable(0),
        }
    }

    /// Stores openings of a node, once their cells were read, and names them.
    pub(super) fn opened(&mut self, env: &Env, index: usize, opened: Option<Opened>) -> Answer {
        let Some(Opened { cells, bytes }) = opened else { return Answer::local() };
        let taken = env.disk(index, cells * SEEK_MICROS);
        self.keep_openings(index, taken, bytes)
    }

    /// Stores openings of a node at once, and names them.
    pub(super) fn show(&mut self, index: usize, openings: &Openings) -> Answer {
        self.keep_openings(index, 0, openings.to_bytes())
    }

    fn keep_openings(&mut self, index: usize, taken: u64, bytes: Vec<u8>) -> Answer {
        let length = bytes.len() as u64;
        match self.blobs.put(number(index), bytes) {
            Ok(hash) => Answer::after(taken, Done::Opened(BlobRef { hash, length })),
            Err(_) => Answer::local(),
        }
    }

    /// Every pack on every disk goes bad with a chance.
    pub(super) fn rot(&mut self, env: &Env, share: f64) {
        for (place, BlobRef { hash, .. }) in (0u64..).zip(&self.packs) {
            let holders: Vec<_> = self.blobs.holders(hash).collect();
            for holder in holders {
                let about = u64::from(holder) << 32 | place;
                if env.draws.share(Purpose::Fault, about, env.now().0) < share {
                    self.blobs.lose(holder, hash);
                }
            }
        }
    }
}

/// The answer to a commitment, once its cells were read.
pub(super) fn committed(env: &Env, index: usize, committed: Option<Committed>) -> Answer {
    let Some(Committed { cells, body }) = committed else { return Answer::local() };
    Answer::after(env.disk(index, cells * SEEK_MICROS), Done::Committed(body))
}

/// The answer to a dispute, once the cells of the whole commitment were read.
pub(super) fn cell_opened(
    env: &Env,
    index: usize,
    cells: u32,
    opening: Option<CellOpening>,
) -> Answer {
    let Some(opening) = opening else { return Answer::local() };
    let taken = env.disk(index, u64::from(cells) * SEEK_MICROS);
    Answer::after(taken, Done::CellOpened(opening))
}
