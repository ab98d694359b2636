//! Settling, verifying and claiming, by the protocol's own functions.

use std::{collections::BTreeMap, sync::Arc};

use protocol::{
    AccountId, Amount, Balance, Digest, Epoch,
    chain::{ChainView, DatanetUse, Settlement, Transaction},
    hash::blake3,
    merkle::SumTree,
    node::{Done, Failure},
    settle::{self, Outcome, SettleError, encode_balances, payout_tree},
};

use super::{Answer, env::Env};

/// Time of a host for the arithmetic of one settlement.
const SETTLE_MICROS: u64 = 500_000;
/// Settlements whose reasons are kept at once: older ones have been counted.
const KEPT: usize = 8;

/// A settlement that somebody computed, with the tree that claims need.
#[derive(Debug)]
pub(super) struct Settled {
    pub(super) outcome: Outcome,
    tree: SumTree,
}

impl Settled {
    fn new(outcome: Outcome) -> Self {
        let tree = payout_tree(&outcome.leaves);
        Self { outcome, tree }
    }

    const fn epoch(&self) -> Epoch {
        self.outcome.settlement.epoch
    }

    /// What an account has earned by it, with all settlements before.
    pub(super) fn earned(&self, account: AccountId) -> Option<Amount> {
        let leaves = &self.outcome.leaves;
        let found = leaves.binary_search_by_key(&account, |(id, _)| *id).ok()?;
        Some(leaves[found].1.total())
    }

    fn claim(&self, account: AccountId) -> Option<Transaction> {
        let leaves = &self.outcome.leaves;
        let index = leaves.binary_search_by_key(&account, |(id, _)| *id).ok()?;
        let balance = leaves[index].1;
        let path = self.tree.prove(index as u64)?;
        let count = leaves.len() as u64;
        Some(Transaction::Claim { account, balance, index: index as u64, count, path })
    }

    /// The same, but what it adds for others than these is left out.
    fn only_for(&self, before: &[(AccountId, Balance)], pays: impl Fn(AccountId) -> bool) -> Self {
        let mut outcome = self.outcome.clone();
        outcome.lines.retain(|line| pays(line.account));
        let mut balances: BTreeMap<AccountId, Balance> = before.iter().copied().collect();
        for line in &outcome.lines {
            let balance = balances.entry(line.account).or_default();
            *balance = balance.checked_add(line.balance()).expect("no more than there is");
        }
        outcome.leaves = balances.into_iter().collect();
        let (tree, list) = (payout_tree(&outcome.leaves), encode_balances(&outcome.leaves));
        let settlement = &mut outcome.settlement;
        (settlement.payout_root, settlement.total) = (tree.root(), Amount(tree.sum()));
        (settlement.balances, settlement.balances_length) = (blake3(&list), list.len() as u64);
        Self { outcome, tree }
    }
}

/// The settlements that somebody computed, each once.
#[derive(Default)]
pub(super) struct Settlements {
    computed: BTreeMap<Digest, Arc<Settled>>,
    /// What follows from the chain: the same for all who compute it.
    right: BTreeMap<Epoch, Arc<Settled>>,
}

impl Settlements {
    /// What the settlement of an epoch on chain pays, once somebody computed it.
    pub(super) fn of(&self, view: &ChainView, epoch: Epoch) -> Option<&Arc<Settled>> {
        self.computed.get(&view.settlement(epoch)?.id)
    }

    /// The uses that a settlement names, if somebody computed them.
    pub(super) fn uses_of(&self, settlement: &Settlement) -> Option<Vec<DatanetUse>> {
        let mut all = self.computed.values().map(|settled| &settled.outcome);
        all.find(|of| of.settlement.uses == settlement.uses).map(|of| of.uses.clone())
    }

    fn keep(&mut self, settled: Settled) -> Arc<Settled> {
        let id = settled.outcome.settlement.id();
        let kept = Arc::clone(self.computed.entry(id).or_insert_with(|| Arc::new(settled)));
        if self.computed.len() > KEPT {
            let oldest = self.computed.values().map(|settled| settled.epoch()).min();
            self.computed.retain(|_, settled| Some(settled.epoch()) != oldest);
        }
        kept
    }

    fn balances_before(&self, view: &ChainView, epoch: Epoch) -> Option<Vec<(AccountId, Balance)>> {
        let Some(before) = epoch.0.checked_sub(1) else { return Some(Vec::new()) };
        self.of(view, Epoch(before)).map(|settled| settled.outcome.leaves.clone())
    }

    /// What follows from the chain for an epoch; `None` where it is not over, or follows a settlement that
    /// nobody could compute.
    fn right(&mut self, view: &ChainView, epoch: Epoch) -> Option<Arc<Settled>> {
        if let Some(known) = self.right.get(&epoch) {
            return Some(Arc::clone(known));
        }
        let parent = self.balances_before(view, epoch)?;
        match settle::settle(view, epoch, &parent) {
            Ok(outcome) => {
                let kept = self.keep(Settled::new(outcome));
                self.right.insert(epoch, Arc::clone(&kept));
                Some(kept)
            }
            // A bug of the program under test: the run ends as a crash, with its seed.
            Err(error @ SettleError::Invariant { .. }) => panic!("{error}"),
            Err(_) => None,
        }
    }

    /// Whether an epoch that is settled for good would still be settled as when its cutoff was over.
    pub(super) fn is_stable(&self, view: &ChainView, epoch: Epoch) -> bool {
        let (Some(right), Some(parent)) =
            (self.right.get(&epoch), self.balances_before(view, epoch))
        else {
            return true;
        };
        match settle::settle(view, epoch, &parent) {
            Ok(now) => now.settlement == right.outcome.settlement,
            Err(error @ SettleError::Invariant { .. }) => panic!("{error}"),
            Err(_) => true,
        }
    }

    /// Settles an epoch.
    pub(super) fn settle(&mut self, env: &Env, epoch: Epoch) -> Answer {
        match self.right(env.view(), epoch) {
            Some(settled) => settled_as(&settled),
            None => Answer::after(0, Done::Failed(Failure::Local)),
        }
    }

    /// Settles an epoch for some accounts alone, which is wrong.
    pub(super) fn settle_for(
        &mut self,
        env: &Env,
        epoch: Epoch,
        pays: impl Fn(AccountId) -> bool,
    ) -> Answer {
        let right = self.right(env.view(), epoch);
        let before = self.balances_before(env.view(), epoch);
        let (Some(right), Some(before)) = (right, before) else {
            return Answer::after(0, Done::Failed(Failure::Local));
        };
        settled_as(&self.keep(right.only_for(&before, pays)))
    }

    /// Recomputes what was proposed for an epoch, as a watcher does.
    pub(super) fn verify(&mut self, env: &Env, epoch: Epoch) -> Answer {
        match self.right(env.view(), epoch) {
            Some(right) => settled_as(&right),
            None => Answer::unavailable(0),
        }
    }

    /// Looks for the challenge that ends a wrong settlement, whose proposer published nothing.
    pub(super) fn refute(&mut self, env: &Env, settlement: &Settlement) -> Answer {
        let before = self.balances_before(env.view(), settlement.epoch);
        let right = self.right(env.view(), settlement.epoch);
        let (Some(before), Some(right)) = (before, right) else { return Answer::unavailable(0) };
        let challenge = settle::refute(settlement, &before, &[&right.outcome.leaves]);
        Answer::after(0, Done::Refuted(challenge))
    }

    /// Whether the arbiter upholds the objection to a proposal, by recomputing it. `None` where that is
    /// gone.
    pub(super) fn arbitrate(&mut self, env: &Env, id: &Digest) -> Option<(Settlement, bool)> {
        let settlement = env.view().proposal(id)?.settlement;
        let right = self.right(env.view(), settlement.epoch)?;
        Some((settlement, right.outcome.settlement != settlement))
    }

    /// Claims what an account has.
    pub(super) fn claim(&self, env: &Env, (epoch, account): (Epoch, AccountId)) -> Answer {
        let Some(settled) = self.of(env.view(), epoch) else {
            return Answer::unavailable(0);
        };
        let is_owed = |claim: &Transaction| matches!(claim, Transaction::Claim { balance, .. } if !env.view().claimable(account, *balance).is_nothing());
        let submits = settled.claim(account).filter(is_owed);
        // A machine does nothing when it has claimed, so it need not be told later.
        Answer { submits, ..Answer::after(0, Done::Claimed) }
    }

    /// Settlements follow from the chain, of which the newest blocks are gone.
    pub(super) fn forget_unsettled(&mut self, view: &ChainView) {
        let settled = view.next_to_settle();
        self.right.retain(|epoch, _| *epoch < settled);
        self.computed.retain(|_, known| known.epoch() < settled);
    }

    /// Forgets settlements before `first` whose claims nobody makes any more.
    pub(super) fn forget_before(&mut self, view: &ChainView, first: Epoch) {
        let last = view.last_final().map_or(Epoch(0), |state| state.settlement.epoch);
        self.right.retain(|epoch, _| *epoch >= first.min(last));
        self.computed.retain(|_, settled| settled.epoch() >= first.min(last));
    }
}

fn settled_as(settled: &Settled) -> Answer {
    let (settlement, uses) = (settled.outcome.settlement, settled.outcome.uses.clone());
    Answer::after(SETTLE_MICROS, Done::Settled(settlement, uses))
}
