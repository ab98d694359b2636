//! What somebody proposes, objects to, or tries.

use std::collections::BTreeMap;

use super::super::driver::Draw;
use super::proofs::Proof;
use super::{Call, PAID, Proposal, RULING_BLOCKS, Rivals, Told};
use crate::contracts::world::{ACCOUNTS, BUDGET, CHALLENGE_BLOCKS, OPEN};

impl Rivals {
    /// What is right for the next epoch, or would be.
    pub(super) fn honest(&self, draw: &mut Draw) -> Told {
        let mut earned = BTreeMap::<u64, (u128, u128)>::new();
        for (account, free, lane) in self.settled.last().iter().flat_map(|last| &last.leaves) {
            let of = earned.entry(*account).or_default();
            *of = (of.0.max(*free), of.1.max(*lane));
        }
        for _ in 0..draw.below(5) {
            let of = earned.entry(1 + draw.below(PAID as usize) as u64).or_default();
            let more = draw.below(250) as u128 * OPEN;
            if draw.one_in(3) {
                of.1 += more;
            } else {
                of.0 += more;
            }
        }
        let leaves = earned.into_iter().map(|(account, of)| (account, of.0, of.1)).collect();
        let shards = draw.below(2) as u32;
        let (epoch, parent) = (self.next(), self.last_id());
        let (crooked, is_of_records) = (None, true);
        let told = Told { epoch, parent, leaves, crooked, total: 0, is_of_records, shards };
        Told { total: told.sum(), ..told }
    }

    /// Something false or out of place.
    pub(super) fn lie(&self, draw: &mut Draw) -> Told {
        let mut told = self.honest(draw);
        let place = draw.below(told.leaves.len().max(1));
        match draw.below(14) {
            0 => told.total += 1 + draw.below(2) as u128 * OPEN,
            1 => told.total = draw.of(&[0, self.released, self.released.saturating_sub(1)]),
            2 => told.total = draw.of(&[self.released + BUDGET + 1, u128::MAX, self.vault]),
            3 => told.epoch = draw.of(&[told.epoch + 1, told.epoch.saturating_sub(1), u64::MAX]),
            4 => told.parent.0[3] ^= 1,
            5 => told.is_of_records = false,
            6 => told.leaves = Vec::new(),
            7 if !told.leaves.is_empty() => drop(told.leaves.remove(place)),
            8 | 9 if !told.leaves.is_empty() => {
                // Somebody has less free, or less of the lane, and another or itself has it.
                let from = &mut told.leaves[place];
                let of = if draw.one_in(2) { &mut from.1 } else { &mut from.2 };
                let moved = *of / 2;
                *of -= moved;
                let to = draw.below(told.leaves.len());
                told.leaves[to].1 += moved;
            }
            10 if !told.leaves.is_empty() => told.leaves.insert(place, told.leaves[place]),
            11 if told.leaves.len() > 1 => told.leaves.swap(place, 0),
            12 if !told.leaves.is_empty() => told.crooked = Some((0, place, OPEN)),
            _ => {
                let pairs = told.tree().pairs();
                let pair = |draw: &mut Draw| draw.of(&pairs);
                let at = (!pairs.is_empty()).then(|| pair(draw));
                told.crooked = at.map(|(level, place)| (level, place, 1));
            }
        }
        // Most lies are about who has what, and not about the total.
        if !draw.one_in(4) && told.total < 1_000_000 * OPEN {
            told.total = told.tree().top().1;
        }
        told
    }

    /// What is proposed for the next epoch, where the condition holds for some, or before, or never was.
    pub(super) fn any(&self, draw: &mut Draw, is: impl Fn(&Proposal) -> bool) -> Told {
        let is_next = |told: &Told, proposal: &Proposal| told.epoch == self.next() && is(proposal);
        let next = self.live.iter().filter(|(told, proposal)| is_next(told, proposal));
        let next: Vec<_> = next.map(|(told, _)| told.clone()).collect();
        let live: Vec<_> = self.live.keys().cloned().collect();
        match draw.below(16) {
            0 => self.honest(draw),
            1 if !self.told.is_empty() => draw.of(&self.told),
            2 | 3 if !live.is_empty() => draw.of(&live),
            _ if !next.is_empty() => draw.of(&next),
            _ if !live.is_empty() => draw.of(&live),
            _ => self.lie(draw),
        }
    }

    pub(super) fn think(&self, draw: &mut Draw) -> Call {
        let account = 1 + draw.below(ACCOUNTS as usize) as u64;
        let is_objected = |proposal: &Proposal| proposal.objector != 0;
        let is_free = |proposal: &Proposal| proposal.objector == 0;
        match draw.below(28) {
            0..=2 => Call::Propose(account, self.lie(draw)),
            3 | 4 => Call::Propose(account, self.honest(draw)),
            5 | 6 => Call::Propose(account, self.any(draw, is_objected)),
            7..=10 => Call::Object(account, self.any(draw, is_free)),
            11 | 12 => Call::Rule(self.any(draw, is_objected), draw.one_in(2)),
            13..=16 => {
                let told = self.any(draw, is_free);
                let shards = if draw.one_in(8) { draw.below(3) as u32 } else { told.shards };
                Call::Finalise(told, shards)
            }
            17 | 18 => {
                let old: Vec<_> =
                    self.live.keys().filter(|told| told.epoch < self.next()).collect();
                let any = old.is_empty() || draw.one_in(4);
                Call::Close(if any { self.any(draw, |_| true) } else { draw.of(&old).clone() })
            }
            19 => Call::CloseContested(draw.below(self.contested.len() + 2) as u64),
            20 => Call::Stake(account, (1 + draw.below(2_000) as u128) * OPEN),
            _ => {
                let told = self.any(draw, |_| true);
                let proof = Proof::drawn(draw, self, &told);
                Call::Challenge(told, Box::new(proof))
            }
        }
    }

    /// What can be done in the last block of a window, in that block or one later.
    pub(super) fn last_moment(&self, draw: &mut Draw, block: u64) -> Option<(u64, Call)> {
        let next = self.live.iter().filter(|(told, _)| told.epoch == self.next());
        let next: Vec<_> = next.collect();
        let (told, proposal) = if next.is_empty() { return None } else { draw.of(&next) };
        let (told, account) = (told.clone(), 1 + draw.below(ACCOUNTS as usize) as u64);
        let is_objected = proposal.objector != 0;
        let last = match is_objected {
            true => proposal.objected + RULING_BLOCKS,
            false => proposal.since + CHALLENGE_BLOCKS,
        };
        let wait = (last + draw.below(2) as u64).checked_sub(block)?;
        let call = match (is_objected, draw.one_in(2)) {
            (true, true) => Call::Rule(told, draw.one_in(2)),
            (true, false) => Call::Propose(account, told),
            (false, true) => Call::Object(account, told),
            (false, false) => Call::Finalise(told.clone(), told.shards),
        };
        Some((wait, call))
    }

    /// How long somebody waits: for the next epoch, a window, or a ruling.
    pub(super) fn wait(&self, draw: &mut Draw, block: u64) -> u64 {
        let to_cutoff = self.cutoff(self.next()).saturating_sub(block);
        match draw.below(24) {
            0 if to_cutoff > 0 => to_cutoff - 1,
            1..=12 if to_cutoff > 0 => to_cutoff,
            1 | 2 => draw.below(3) as u64,
            3 | 4 => CHALLENGE_BLOCKS,
            5 => RULING_BLOCKS,
            _ => 0,
        }
    }
}
