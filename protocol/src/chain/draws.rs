//! What follows from the beacons: placement, auditors, proposers. Each is drawn once, by the first
//! block that fixes it.

use alloc::{collections::BTreeMap, sync::Arc, vec::Vec};

use super::{BlockHeader, ChainEvent, ChainView, Duties, Purpose};
use crate::{
    draw,
    eip712::{address_word, word},
    hash::keccak,
    ids::{AccountId, BlockNumber, Digest, Epoch, NodeId},
    placement::{NodeSeed, PackSeed, Placement},
};

impl ChainView {
    /// Draws every seed whose block this is, and what follows from it.
    pub(super) fn draw_seeds(&mut self, header: BlockHeader) {
        let epoch = self.schedule.epoch_of(header.number);
        if header.number == self.schedule.start(epoch) {
            self.draw_seed(epoch, Purpose::Commit, header);
            // Before anybody is drawn from them, and without who comes in this block.
            self.take_members(epoch, header.number);
            if let Some(previous) = epoch.0.checked_sub(1).map(Epoch) {
                let seed = self.draw_seed(previous, Purpose::Settle, header);
                let unsettled = self.next_to_settle();
                self.drawn.proposers.retain(|of, _| *of >= unsettled);
                let proposers = self.draw_proposers(header.number, &seed);
                self.drawn.proposers.insert(previous, proposers);
            }
            // A whole epoch ahead: who is to hold a pack needs time to fetch it.
            self.place(epoch.next());
        }
        if header.number == self.schedule.commit_deadline(epoch) {
            self.draw_seed(epoch, Purpose::Open, header);
            self.draw_duties(epoch);
        }
    }

    /// Whether a block gives work to nodes that rest ([`crate::node::Node::next_block`]).
    pub fn stirs(&self, header: BlockHeader, events: &[ChainEvent]) -> bool {
        let epoch = self.schedule.epoch_of(header.number);
        let is_turn = header.number == self.schedule.start(epoch)
            || header.number == self.schedule.commit_deadline(epoch);
        // The members of a large run are drawn in the block after its order.
        let is_drawn = |ordered: &BlockNumber| ordered.next() == header.number;
        is_turn
            || self.models().map(|(ordered, _)| ordered).any(is_drawn)
            || events.iter().any(|event| {
                matches!(
                    event,
                    ChainEvent::Proposed { .. }
                        | ChainEvent::Objected { .. }
                        | ChainEvent::Ruled { .. }
                        | ChainEvent::Defeated { .. }
                        | ChainEvent::Finalised { .. }
                        | ChainEvent::ModelCreated(_)
                        | ChainEvent::ModelPublished(_)
                )
            })
    }

    /// Fixes a beacon from the block that is its own.
    fn draw_seed(&mut self, epoch: Epoch, purpose: Purpose, header: BlockHeader) -> Digest {
        let seed = self.seed_from(epoch, purpose, header);
        let before = self.seeds.insert((epoch, purpose), seed);
        assert!(before.is_none(), "a beacon is drawn once: blocks are folded in once and in order");
        seed
    }

    fn seed_from(&self, epoch: Epoch, purpose: Purpose, header: BlockHeader) -> Digest {
        keccak(&[
            &word(u128::from(self.domain.chain_id())),
            &address_word(self.domain.coordinator()),
            &word(u128::from(epoch.0)),
            &word(u128::from(purpose as u8)),
            &header.hash.0,
        ])
    }

    /// Members are only ever added, so the last list serves until somebody joins.
    fn take_members(&mut self, epoch: Epoch, start: BlockNumber) {
        let last = self.drawn.members.last_key_value().map(|(_, members)| Arc::clone(members));
        let count = self
            .accounts
            .values()
            .filter(|account| account.node != NodeId::ZERO && account.registered < start)
            .count();
        let members = match last {
            Some(last) if last.len() == count => last,
            _ => Arc::new(self.members_at(start)),
        };
        assert!(members.is_sorted(), "members are drawn from a list sorted by id");
        let before = self.drawn.members.insert(epoch, members);
        assert!(before.is_none(), "the members of an epoch are taken once, when it begins");
    }

    /// The placement of an epoch: packs and nodes registered at least two epochs before it, so that
    /// there was a whole epoch in which to fetch.
    fn place(&mut self, epoch: Epoch) {
        let Some(newest) = epoch.0.checked_sub(2).map(Epoch) else { return };
        // The first seed after a registration, which whoever registered could not know.
        let seed_after =
            |registered: Epoch| self.seeds.get(&(registered.next(), Purpose::Commit)).copied();
        let packs: Vec<_> = self
            .packs
            .iter()
            .filter(|(_, pack)| pack.admitted <= newest)
            .filter_map(|(hash, pack)| {
                let seed = seed_after(pack.admitted)?;
                Some(PackSeed { hash: *hash, length: pack.length, seed })
            })
            .collect();
        let snapshot = self.schedule.start(newest.next());
        let nodes: Vec<_> = self
            .accounts
            .iter()
            .filter(|(_, account)| account.node != NodeId::ZERO && account.registered < snapshot)
            .filter_map(|(id, account)| {
                let seed = seed_after(self.schedule.epoch_of(account.registered))?;
                Some(NodeSeed { account: *id, stake: account.stake_at(snapshot), seed })
            })
            .collect();
        let placement = self.drawn.placer.place(packs, nodes, self.params.holding.replicas);
        let before = self.drawn.placements.insert(epoch, placement);
        assert!(before.is_none(), "who holds what in an epoch is decided once");
    }

    /// The proposers of a settlement by rank, as of the first block after its epoch: members with
    /// stake, all members if none has any.
    fn draw_proposers(&self, end: BlockNumber, seed: &Digest) -> BTreeMap<AccountId, usize> {
        let members = self.members_at(end);
        let has_stake =
            |id: &AccountId| self.account(*id).is_some_and(|account| account.stake_at(end).0 > 0);
        let staked: Vec<_> = members.iter().copied().filter(has_stake).collect();
        let candidates = if staked.is_empty() { members } else { staked };
        let order = draw::proposers(seed, &candidates);
        assert!(order.len() == candidates.len(), "every candidate has one turn to propose");
        order.into_iter().zip(0usize..).collect()
    }

    fn draw_duties(&mut self, epoch: Epoch) {
        let mut duties = Duties::new();
        for (holder, _) in self.placement(epoch).holders() {
            for auditor in self.storage_auditors(epoch, holder) {
                assert!(auditor != holder, "nobody audits its own storage");
                duties.entry(auditor).or_default().push(holder);
            }
        }
        // A node audits in the current epoch only.
        self.drawn.duties.retain(|of, _| of.next() >= epoch);
        self.drawn.duties.insert(epoch, Arc::new(duties));
        assert!(self.drawn.duties.len() <= 2, "duties are kept of this epoch and the one before");
    }

    /// Who holds what in an epoch. Known one epoch ahead; empty before.
    pub fn placement(&self, epoch: Epoch) -> Arc<Placement> {
        self.drawn.placements.get(&epoch).cloned().unwrap_or_default()
    }

    /// Whose storage each account audits in the current epoch or the one before; empty until the
    /// commit deadline.
    pub fn audit_duties(&self, epoch: Epoch) -> Arc<Duties> {
        self.drawn.duties.get(&epoch).cloned().unwrap_or_default()
    }

    /// The auditors of one holder's storage in an epoch: members at its start, without the holder;
    /// none until the commit deadline.
    pub fn storage_auditors(&self, epoch: Epoch, holder: AccountId) -> Vec<AccountId> {
        let (Some(seed), Some(members)) =
            (self.seed(epoch, Purpose::Open), self.drawn.members.get(&epoch))
        else {
            return Vec::new();
        };
        draw::storage_auditors(&seed, holder, members, self.params.holding.auditors)
    }

    /// An account's turn to propose the settlement of an epoch, from 0; `None` when it has none, or
    /// the epoch is not over, or its settlement is final. Those whose proposal for it fell come after
    /// all others.
    pub fn proposer_rank(&self, epoch: Epoch, account: AccountId) -> Option<usize> {
        let drawn = self.drawn.proposers.get(&epoch)?;
        if !drawn.is_empty() {
            return self.rank_now(epoch, drawn, account);
        }
        // An epoch that nobody saw must be settled all the same, by whoever came since.
        let now = self.head?.number.next();
        let seed = self.seed(epoch, Purpose::Settle)?;
        self.rank_now(epoch, &self.draw_proposers(now, &seed), account)
    }

    fn rank_now(
        &self,
        epoch: Epoch,
        drawn: &BTreeMap<AccountId, usize>,
        account: AccountId,
    ) -> Option<usize> {
        let rank = *drawn.get(&account)?;
        let fell: Vec<_> = self.defeats(epoch).filter_map(|(id, _)| drawn.get(&id)).collect();
        if fell.contains(&&rank) {
            return Some(drawn.len().saturating_add(rank));
        }
        let before = fell.into_iter().filter(|other| **other < rank).count();
        assert!(
            before <= rank,
            "no more can have fallen before a turn than there are turns before it"
        );
        Some(rank.saturating_sub(before))
    }
}
