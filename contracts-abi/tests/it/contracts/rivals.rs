//! Proposals side by side: a false one stops no right one, and whoever plays both sides loses by it.

use alloy::primitives::{B256, U256};
use protocol::Digest;
use protocol::chain::Settlement;

use super::chain::Chain;
use super::replacement::Payouts;
use super::settlements::abi_of;
use super::world::{
    BOND, CHALLENGE_BLOCKS, OBJECTION_BOND, OPEN, Registry, RewardVault, Settlements, World, who,
};

/// Nobody in particular.
const ANYBODY: usize = 4;
/// What the arbiter has for a ruling.
const RULING_BLOCKS: u64 = 4 * CHALLENGE_BLOCKS;

/// A settlement of the first epoch that pays one account so much.
fn pays(account: u64, amount: u128) -> Settlement {
    Payouts::new(&[(account, amount)]).settlement(0, Digest::ZERO)
}

fn right() -> Settlement {
    pays(2, 300 * OPEN)
}

fn wrong() -> Settlement {
    pays(3, 900 * OPEN)
}

fn propose(proposer: u64, s: &Settlement) -> Settlements::proposeCall {
    Settlements::proposeCall { proposer, settlement: abi_of(s) }
}

fn object(account: u64, s: &Settlement) -> Settlements::objectCall {
    Settlements::objectCall { settlement: abi_of(s), account, reason: B256::ZERO }
}

fn rule(s: &Settlement, uphold: bool) -> Settlements::ruleCall {
    Settlements::ruleCall { settlement: abi_of(s), uphold }
}

fn finalise(s: &Settlement) -> Settlements::finaliseCall {
    Settlements::finaliseCall { settlement: abi_of(s), uses: Vec::new() }
}

fn close(s: &Settlement) -> Settlements::closeCall {
    Settlements::closeCall { settlement: abi_of(s) }
}

fn close_contested(number: u64) -> Settlements::closeContestedCall {
    Settlements::closeContestedCall { number: U256::from(number) }
}

/// The first epoch is over.
fn begin(chain: &mut dyn Chain) -> World<'_> {
    let world = World::deploy(chain);
    world.chain.advance_to(world.cutoff(0));
    world
}

fn wait(world: &mut World<'_>, blocks: u64) {
    let head = world.chain.head();
    world.chain.advance_to(head + blocks);
}

fn stake(world: &mut World<'_>, account: u64) -> (u128, u128) {
    let of = world.read(world.registry, &Registry::stakeOfCall { account });
    (of.stake, of.locked)
}

/// All that accounts have, at stake or not, each with an owner of its number.
fn wealth(world: &mut World<'_>, accounts: &[u64]) -> u128 {
    let mut sum = 0;
    for account in accounts {
        sum += stake(world, *account).0 + world.balance(who(*account as usize)).to::<u128>();
    }
    sum
}

/// What is in the vault.
fn vault(world: &mut World<'_>) -> u128 {
    let held = world.read(world.vault, &RewardVault::heldCall {});
    assert_eq!(world.balance(world.vault), held, "all of it is booked");
    held.to()
}

pub(crate) fn side_by_side(chain: &mut dyn Chain) {
    let mut world = begin(chain);
    let at = world.settlements;
    let (good, bad, other) = (right(), wrong(), pays(3, 800 * OPEN));
    let before = (vault(&mut world), wealth(&mut world, &[2]));
    world.send(1, at, &propose(1, &bad));
    world.send(3, at, &propose(3, &other));
    world.send(2, at, &object(2, &bad));
    world.send(2, at, &propose(2, &good));
    world.fails::<Settlements::AlreadyProposed, _>(1, at, &propose(1, &good));
    world.fails::<Settlements::ObjectionPending, _>(1, at, &propose(1, &bad));
    world.fails::<Settlements::NotSettled, _>(ANYBODY, at, &close(&other));
    wait(&mut world, CHALLENGE_BLOCKS);
    world.fails::<Settlements::ObjectionPending, _>(ANYBODY, at, &finalise(&bad));
    world.fails::<Settlements::WindowClosed, _>(1, at, &object(1, &good));
    // Nobody has ruled.
    world.send(ANYBODY, at, &finalise(&good));
    world.fails::<RewardVault::NotNext, _>(ANYBODY, at, &finalise(&other));
    world.fails::<Settlements::Settled, _>(0, at, &rule(&bad, false));
    world.fails::<Settlements::Settled, _>(2, at, &object(2, &other));
    // What is final says that the others were false, to one of which somebody had objected.
    let caller = world.balance(who(ANYBODY));
    world.send(ANYBODY, at, &close(&bad));
    world.send(ANYBODY, at, &close(&other));
    world.fails::<Settlements::NotProposed, _>(ANYBODY, at, &close(&bad));
    assert_eq!(stake(&mut world, 1), (10_000 * OPEN - BOND, 0));
    assert_eq!(stake(&mut world, 2), (10_000 * OPEN, 0));
    assert_eq!(stake(&mut world, 3), (10_000 * OPEN - BOND, 0));
    assert_eq!(wealth(&mut world, &[2]) - before.1, BOND / 2, "half for who objected");
    assert_eq!(world.balance(who(ANYBODY)) - caller, U256::from(BOND / 2), "and for who ended it");
    assert_eq!(vault(&mut world) - before.0, BOND, "the rest is everybody's");
}

pub(crate) fn ruled_right(chain: &mut dyn Chain) {
    let mut world = begin(chain);
    let at = world.settlements;
    let good = right();
    world.send(2, at, &propose(2, &good));
    let proposed = world.chain.head();
    wait(&mut world, CHALLENGE_BLOCKS - 1);
    world.send(1, at, &object(1, &good));
    wait(&mut world, 2);
    let before = (vault(&mut world), wealth(&mut world, &[2]));
    world.send(0, at, &rule(&good, false));
    assert_eq!(wealth(&mut world, &[2]) - before.1, OBJECTION_BOND / 2);
    assert_eq!(vault(&mut world) - before.0, OBJECTION_BOND / 2);
    // The window does not begin again, and nobody can do it twice.
    world.fails::<Settlements::FoundRight, _>(3, at, &object(3, &good));
    assert!(world.chain.head() < proposed + 2 * CHALLENGE_BLOCKS);
    world.send(ANYBODY, at, &finalise(&good));
    assert_eq!(stake(&mut world, 1), (10_000 * OPEN - OBJECTION_BOND, 0));
    assert_eq!(stake(&mut world, 2), (10_000 * OPEN, 0));
}

pub(crate) fn without_arbiter(chain: &mut dyn Chain) {
    let mut world = begin(chain);
    let at = world.settlements;
    let (good, bad) = (right(), wrong());
    world.send(2, at, &propose(2, &good));
    world.send(1, at, &propose(1, &bad));
    world.send(3, at, &object(3, &good));
    world.send(2, at, &object(2, &bad));
    wait(&mut world, RULING_BLOCKS - 2);
    world.fails::<Settlements::ObjectionPending, _>(2, at, &propose(2, &good));
    wait(&mut world, 2);
    for upholds in [false, true] {
        world.fails::<Settlements::RulingClosed, _>(0, at, &rule(&good, upholds));
    }
    // The same again, by whom it may; delaying it again costs twice as much, and nothing else does.
    world.send(2, at, &propose(2, &good));
    assert_eq!(stake(&mut world, 2).1, 2 * BOND + OBJECTION_BOND, "the first bond waits");
    world.send(3, at, &object(3, &good));
    assert_eq!(stake(&mut world, 3).1, 3 * OBJECTION_BOND);
    let third = pays(1, OPEN);
    world.send(1, at, &propose(1, &third));
    world.send(2, at, &object(2, &third));
    assert_eq!(stake(&mut world, 2).1, 2 * BOND + 2 * OBJECTION_BOND);
    wait(&mut world, RULING_BLOCKS);
    world.send(2, at, &propose(2, &good));
    world.fails::<Settlements::NotSettled, _>(ANYBODY, at, &close_contested(1));
    wait(&mut world, CHALLENGE_BLOCKS);
    world.send(ANYBODY, at, &finalise(&good));

    let before = (vault(&mut world), wealth(&mut world, &[2]));
    for number in [1, 2] {
        world.send(ANYBODY, at, &close_contested(number));
        world.fails::<Settlements::NotContested, _>(ANYBODY, at, &close_contested(number));
    }
    for false_one in [&bad, &third] {
        world.send(ANYBODY, at, &close(false_one));
    }
    world.fails::<Settlements::NotContested, _>(ANYBODY, at, &close_contested(3));
    let lost = 3 * OBJECTION_BOND + 2 * BOND;
    assert_eq!(stake(&mut world, 1), (10_000 * OPEN - 2 * BOND, 0));
    assert_eq!(stake(&mut world, 2), (10_000 * OPEN, 0), "who was right has all bonds back");
    assert_eq!(stake(&mut world, 3), (10_000 * OPEN - 3 * OBJECTION_BOND, 0));
    assert_eq!(wealth(&mut world, &[2]) - before.1, lost / 2);
    assert_eq!(vault(&mut world) - before.0, lost / 2);
}

/// Accounts 1 and 3 are one thief's, who objects first so that nobody else can.
pub(crate) fn self_objection(chain: &mut dyn Chain) {
    let mut world = begin(chain);
    let at = world.settlements;
    let before = wealth(&mut world, &[1, 3]);
    world.send(1, at, &propose(1, &wrong()));
    world.send(3, at, &object(3, &wrong()));
    // The arbiter looks at the settlement and not at the reason.
    world.send(0, at, &rule(&wrong(), true));
    let ruled = wealth(&mut world, &[1, 3]);
    assert_eq!(before - ruled, BOND / 2);
    // Without an arbiter it is the same, once what is right is final.
    world.send(1, at, &propose(1, &wrong()));
    world.send(3, at, &object(3, &wrong()));
    world.send(2, at, &propose(2, &right()));
    wait(&mut world, CHALLENGE_BLOCKS);
    world.send(ANYBODY, at, &finalise(&right()));
    world.send(1, at, &close(&wrong()));
    assert_eq!(ruled - wealth(&mut world, &[1, 3]), BOND / 2);
}

pub(crate) fn self_challenge(chain: &mut dyn Chain) {
    let mut world = begin(chain);
    let at = world.settlements;
    let before = (wealth(&mut world, &[1, 3]), vault(&mut world));
    let bad = Settlement { payout_root: Digest::ZERO, ..wrong() };
    world.send(1, at, &propose(1, &bad));
    let top = Settlements::SumNode { hash: B256::ZERO, sum: 0 };
    let challenge = Settlements::challengeTotalCall { settlement: abi_of(&bad), count: 0, top };
    world.send(3, at, &challenge);
    assert_eq!(before.0 - wealth(&mut world, &[1, 3]), BOND / 2);
    assert_eq!(vault(&mut world) - before.1, BOND / 2);
}

pub(crate) fn self_rival(chain: &mut dyn Chain) {
    let mut world = begin(chain);
    let at = world.settlements;
    let before = wealth(&mut world, &[1, 3]);
    // Its own right one beside its own wrong one.
    world.send(1, at, &propose(1, &wrong()));
    world.send(3, at, &propose(3, &right()));
    wait(&mut world, CHALLENGE_BLOCKS);
    world.send(3, at, &finalise(&right()));
    world.send(3, at, &close(&wrong()));
    assert_eq!(before - wealth(&mut world, &[1, 3]), BOND / 2);
}

pub(crate) fn front_running(chain: &mut dyn Chain) {
    let mut world = begin(chain);
    let at = world.settlements;
    let (thief, honest) = (wealth(&mut world, &[1, 3]), wealth(&mut world, &[2]));
    // A proposal that it saw on its way: nothing but a bond that waits, and the other loses nothing.
    world.send(1, at, &propose(1, &right()));
    world.fails::<Settlements::AlreadyProposed, _>(2, at, &propose(2, &right()));
    // A challenge against its own proposal, sent before the honest one is in.
    let bad = Settlement { payout_root: Digest::ZERO, ..wrong() };
    world.send(3, at, &propose(3, &bad));
    let top = Settlements::SumNode { hash: B256::ZERO, sum: 0 };
    let challenge = Settlements::challengeTotalCall { settlement: abi_of(&bad), count: 0, top };
    world.send(1, at, &challenge);
    world.fails::<Settlements::NotProposed, _>(2, at, &challenge);
    // An objection to its own, before the honest one.
    world.send(3, at, &propose(3, &wrong()));
    world.send(1, at, &object(1, &wrong()));
    world.fails::<Settlements::ObjectionPending, _>(2, at, &object(2, &wrong()));
    wait(&mut world, CHALLENGE_BLOCKS);
    world.send(ANYBODY, at, &finalise(&right()));
    world.send(2, at, &close(&wrong()));
    assert_eq!(thief - wealth(&mut world, &[1, 3]), BOND, "half of both bonds");
    assert_eq!(wealth(&mut world, &[2]), honest, "gas and nothing else");
}
