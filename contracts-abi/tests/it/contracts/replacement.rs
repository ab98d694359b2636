//! Another contract decides over proposals from the second epoch on: what is final and what was paid stay.

use alloy::primitives::{Address, B256, U256};
use protocol::chain::Settlement;
use protocol::merkle::SumTree;
use protocol::{Amount, Digest, Epoch, Hash};

use super::chain::Chain;
use super::settlements::{abi_of, leaf_of};
use super::world::{
    BOND, CHALLENGE_BLOCKS, OBJECTION_BOND, OPEN, Registry, RewardVault, Settlements, World,
    sum_nodes, who,
};

/// What accounts have, and the tree of it.
pub(crate) struct Payouts(Vec<(u64, (u128, u128))>, SumTree);

impl Payouts {
    pub(super) fn new(amounts: &[(u64, u128)]) -> Self {
        Self::with_lane(amounts.iter().map(|(account, free)| (*account, (*free, 0))).collect())
    }

    /// Of accounts with what is free, and what they earned in the lane.
    pub(crate) fn with_lane(amounts: Vec<(u64, (u128, u128))>) -> Self {
        let leaves: Vec<_> = amounts.iter().map(|(account, of)| leaf_of(*account, *of)).collect();
        Self(amounts, SumTree::new(&leaves))
    }

    pub(crate) fn settlement(&self, epoch: u64, parent: Digest) -> Settlement {
        Settlement {
            epoch: Epoch(epoch),
            parent,
            records: Digest::ZERO,
            payout_root: self.1.root(),
            total: Amount(self.1.sum()),
            balances: Hash([1; 32]),
            balances_length: 0,
            uses: Settlement::hash_uses(&[]),
            replicas_proven: 0,
            storage_faults: 0,
            shards_verified: 0,
            shards_rejected: 0,
        }
    }

    pub(crate) fn claim(&self, index: usize) -> RewardVault::claimCall {
        let (account, (free, lane)) = self.0[index];
        let siblings = sum_nodes!(RewardVault, self.1.prove(index as u64).unwrap());
        let leaf = RewardVault::Leaf { account, free, lane, index: index as u64, siblings };
        RewardVault::claimCall { leaf, count: self.0.len() as u64 }
    }
}

pub(super) fn propose(world: &mut World<'_>, at: Address, settlement: &Settlement) {
    let settlement = abi_of(settlement);
    world.send(1, at, &Settlements::proposeCall { proposer: 1, settlement });
    let head = world.chain.head();
    world.chain.advance_to(head + CHALLENGE_BLOCKS);
}

pub(super) fn finalise(settlement: &Settlement) -> Settlements::finaliseCall {
    Settlements::finaliseCall { settlement: abi_of(settlement), uses: Vec::new() }
}

pub(crate) fn scenario(chain: &mut dyn Chain) {
    let mut world = World::deploy(chain);
    let (vault, old) = (world.vault, world.settlements);
    world.chain.advance_to(world.cutoff(0));
    let first = Payouts::new(&[(1, 100 * OPEN), (2, 200 * OPEN)]);
    let zero = first.settlement(0, Digest::ZERO);
    propose(&mut world, old, &zero);
    world.send(4, old, &finalise(&zero));
    let before = world.balance(who(1));
    world.send(4, vault, &first.claim(0));
    assert_eq!(world.balance(who(1)) - before, U256::from(100 * OPEN));

    world.chain.advance_to(world.cutoff(1));
    let second = Payouts::new(&[(1, 150 * OPEN), (2, 250 * OPEN), (3, 7 * OPEN)]);
    let one = second.settlement(1, zero.id());
    propose(&mut world, old, &one);
    world.replace_settlements();
    let new = world.settlements;
    world.fails::<RewardVault::NotSettlements, _>(4, old, &finalise(&one));
    let late = Settlements::proposeCall { proposer: 2, settlement: abi_of(&one) };
    world.fails::<RewardVault::NotSettlements, _>(2, old, &late);
    world.fails::<RewardVault::NothingOwed, _>(4, vault, &first.claim(0));
    let before = world.balance(who(2));
    world.send(4, vault, &first.claim(1));
    assert_eq!(world.balance(who(2)) - before, U256::from(200 * OPEN), "paid from the old root");

    let again = Settlements::proposeCall { proposer: 1, settlement: abi_of(&zero) };
    world.fails::<RewardVault::NotNext, _>(1, new, &again);
    let orphan = abi_of(&Settlement { parent: Digest::ZERO, ..one });
    let orphan = Settlements::proposeCall { proposer: 1, settlement: orphan };
    world.fails::<RewardVault::WrongParent, _>(1, new, &orphan);
    propose(&mut world, new, &one);
    world.send(4, new, &finalise(&one));
    for (index, more) in [(0, 50), (1, 50), (2, 7)] {
        let owner = who(index + 1);
        let before = world.balance(owner);
        world.send(4, vault, &second.claim(index));
        assert_eq!(world.balance(owner) - before, U256::from(more * OPEN), "nothing twice");
        world.fails::<RewardVault::NothingOwed, _>(4, vault, &second.claim(index));
    }
    let last = world.read(vault, &RewardVault::lastCall {});
    assert_eq!((last.id.0, last.nextEpoch), (one.id().0, 2));
    assert_eq!(world.read(vault, &RewardVault::paidCall {}), 407 * OPEN);
    assert_eq!(world.read(vault, &RewardVault::finalOfCall { epoch: 0 }).0, zero.id().0);
}

/// What was proposed in a contract that was replaced becomes final nowhere, and all bonds in it come back or
/// are lost there once the epoch is final.
pub(crate) fn bonds(chain: &mut dyn Chain) {
    let mut world = World::deploy(chain);
    let (vault, old) = (world.vault, world.settlements);
    world.chain.advance_to(world.cutoff(0));
    let pays = |account, amount| Payouts::new(&[(account, amount)]).settlement(0, Digest::ZERO);
    let (good, bad, late) = (pays(2, 300 * OPEN), pays(3, 900 * OPEN), pays(3, OPEN));
    let call = |proposer, s: &Settlement| {
        let settlement = abi_of(s);
        Settlements::proposeCall { proposer, settlement }
    };
    let object = |account, s: &Settlement| {
        let (settlement, reason) = (abi_of(s), B256::ZERO);
        Settlements::objectCall { settlement, account, reason }
    };
    // Of one objection nobody has judged in time; it was set aside, and the same was proposed anew.
    world.send(2, old, &call(2, &good));
    world.send(3, old, &object(3, &good));
    let head = world.chain.head();
    world.chain.advance_to(head + 4 * CHALLENGE_BLOCKS);
    world.send(2, old, &call(2, &good));
    world.send(1, old, &call(1, &bad));
    world.send(2, old, &object(2, &bad));
    world.send(3, old, &call(3, &late));
    let head = world.chain.head();
    world.chain.advance_to(head + CHALLENGE_BLOCKS);
    world.replace_settlements();
    let new = world.settlements;

    for open in [&good, &late] {
        world.fails::<RewardVault::NotSettlements, _>(4, old, &finalise(open));
        world.fails::<Settlements::NotProposed, _>(4, new, &finalise(open));
        world.fails::<RewardVault::NotSettlements, _>(2, old, &call(2, open));
    }
    let close = |s: &Settlement| Settlements::closeCall { settlement: abi_of(s) };
    let contested = Settlements::closeContestedCall { number: U256::from(1) };
    world.fails::<Settlements::NotSettled, _>(4, old, &close(&good));
    world.fails::<Settlements::NotSettled, _>(4, old, &contested);
    world.send(2, new, &call(2, &good));
    let head = world.chain.head();
    world.chain.advance_to(head + CHALLENGE_BLOCKS);
    world.send(4, new, &finalise(&good));

    // What is final in the vault says who was right in the old contract.
    for open in [&good, &bad, &late] {
        world.send(4, old, &close(open));
        world.fails::<Settlements::NotProposed, _>(4, old, &close(open));
        world.fails::<Settlements::NotProposed, _>(4, new, &close(open));
    }
    world.send(4, old, &contested);
    world.fails::<Settlements::NotContested, _>(4, old, &contested);
    for (account, lost) in [(1, BOND), (2, 0), (3, BOND + OBJECTION_BOND)] {
        let stake = world.read(world.registry, &Registry::stakeOfCall { account });
        assert_eq!((stake.stake, stake.locked), (10_000 * OPEN - lost, 0), "of account {account}");
    }
    let held = world.read(vault, &RewardVault::heldCall {});
    assert_eq!(world.balance(vault), held, "all of it is booked");
    assert_eq!(world.balance(old), U256::ZERO, "nothing is left in it");
}
