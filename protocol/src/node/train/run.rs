//! What a run knows about itself: members, slots, units, and the round that is open.

use alloc::{collections::BTreeMap, vec::Vec};

use super::{Open, Own, Progress, Run, Stage, fork, round};
use crate::{
    chain::ChainView,
    ids::{BlockNumber, Digest, Hash, ModelId, Round},
    node::Waiting,
    training::{self, ShardTask},
};

impl Run {
    /// `None` for an order that is no run, and while its members are not drawn.
    pub(super) fn new(chain: &ChainView, model: ModelId) -> Option<Self> {
        let order = chain.order(model).ok()?;
        Some(Self {
            model,
            config: order.config.clone(),
            needs: order.needs,
            slots: chain.run_slots(model)?,
            units: order.units,
            stage: Stage::New,
            retry_at: BlockNumber(0),
            failures: 0,
            ended: 0,
            records: BTreeMap::new(),
            orphans: round::Orphans::new(),
            left: fork::Trail::new(),
        })
    }

    pub(in crate::node) fn progress(&self) -> Progress {
        let (round, checkpoint) = match &self.stage {
            Stage::New | Stage::Preparing => (Round(0), None),
            Stage::Open(open) => (open.round, Some(open.base)),
            Stage::Ready(checkpoint) => (Round(self.config.rounds), Some(*checkpoint)),
        };
        Progress {
            model: self.model,
            round,
            rounds: self.config.rounds,
            checkpoint,
            is_ready: matches!(self.stage, Stage::Ready(_)),
        }
    }

    pub(in crate::node) fn waiting(&self) -> Option<Waiting> {
        match &self.stage {
            Stage::New | Stage::Preparing => Some(Waiting::Preparing(self.model)),
            Stage::Open(open) if open.own == Own::Computing => {
                Some(Waiting::Computing(self.model, open.round))
            }
            Stage::Open(open) => Some(Waiting::Others(self.model, open.round)),
            Stage::Ready(_) => None,
        }
    }

    pub(super) fn units_of(&self, seed: &Digest, round: Round, slot: u32) -> Vec<u32> {
        match self.config.task(round) {
            ShardTask::Train => {
                training::training_units(seed, slot, self.config.units_per_shard, self.units)
            }
            ShardTask::Sketch => {
                let slots = u32::try_from(self.slots.len()).unwrap_or(1);
                training::sketch_units(slot, slots, self.units).collect()
            }
        }
    }

    pub(super) fn open_mut(&mut self) -> Option<&mut Open> {
        match &mut self.stage {
            Stage::Open(open) => Some(open),
            _ => None,
        }
    }

    /// The open round, if it is the one for which work was begun: a run may have gone on since, or
    /// back.
    pub(super) fn open_from(&mut self, round: Round, base: Hash) -> Option<&mut Open> {
        self.open_mut().filter(|open| (open.round, open.base) == (round, base))
    }

    /// Opens a round from a checkpoint.
    pub(super) fn enter(&mut self, round: Round, since: BlockNumber, seed: Digest, base: Hash) {
        assert!(round.0 <= self.config.rounds, "after the round of sketches comes none");
        let before = self.last_left().map_or(Round(0), Round::next);
        assert!(round == before, "a round opens when the one before it was left");
        self.stage = Stage::Open(Open {
            round,
            since,
            seed,
            base,
            own: Own::None,
            signed_again: None,
            is_aggregating: false,
            has_closed: false,
        });
    }
}
