//! What is kept of training runs for as long as there is a chain.

use alloc::collections::BTreeMap;

use crate::{
    draw::Part,
    ids::{AccountId, BlockNumber, Epoch, Hash, ModelId, Round},
    limits::MAX_CLOSES_PER_MEMBER,
};

/// What is kept of runs: what they closed on, and which of their parts were paid.
#[derive(Debug, Clone)]
pub(super) struct Runs {
    /// Checkpoints from which a round may start, with who named each first and in which block.
    bases: BTreeMap<(ModelId, Round), BTreeMap<Hash, (AccountId, BlockNumber)>>,
    /// The epoch whose settlement paid a part. Each cost at least a record on chain.
    paid: BTreeMap<Part, Epoch>,
    /// The epoch in which a worker first claimed a part that was its to do; a record on chain each, too.
    claimed: BTreeMap<(Part, AccountId), Epoch>,
}

impl Runs {
    pub(super) const fn new() -> Self {
        Self { bases: BTreeMap::new(), paid: BTreeMap::new(), claimed: BTreeMap::new() }
    }

    /// A member says what a round closed on.
    pub(super) fn close(
        &mut self,
        by: AccountId,
        (model, next): (ModelId, Round),
        base: Hash,
        at: BlockNumber,
    ) {
        let bases = self.bases.entry((model, next)).or_default();
        let named = bases.values().filter(|(of, _)| *of == by).count();
        if named < MAX_CLOSES_PER_MEMBER {
            bases.entry(base).or_insert((by, at));
        }
    }

    /// When a round of a run could first start from a checkpoint.
    pub(super) fn base_since(
        &self,
        model: ModelId,
        round: Round,
        base: &Hash,
    ) -> Option<BlockNumber> {
        self.bases.get(&(model, round))?.get(base).map(|(_, at)| *at)
    }

    /// A worker claims a part that is its to do.
    pub(super) fn claim(&mut self, part: Part, worker: AccountId, epoch: Epoch) {
        self.claimed.entry((part, worker)).or_insert(epoch);
    }

    /// The settlement of an epoch paid a part.
    pub(super) fn pay(&mut self, part: Part, epoch: Epoch) {
        self.paid.entry(part).or_insert(epoch);
    }

    /// Whether a worker may be paid for a part in an epoch: it claimed it in no other one first, and none
    /// before paid it.
    pub(super) fn is_open(&self, part: Part, worker: AccountId, epoch: Epoch) -> bool {
        let is_paid = self.paid.get(&part).is_some_and(|paid| *paid < epoch);
        !is_paid && self.claimed.get(&(part, worker)) == Some(&epoch)
    }

    /// The parts of a run that epochs before one paid.
    pub(super) fn paid_before(&self, model: ModelId, epoch: Epoch) -> impl Iterator<Item = Part> {
        let all = Part { model, round: Round(0), slot: 0 };
        let of_run = self.paid.range(all..).take_while(move |(part, _)| part.model == model);
        of_run.filter(move |(_, paid)| **paid < epoch).map(|(part, _)| *part)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_member_names_a_few_checkpoints_of_a_round_and_takes_no_place_of_anothers() {
        let mut runs = Runs::new();
        let of = (ModelId(1), Round(3));
        for n in 0..100 {
            runs.close(AccountId(1), of, Hash([n; 32]), BlockNumber(5));
        }
        runs.close(AccountId(2), of, Hash([200; 32]), BlockNumber(6));
        runs.close(AccountId(2), of, Hash([0; 32]), BlockNumber(7));
        let since = |n| runs.base_since(of.0, of.1, &Hash([n; 32])).map(|block| block.0);
        assert_eq!((since(0), since(1), since(2), since(200)), (Some(5), Some(5), None, Some(6)));
        assert_eq!(runs.base_since(of.0, Round(2), &Hash([0; 32])), None);
    }
}
