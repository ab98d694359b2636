//! What is earned in the newcomers' lane stays in the vault until it and the stake are the least stake.

use alloy::primitives::{Address, B256, U256};
use alloy::sol_types::{SolCall, SolError};
use protocol::Digest;

use super::chain::Chain;
use super::replacement::{Payouts, finalise, propose};
use super::world::{ACCOUNTS, LEAST_STAKE, OPEN, Registry, RewardVault, World, who};

/// Owners of names without stake, and the accounts that they get.
const OWNERS: [usize; 3] = [6, 7, 8];
const FIRST: u64 = ACCOUNTS + 1;
/// Whoever claims for others.
const ANYBODY: usize = 4;

fn register(world: &mut World<'_>, owner: usize) {
    let registry = world.registry;
    let owner = who(owner);
    let call = Registry::registerCall {
        owner,
        operator: owner,
        payout: owner,
        nodeId: B256::ZERO,
        binding: vec![0; 64].into(),
    };
    world.send(ANYBODY, registry, &call);
}

fn stake(world: &mut World<'_>, account: u64) -> u128 {
    world.read(world.registry, &Registry::stakeOfCall { account }).stake
}

/// Sends a claim that pays the payout address so much of free earnings, and stakes so much.
fn pays(
    world: &mut World<'_>,
    claim: &RewardVault::claimCall,
    payout: Address,
    (free, staked): (u128, u128),
) {
    let (vault, account) = (world.vault, claim.leaf.account);
    let (held, had) = (world.balance(payout), stake(world, account));
    world.send(ANYBODY, vault, claim);
    assert_eq!(world.balance(payout) - held, U256::from(free));
    assert_eq!(stake(world, account) - had, staked);
    let in_vault = world.read(vault, &RewardVault::heldCall {});
    assert_eq!(world.balance(vault), in_vault, "received = balance + paid");
}

/// The claim is refused, with what is held and what is missing.
fn is_held(world: &mut World<'_>, claim: &RewardVault::claimCall, held: u128, missing: u128) {
    let refused = world.chain.call(who(ANYBODY), world.vault, claim.abi_encode().into());
    let found = RewardVault::Held::abi_decode(&refused.expect_err("it is held")).unwrap();
    let expected = (claim.leaf.account, held, U256::from(missing));
    assert_eq!((found.account, found.held, found.missing), expected);
}

pub(crate) fn scenario(chain: &mut dyn Chain) {
    let mut world = World::deploy(chain);
    OWNERS.into_iter().for_each(|owner| register(&mut world, owner));
    let settlements = world.settlements;
    world.chain.advance_to(world.cutoff(0));
    let [poor, patient, borrower] = [FIRST, FIRST + 1, FIRST + 2];
    let first = Payouts::with_lane(vec![
        (1, (7 * OPEN, 0)),
        (poor, (5 * OPEN, LEAST_STAKE - OPEN)),
        (patient, (0, LEAST_STAKE + 10 * OPEN)),
        (borrower, (0, 30 * OPEN)),
    ]);
    let zero = first.settlement(0, Digest::ZERO);
    propose(&mut world, settlements, &zero);
    world.send(ANYBODY, settlements, &finalise(&zero));
    let claims: Vec<_> = (0..4).map(|index| first.claim(index)).collect();
    hold(&mut world, &claims);
    borrow(&mut world, &claims[3], OWNERS[2]);

    world.chain.advance_to(world.cutoff(1));
    let second = Payouts::with_lane(vec![
        (1, (7 * OPEN, 0)),
        (poor, (9 * OPEN, LEAST_STAKE)),
        (patient, (OPEN, LEAST_STAKE + 10 * OPEN)),
        (borrower, (0, 50 * OPEN)),
    ]);
    let one = second.settlement(1, zero.id());
    propose(&mut world, settlements, &one);
    world.send(ANYBODY, settlements, &finalise(&one));
    pays(&mut world, &second.claim(1), who(OWNERS[0]), (4 * OPEN, OPEN));
    pays(&mut world, &second.claim(2), who(OWNERS[1]), (OPEN, 0));
    is_held(&mut world, &second.claim(3), 20 * OPEN, LEAST_STAKE - 20 * OPEN);
    let vault = world.vault;
    for claim in &claims {
        world.fails::<RewardVault::NothingOwed, _>(ANYBODY, vault, claim);
    }
}

/// Who has nothing has its free earnings, and the rest when it is enough; no address gets it before.
fn hold(world: &mut World<'_>, claims: &[RewardVault::claimCall]) {
    let registry = world.registry;
    pays(world, &claims[0], who(1), (7 * OPEN, 0));
    pays(world, &claims[1], who(OWNERS[0]), (5 * OPEN, 0));
    is_held(world, &claims[1], LEAST_STAKE - OPEN, OPEN);
    let (account, payout) = (claims[1].leaf.account, who(9));
    world.send(OWNERS[0], registry, &Registry::setPayoutCall { account, payout });
    is_held(world, &claims[1], LEAST_STAKE - OPEN, OPEN);
    world.send(0, registry, &Registry::stakeForCall { account, amount: OPEN });
    pays(world, &claims[1], payout, (0, LEAST_STAKE - OPEN));
    let payout = who(OWNERS[0]);
    world.send(OWNERS[0], registry, &Registry::setPayoutCall { account, payout });
    // Without any money of its own.
    pays(world, &claims[2], who(OWNERS[1]), (0, LEAST_STAKE + 10 * OPEN));
    world.fails::<RewardVault::NothingOwed, _>(ANYBODY, world.vault, &claims[2]);
}

/// A stake that comes for the claim and goes at once: all of it stays as long as any stake.
fn borrow(world: &mut World<'_>, claim: &RewardVault::claimCall, owner: usize) {
    let (registry, account) = (world.registry, claim.leaf.account);
    let amount = LEAST_STAKE;
    let unstake = |amount| Registry::requestUnstakeCall { account, amount };
    is_held(world, claim, 30 * OPEN, LEAST_STAKE - 30 * OPEN);
    world.send(0, registry, &Registry::stakeForCall { account, amount });
    world.send(owner, registry, &unstake(amount));
    is_held(world, claim, 30 * OPEN, LEAST_STAKE - 30 * OPEN);
    world.send(0, registry, &Registry::stakeForCall { account, amount });
    pays(world, claim, who(owner), (0, 30 * OPEN));
    world.send(owner, registry, &unstake(amount + 30 * OPEN));
    let withdraw = Registry::withdrawCall { account };
    world.fails::<Registry::NotWithdrawable, _>(owner, registry, &withdraw);
    let stake = world.read(registry, &Registry::stakeOfCall { account });
    world.chain.advance_to(stake.unlockBlock);
    let before = world.balance(who(owner));
    world.send(owner, registry, &withdraw);
    assert_eq!(world.balance(who(owner)) - before, U256::from(2 * amount + 30 * OPEN));
}
