//! The newest blocks, which the chain may still replace.
//!
//! What was folded into a view cannot be taken out of it, and a copy for each block would be most of
//! what a node holds. So there are two: the newest one, and one that lags behind it by the blocks that
//! may still be replaced, with what these said. To go back is to fold the lagging one forward again:
//! it costs memory for two views however many blocks may be replaced, and time only when they are.

use alloc::{collections::VecDeque, vec::Vec};

use super::{BlockHeader, ChainEvent, ChainView};
use crate::ids::BlockNumber;

/// A view that lags behind, and the blocks since.
#[derive(Debug)]
pub struct Recent {
    depth: usize,
    settled: ChainView,
    blocks: VecDeque<(BlockHeader, Vec<ChainEvent>)>,
}

impl Recent {
    /// From a view, of which the newest `depth` blocks that follow may be replaced.
    pub const fn new(view: ChainView, depth: usize) -> Self {
        Self { depth, settled: view, blocks: VecDeque::new() }
    }

    /// Keeps a block that was folded into the newest view; the oldest that is kept becomes settled.
    pub fn push(&mut self, header: BlockHeader, events: Vec<ChainEvent>) {
        self.blocks.push_back((header, events));
        while self.blocks.len() > self.depth {
            if let Some((header, events)) = self.blocks.pop_front() {
                self.settled.apply(header, &events);
            }
        }
    }

    /// The view as it was at a block, after which all is forgotten. `None` where that block is older
    /// than what is kept, and nothing changes then.
    pub fn back_to(&mut self, block: BlockNumber) -> Option<ChainView> {
        let is_kept = self.blocks.iter().any(|(header, _)| header.number == block)
            || self.settled.head().is_some_and(|head| head.number == block);
        if !is_kept {
            return None;
        }
        self.blocks.retain(|(header, _)| header.number <= block);
        let mut view = self.settled.clone();
        for (header, events) in &self.blocks {
            view.apply(*header, events);
        }
        Some(view)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        AccountId, Amount, Blocks, Digest, EvmAddress, Timestamp,
        eip712::Domain,
        params::{Params, Schedule},
    };

    fn header(number: u64, fork: u8) -> BlockHeader {
        BlockHeader {
            number: BlockNumber(number),
            hash: Digest([fork; 32]),
            timestamp: Timestamp(number),
        }
    }

    fn view() -> ChainView {
        let schedule = Schedule {
            genesis_block: BlockNumber(0),
            epoch_blocks: Blocks(4),
            commit_blocks: Blocks(2),
            settle_blocks: Blocks(1),
            challenge_blocks: Blocks(2),
        };
        let domain = Domain::new(1, EvmAddress([1; 20]));
        let (registry, budget) = (EvmAddress([2; 20]), Amount(1));
        ChainView::new(
            domain,
            registry,
            registry,
            schedule,
            budget,
            AccountId(1),
            Params::minimal(),
        )
    }

    fn datanet(id: u64) -> Vec<ChainEvent> {
        let (datanet, owner) = (crate::DatanetId(id), AccountId(1));
        let (name, domain) = ("n".into(), "text".into());
        alloc::vec![ChainEvent::DatanetCreated { datanet, owner, name, domain, licence: 0 }]
    }

    /// Blocks 1 to `head`, each with a Datanet of its number.
    fn read(head: u64, depth: usize) -> (ChainView, Recent) {
        let (mut newest, mut recent) = (view(), Recent::new(view(), depth));
        for number in 1..=head {
            newest.apply(header(number, 1), &datanet(number));
            recent.push(header(number, 1), datanet(number));
        }
        (newest, recent)
    }

    #[test]
    fn replaced_blocks_leave_nothing_behind_and_others_take_their_place() {
        let (newest, mut recent) = read(9, 4);
        assert_eq!(newest.datanets().count(), 9);
        let mut back = recent.back_to(BlockNumber(6)).unwrap();
        assert_eq!(back.head(), Some(header(6, 1)));
        assert_eq!(back.datanets().count(), 6);
        back.apply(header(7, 2), &[]);
        recent.push(header(7, 2), Vec::new());
        let again = recent.back_to(BlockNumber(7)).unwrap();
        assert_eq!(again.head(), Some(header(7, 2)));
        assert_eq!(again.datanets().count(), 6);
        // A beacon that was drawn from a replaced block is drawn anew.
        let seed = |view: &ChainView| view.seed(crate::Epoch(2), super::super::Purpose::Commit);
        let (mut one, mut recent) = read(9, 4);
        let mut other = recent.back_to(BlockNumber(7)).unwrap();
        other.apply(header(8, 3), &[]);
        one.apply(header(10, 1), &[]);
        assert!(seed(&one).is_some() && seed(&other).is_some() && seed(&one) != seed(&other));
    }

    #[test]
    fn what_is_older_than_the_depth_stands() {
        let (_, mut recent) = read(9, 4);
        assert!(recent.back_to(BlockNumber(4)).is_none());
        assert_eq!(recent.back_to(BlockNumber(5)).unwrap().datanets().count(), 5);
        let (_, mut none) = read(3, 0);
        assert!(none.back_to(BlockNumber(2)).is_none());
        assert!(none.back_to(BlockNumber(3)).is_some());
    }
}
