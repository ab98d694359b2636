//! What it takes to replace the newest blocks: the state before them, and the blocks.

use std::collections::{BTreeMap, VecDeque};

use protocol::{
    AccountId, Amount, EvmAddress,
    chain::{BlockHeader, ChainEvent, ChainView},
};

/// A block as nodes read it.
#[derive(Debug, Clone)]
pub struct ReadBlock {
    /// Its number, hash and time.
    pub header: BlockHeader,
    /// What the contracts said.
    pub events: Vec<ChainEvent>,
}

/// Who holds what, as the registry's events tell.
#[derive(Debug, Clone, Default)]
pub(super) struct Holdings {
    pub(super) payouts: BTreeMap<AccountId, EvmAddress>,
    pub(super) stakes: BTreeMap<AccountId, Amount>,
    /// The sum of all stakes.
    pub(super) staked: Amount,
}

impl Holdings {
    pub(super) fn fold(&mut self, events: &[ChainEvent]) {
        for event in events {
            match event {
                ChainEvent::AccountRegistered { account, payout, .. }
                | ChainEvent::PayoutChanged { account, payout } => {
                    self.payouts.insert(*account, *payout);
                }
                ChainEvent::StakeChanged { account, stake } => {
                    let before = self.stakes.insert(*account, *stake).unwrap_or_default();
                    let rest = self.staked.saturating_sub(before);
                    self.staked = rest.saturating_add(*stake);
                }
                _ => {}
            }
        }
    }
}

/// The newest blocks, and view and holdings as they were before the first of them.
#[derive(Debug)]
pub(super) struct Past {
    depth: usize,
    view: ChainView,
    holdings: Holdings,
    blocks: VecDeque<ReadBlock>,
}

impl Past {
    pub(super) const fn new(depth: usize, view: ChainView, holdings: Holdings) -> Self {
        Self { depth, view, holdings, blocks: VecDeque::new() }
    }

    /// Keeps a block; the oldest cannot be replaced any more.
    pub(super) fn keep(&mut self, block: ReadBlock) {
        self.blocks.push_back(block);
        while self.blocks.len() > self.depth
            && let Some(oldest) = self.blocks.pop_front()
        {
            self.view.apply(oldest.header, &oldest.events);
            self.holdings.fold(&oldest.events);
        }
    }

    /// How many blocks can be replaced.
    pub(super) fn len(&self) -> usize {
        self.blocks.len()
    }

    /// Drops the newest blocks; what remains.
    pub(super) fn drop_newest(&mut self, blocks: usize) -> Holdings {
        self.blocks.truncate(self.blocks.len().saturating_sub(blocks));
        let mut holdings = self.holdings.clone();
        self.blocks.iter().for_each(|block| holdings.fold(&block.events));
        holdings
    }

    /// The view of the chain after the blocks that remain.
    pub(super) fn view(&self) -> ChainView {
        let mut view = self.view.clone();
        self.blocks.iter().for_each(|block| view.apply(block.header, &block.events));
        view
    }
}
