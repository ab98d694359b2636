//! The chain of a run, and what the simulator notes of its blocks.

use std::collections::{BTreeMap, BTreeSet};

use protocol::{
    AccountId, BlockNumber, Digest, Epoch,
    chain::{ChainEvent, ChainView, Transaction},
};

use super::low;
use crate::{
    Scenario,
    chain::{Chain, Mined},
    kernel::{Draws, Purpose, Time},
    nodes::Identity,
    scenario::WARM_UP_EPOCHS,
};

/// Blocks that claims have after the last settlement is final.
const CLAIM_BLOCKS: u64 = 3;
/// Epochs that the last settlement may take to become final.
const PATIENCE_EPOCHS: u64 = 2;

/// What was counted of blocks.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Counts {
    pub(super) transactions: u64,
    pub(super) reverted: u64,
    pub(super) gas: u64,
    /// Settlements that were defeated.
    pub(super) defeated: u64,
    /// How often the newest blocks were replaced, and how many blocks were.
    pub(super) reorgs: u64,
    pub(super) replaced: u64,
}

/// The chain, and what is to happen to its epochs.
pub(super) struct Ledger {
    chain: Chain,
    /// The newest block that nodes read, and when it was mined.
    head: (u32, Time),
    final_at: BTreeMap<Epoch, BlockNumber>,
    /// Proposals to which somebody objects, with the blocks in which the arbiter rules.
    objections: BTreeSet<(BlockNumber, Digest)>,
    /// Epochs whose settlement was counted: once, however often its block comes.
    folded: BTreeSet<Epoch>,
    /// The first epoch that was not measured yet.
    unmeasured: Epoch,
    counts: Counts,
}

impl Ledger {
    pub(super) fn new(chain: Chain) -> Self {
        Self {
            chain,
            head: (0, Time(0)),
            final_at: BTreeMap::new(),
            objections: BTreeSet::new(),
            folded: BTreeSet::new(),
            unmeasured: Epoch(0),
            counts: Counts::default(),
        }
    }

    pub(super) const fn chain(&self) -> &Chain {
        &self.chain
    }

    /// The chain as nodes see it.
    pub(super) const fn view(&self) -> &ChainView {
        self.chain.view()
    }

    /// The chain, for developers, consumers and the sponsor, who run no node.
    pub(super) const fn chain_mut(&mut self) -> &mut Chain {
        &mut self.chain
    }

    /// The newest block that nodes read, and when it was mined.
    pub(super) const fn head(&self) -> (u32, Time) {
        self.head
    }

    pub(super) const fn head_number(&self) -> u32 {
        self.head.0
    }

    /// The number of the newest block that nodes have read.
    pub(super) fn read_head(&self) -> BlockNumber {
        self.view().head().map_or(BlockNumber(0), |head| head.number)
    }

    /// A block reaches the nodes.
    pub(super) fn set_head(&mut self, block: BlockNumber, now: Time) {
        self.head = (low(block), now);
    }

    pub(super) const fn counts(&self) -> Counts {
        self.counts
    }

    /// Makes the next block.
    pub(super) fn mine(&mut self, now: Time) -> Mined {
        let mined = self.chain.mine(now);
        self.counts.transactions += mined.transactions;
        self.counts.reverted += mined.reverted;
        self.counts.gas += mined.gas;
        mined
    }

    /// Notes what a block says that nodes read; the epoch whose settlement it makes final for the
    /// first time.
    pub(super) fn read(
        &mut self,
        event: &ChainEvent,
        block: BlockNumber,
        arbiter_blocks: u64,
    ) -> Option<Epoch> {
        match event {
            ChainEvent::Finalised { epoch, .. } => {
                self.final_at.insert(*epoch, block);
                return self.folded.insert(*epoch).then_some(*epoch);
            }
            // Without an arbiter nobody rules.
            ChainEvent::Objected { id, .. } if arbiter_blocks > 0 => {
                self.objections.insert((BlockNumber(block.0 + arbiter_blocks), *id));
            }
            ChainEvent::Defeated { .. } | ChainEvent::Closed { is_right: false, .. } => {
                self.counts.defeated += 1;
            }
            _ => {}
        }
        None
    }

    /// The proposals on which the arbiter rules in a block: objections that have waited long enough.
    pub(super) fn take_objections(
        &mut self,
        block: BlockNumber,
    ) -> BTreeSet<(BlockNumber, Digest)> {
        let later = self.objections.split_off(&(block.next(), Digest::ZERO));
        std::mem::replace(&mut self.objections, later)
    }

    /// Whether an epoch begins for the first time.
    pub(super) fn begins(&mut self, epoch: Epoch) -> bool {
        let is_first = epoch >= self.unmeasured;
        self.unmeasured = self.unmeasured.max(epoch.next());
        is_first
    }

    /// In which block the settlement of an epoch became final.
    pub(super) fn final_at(&self, epoch: Epoch) -> Option<BlockNumber> {
        self.final_at.get(&epoch).copied()
    }

    /// The epochs whose settlements are final.
    pub(super) fn final_epochs(&self) -> impl Iterator<Item = Epoch> {
        self.final_at.keys().copied()
    }

    /// Registers identities, and stakes for accounts, at the sponsor's expense.
    pub(super) fn register(&mut self, ids: &[Identity]) {
        let sponsor = self.chain.sponsor();
        ids.iter().for_each(|id| self.chain.submit(sponsor, &id.registration()));
    }

    /// Stakes for an account what every node has at stake.
    pub(super) fn stake_for(&mut self, account: AccountId, scenario: &Scenario) {
        let (sponsor, amount) = (self.chain.sponsor(), scenario.stake());
        if amount > protocol::Amount::ZERO {
            self.chain.submit(sponsor, &Transaction::StakeFor { account, amount });
        }
    }

    /// Before a block is made: replaces the newest ones by others, where it is drawn. When nodes had
    /// read some of those that are gone, the newest block that stays.
    pub(super) fn reorganise(
        &mut self,
        now: Time,
        draws: Draws,
        scenario: &Scenario,
    ) -> Option<BlockNumber> {
        let rules = &scenario.chain;
        if rules.reorg <= 0.0 {
            return None;
        }
        let next = self.chain.head().0 + 1;
        let draw = |which| draws.share(Purpose::Reorg, next, which);
        if draw(0) >= rules.reorg {
            return None;
        }
        // Geometric, with the given mean; what is deeper than the limit is cut off.
        let goes_on = 1.0 - 1.0 / rules.reorg_depth;
        let deeper = (1..rules.reorg_limit).take_while(|which| draw(*which) < goes_on).count();
        let depth = deeper as u64 + 1;
        let made = |ago: u64| Time(now.0.saturating_sub(ago.saturating_mul(rules.block.0)));
        let times: Vec<_> = (1..=depth).rev().map(made).collect();
        let (stays, was_read) = self.chain.replace(&times);
        self.counts.reorgs += 1;
        self.counts.replaced += self.chain.head().0 - stays.0;
        if !was_read {
            return None;
        }
        self.final_at.retain(|_, block| *block <= stays);
        Some(stays)
    }

    /// The last epoch that is simulated in full.
    pub(super) const fn last_epoch(scenario: &Scenario) -> Epoch {
        Epoch(scenario.epochs + WARM_UP_EPOCHS - 1)
    }

    /// Blocks that a run takes when nobody is late: until the claims of its last epoch are paid.
    pub(super) fn blocks(&self, scenario: &Scenario) -> u64 {
        let over = Self::last_epoch(scenario).next();
        let delay = scenario.chain.settle_blocks;
        self.view().schedule.start(over).0
            + delay
            + scenario.chain.challenge_blocks
            + CLAIM_BLOCKS
            + 4
    }

    /// Whether a run is over after a block; claims may be on their way for `late` blocks more.
    pub(super) fn has_ended(&self, block: BlockNumber, scenario: &Scenario, late: u64) -> bool {
        let (last, rules) = (Self::last_epoch(scenario), &scenario.chain);
        if let Some(at) = self.final_at(last) {
            return block.0 >= at.0 + CLAIM_BLOCKS + late + u64::from(rules.confirmations);
        }
        // One who lies takes a window and a ruling, and who comes after it a window more.
        let windows = 4 * rules.challenge_blocks + rules.arbiter_blocks;
        let patience = windows.max(PATIENCE_EPOCHS * rules.epoch_blocks);
        block.0 >= self.view().schedule.start(last.next()).0 + patience
    }
}
