//! Training runs: what a shard is, and who computes which.
//!
//! Roles, data and audits are drawn from public seeds by every node itself; there are no assignment
//! messages. A shard is a pure function of (checkpoint, units, seed, hyper-parameters).

use alloc::vec::Vec;

use crate::{
    codec::{DecodeError, Reader, Wire, encode_list},
    hash::{keccak, leading_u64},
    ids::{Digest, Hash, Round},
    limits::MAX_RUN_RANGES,
    model::RunModel,
};

/// The configuration of a training run, as the chain carries it. All numbers are integers, so that
/// every node reads the same ones.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RunConfig {
    /// What is made.
    pub model: RunModel,
    /// Address of the tokenizer blob: trained on the snapshot by the developer's node, or the base's own.
    pub tokenizer: Hash,
    /// Length of that blob in bytes.
    pub tokenizer_length: u32,
    /// Seed of the initial weights.
    pub seed: u64,
    /// Training rounds; one more round captures the attribution sketches.
    pub rounds: u32,
    /// Units that one shard reads.
    pub units_per_shard: u32,
    /// Optimiser steps of a shard.
    pub steps: u32,
    /// Sequences per optimiser step.
    pub batch: u32,
    /// Tokens per sequence.
    pub context: u32,
    /// Steps of linear warm-up.
    pub warmup: u32,
    /// Peak learning rate of the inner optimiser in the first round, in billionths.
    pub learning_rate: u32,
    /// Learning rate of the last round as a part of the first one's, in ppm.
    pub final_rate: u32,
    /// Values kept of every 4,096 of an update.
    pub top_k: u32,
    /// Weight of the averaged update in the outer step, in ppm.
    pub alpha: u32,
    /// Which contributions to its Datanet it reads, ascending. Who orders a run names what its own node
    /// has read, and serves that to the others: a contribution that nobody can read, or that is shown to
    /// some only, keeps no member from any run.
    pub data: Vec<Contributions>,
}

/// Contributions by their numbers, both ends included.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Contributions {
    /// The lowest number.
    pub first: u64,
    /// The highest number.
    pub last: u64,
}

impl Contributions {
    /// Every contribution there is.
    pub const ALL: Self = Self { first: 1, last: u64::MAX };
}

/// Collects what an order will read, while all contributions to a Datanet are looked at in order.
#[derive(Debug, Clone, Default)]
pub struct Selection {
    ranges: Vec<Contributions>,
    goes_on: bool,
}

impl Selection {
    /// Whether the next contribution can be named; an order has room for [`MAX_RUN_RANGES`] ranges.
    pub fn has_room(&self) -> bool {
        self.goes_on || self.ranges.len() < MAX_RUN_RANGES
    }

    /// The next contribution is read. What lies between it and the one before belongs to other Datanets,
    /// and does no harm in a range.
    pub fn take(&mut self, id: u64) {
        match self.ranges.last_mut().filter(|_| self.goes_on) {
            Some(range) => range.last = id,
            None => self.ranges.push(Contributions { first: id, last: id }),
        }
        self.goes_on = true;
    }

    /// The next contribution is left out.
    pub const fn leave_out(&mut self) {
        self.goes_on = false;
    }

    /// What is read, as the order names it.
    pub fn ranges(self) -> Vec<Contributions> {
        self.ranges
    }
}

impl Wire for Contributions {
    fn encode(&self, out: &mut Vec<u8>) {
        self.first.encode(out);
        self.last.encode(out);
    }
    fn decode(input: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Ok(Self { first: Wire::decode(input)?, last: Wire::decode(input)? })
    }
}

/// What the shards of a round are made of. A run trains in all its rounds and captures sketches in
/// one more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ShardTask {
    /// Train on the units and publish the update, which the round averages.
    Train,
    /// Capture the attribution sketches of the units from the checkpoint of the last round.
    Sketch,
}

impl RunConfig {
    /// What the shards of a round are made of.
    pub const fn task(&self, round: Round) -> ShardTask {
        if round.0 < self.rounds { ShardTask::Train } else { ShardTask::Sketch }
    }

    /// Whether it reads the contribution of a number, if that is one to its Datanet.
    pub fn reads(&self, contribution: u64) -> bool {
        let after = self.data.partition_point(|range| range.first <= contribution);
        let range = after.checked_sub(1).and_then(|place| self.data.get(place));
        range.is_some_and(|range| contribution <= range.last)
    }

    fn has_ascending_data(&self) -> bool {
        let is_range = |range: &Contributions| range.first <= range.last;
        !self.data.is_empty()
            && self.data.iter().all(is_range)
            && self.data.is_sorted_by(|a, b| a.last < b.first)
    }
}

impl Wire for RunConfig {
    fn encode(&self, out: &mut Vec<u8>) {
        1u8.encode(out);
        self.model.encode(out);
        self.tokenizer.encode(out);
        self.tokenizer_length.encode(out);
        self.seed.encode(out);
        self.rounds.encode(out);
        self.units_per_shard.encode(out);
        self.steps.encode(out);
        self.batch.encode(out);
        self.context.encode(out);
        self.warmup.encode(out);
        self.learning_rate.encode(out);
        self.final_rate.encode(out);
        self.top_k.encode(out);
        self.alpha.encode(out);
        encode_list(&self.data, out);
    }

    fn decode(input: &mut Reader<'_>) -> Result<Self, DecodeError> {
        match u8::decode(input)? {
            1 => {}
            version => return Err(DecodeError::Tag(version)),
        }
        let config = Self {
            model: Wire::decode(input)?,
            tokenizer: Wire::decode(input)?,
            tokenizer_length: Wire::decode(input)?,
            seed: Wire::decode(input)?,
            rounds: Wire::decode(input)?,
            units_per_shard: Wire::decode(input)?,
            steps: Wire::decode(input)?,
            batch: Wire::decode(input)?,
            context: Wire::decode(input)?,
            warmup: Wire::decode(input)?,
            learning_rate: Wire::decode(input)?,
            final_rate: Wire::decode(input)?,
            top_k: Wire::decode(input)?,
            alpha: Wire::decode(input)?,
            data: input.list(MAX_RUN_RANGES)?,
        };
        let is_sane = config.model.is_sane()
            && (1..=1_000_000).contains(&config.rounds)
            && (1..=1 << 20).contains(&config.units_per_shard)
            && (1..=10_000).contains(&config.steps)
            && (1..=1024).contains(&config.batch)
            && (8..=1 << 20).contains(&config.context)
            && config.warmup <= config.steps
            && config.learning_rate <= 1_000_000_000
            && config.final_rate <= 1_000_000
            && (2..=4096).contains(&config.top_k)
            && config.alpha <= 2_000_000
            && config.tokenizer_length <= 64 << 20
            && config.has_ascending_data();
        if is_sane { Ok(config) } else { Err(DecodeError::Invalid("a run outside its limits")) }
    }
}

/// The seed of a shard: all that is random in it.
pub(crate) fn shard_seed(round_seed: &Digest, slot: u32) -> u64 {
    leading_u64(&keccak(&[&round_seed.0, b"shard", &slot.to_be_bytes()]))
}

/// The seed of a round, from the hash of the block after the one in which it opened: nobody knew it
/// when the round before was closed.
pub fn round_seed(after_opening: &Digest, round: Round) -> Digest {
    keccak(&[&after_opening.0, b"round", &round.0.to_be_bytes()])
}

/// The units that a slot reads in a training round: a slice of the round's permutation of the
/// snapshot, so that the members of a round read disjoint data.
pub(crate) fn training_units(
    round_seed: &Digest,
    slot: u32,
    per_shard: u32,
    total: u32,
) -> Vec<u32> {
    let permutation = Permutation { seed: *round_seed, size: total };
    let first = u64::from(slot).saturating_mul(u64::from(per_shard));
    (0..u64::from(per_shard.min(total)))
        .filter_map(|i| first.saturating_add(i).checked_rem(u64::from(total)))
        .filter_map(|position| u32::try_from(position).ok())
        .map(|position| permutation.at(position))
        .collect()
}

/// Of the units that a slot reads, those that it trains on: repeated ones are left out, unless the
/// rest does not fill one window of `context` tokens and the token after it, for a shard of nothing but
/// copies still has to be computed. `length` is a unit's tokens, if there is such a unit.
pub fn trained_units(
    read: &[u32],
    context: u32,
    length: impl Fn(u32) -> Option<usize>,
    is_repeated: impl Fn(u32) -> bool,
) -> Vec<u32> {
    let known = || read.iter().copied().filter(|unit| length(*unit).is_some());
    let first: Vec<u32> = known().filter(|unit| !is_repeated(*unit)).collect();
    let tokens = first.iter().filter_map(|unit| length(*unit)).fold(0, usize::saturating_add);
    if u32::try_from(tokens).is_ok_and(|tokens| tokens <= context) {
        known().collect()
    } else {
        first
    }
}

/// The units whose sketches a slot captures: the slot's part of the snapshot in order. A slot that
/// there is not has none: a worker may have claimed any number.
pub fn sketch_units(slot: u32, slots: u32, total: u32) -> core::ops::Range<u32> {
    let bound = |s: u32| {
        let product = u64::from(total).saturating_mul(u64::from(s.min(slots)));
        u32::try_from(product.checked_div(u64::from(slots)).unwrap_or(0)).unwrap_or(total)
    };
    let units = bound(slot)..bound(slot.saturating_add(1));
    assert!(units.start <= units.end, "a slot captures a range of the snapshot");
    units
}

/// A seeded permutation of `0..size` that computes single positions: a four-round Feistel network
/// over the next power of four, walked until it lands inside.
#[derive(Debug, Clone, Copy)]
pub struct Permutation {
    /// What it is drawn from.
    pub seed: Digest,
    /// How many positions it permutes.
    pub size: u32,
}

impl Permutation {
    /// The image of a position; positions outside are returned as they are.
    pub fn at(&self, position: u32) -> u32 {
        if position >= self.size {
            return position;
        }
        let bits = 32u32.saturating_sub(self.size.saturating_sub(1).leading_zeros());
        let half = bits.div_ceil(2).max(1);
        assert!(half <= 16, "a position has 32 bits, so each half of it 16");
        let mask = 1u32.checked_shl(half).map_or(u32::MAX, |power| power.wrapping_sub(1));
        let mut value = position;
        loop {
            let (mut left, mut right) = (value >> half, value & mask);
            for round in 0u8..4 {
                let draw = keccak(&[&self.seed.0, b"feistel", &[round], &right.to_be_bytes()]);
                let mixed = u32::try_from(leading_u64(&draw) >> 32).unwrap_or(0) & mask;
                (left, right) = (right, left ^ mixed);
            }
            value = (left << half) | right;
            if value < self.size {
                return value;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use alloc::{collections::BTreeSet, vec};

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_slots_of_a_round_read_disjoint_units() {
        let seed = Digest([7; 32]);
        let mut seen = BTreeSet::new();
        for slot in 0..5 {
            seen.extend(training_units(&seed, slot, 20, 103));
        }
        assert_eq!(seen.len(), 100);
        assert!(training_units(&seed, 0, 20, 5).len() == 5);
        assert!(training_units(&seed, 0, 20, 0).is_empty());
    }

    #[test]
    fn copies_are_trained_on_only_where_nothing_else_fills_a_window() {
        let lengths = [30usize, 40, 50];
        let length = |unit: u32| lengths.get(unit as usize).copied();
        let trained = |read: &[u32], context, repeated: &[u32]| {
            trained_units(read, context, length, |unit| repeated.contains(&unit))
        };
        assert_eq!(trained(&[2, 0, 1], 64, &[1]), [2, 0]);
        assert_eq!(trained(&[2, 0, 1], 80, &[1]), [2, 0, 1], "80 tokens make no window of 80");
        assert_eq!(trained(&[2, 0, 1], 64, &[0, 1, 2]), [2, 0, 1]);
        assert_eq!(trained(&[2, 9, 0], 64, &[]), [2, 0], "there is no unit 9");
        assert_eq!(trained(&[], 64, &[]), []);
    }

    #[test]
    fn sketch_slots_cover_the_snapshot_once() {
        let all: Vec<u32> = (0..7).flat_map(|slot| sketch_units(slot, 7, 100)).collect();
        assert_eq!(all, (0..100).collect::<Vec<_>>());
    }

    proptest! {
        /// A worker may name any slot in its record, and auditors take it at its word.
        #[test]
        fn a_slot_that_there_is_not_captures_nothing(slot: u32, slots in 1u32..300, total: u32) {
            let units = sketch_units(slot, slots, total);
            prop_assert!(units.end <= total);
            prop_assert!(slot < slots || units.is_empty());
        }
    }

    #[test]
    fn the_slot_whose_end_has_more_than_32_bits_captures_nothing() {
        assert!(sketch_units(17_179, 4, 1_000_000).is_empty());
    }

    #[test]
    fn a_run_outside_its_limits_is_refused() {
        let config = RunConfig {
            model: RunModel::Preset(0),
            tokenizer: Hash::ZERO,
            tokenizer_length: 1,
            seed: 1,
            rounds: 3,
            units_per_shard: 4,
            steps: 3,
            batch: 2,
            context: 64,
            warmup: 1,
            learning_rate: 1,
            final_rate: 1,
            top_k: 64,
            alpha: 1,
            data: vec![Contributions { first: 2, last: 4 }, Contributions { first: 7, last: 7 }],
        };
        assert_eq!(RunConfig::from_bytes(&config.to_bytes()), Ok(config.clone()));
        let read: Vec<u64> = (0..10).filter(|id| config.reads(*id)).collect();
        assert_eq!(read, [2, 3, 4, 7]);
        let backwards = config.data.iter().rev().copied().collect();
        for bad in [
            RunConfig { rounds: 0, ..config.clone() },
            RunConfig { data: vec![], ..config.clone() },
            RunConfig { data: backwards, ..config.clone() },
            RunConfig { data: vec![Contributions { first: 2, last: 1 }], ..config },
        ] {
            assert!(matches!(RunConfig::from_bytes(&bad.to_bytes()), Err(DecodeError::Invalid(_))));
        }
    }

    #[test]
    fn a_selection_names_what_is_read_and_nothing_else_of_the_datanet() {
        let mut selection = Selection::default();
        for (id, is_read) in [(2, true), (5, true), (6, false), (9, true), (11, true), (12, false)]
        {
            if is_read { selection.take(id) } else { selection.leave_out() }
        }
        let expected = [Contributions { first: 2, last: 5 }, Contributions { first: 9, last: 11 }];
        assert_eq!(selection.ranges(), expected);
        let mut full = Selection::default();
        for id in 0..MAX_RUN_RANGES as u64 {
            assert!(full.has_room());
            full.take(2 * id);
            full.leave_out();
        }
        assert!(!full.has_room(), "an order is of bounded length");
    }

    proptest! {
        #[test]
        fn a_permutation_permutes(size in 1u32..300, seed: [u8; 32]) {
            let permutation = Permutation { seed: Digest(seed), size };
            let images: BTreeSet<_> = (0..size).map(|i| permutation.at(i)).collect();
            prop_assert_eq!(images.len(), size as usize);
            prop_assert!(images.iter().all(|i| *i < size));
        }
    }
}
