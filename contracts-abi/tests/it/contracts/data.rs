//! What contributors lock for bytes that others have to store.

use alloy::primitives::{B256, U256};

use super::chain::Chain;
use super::world::abi::datanets::DatanetRegistry as D;
use super::world::abi::open::Open;
use super::world::{DEPOSIT_BLOCKS, DEPOSIT_PER_BYTE, LEAST_PACK, World, who};

/// Contributes with account 2, and one that only looks on.
const OWNER: usize = 2;
const OTHER: usize = 4;
/// The policy of a Datanet whose owner admits what comes in.
const REVIEWED: u8 = 1;
/// Its packs: of the short one it locks more.
const LENGTHS: [u64; 2] = [5_000, 1];
const BYTES: u128 = 5_000 + LEAST_PACK;
const LOCKED: u128 = BYTES * DEPOSIT_PER_BYTE;

fn create(world: &mut World<'_>, policy: u8) {
    let (name, domain) = ("verse".into(), String::new());
    let call = D::createDatanetCall { name, domain, licence: 0, policy, owner: 1 };
    world.send(1, world.datanets, &call);
}

fn contribution(id: u64) -> D::contributeCall {
    D::contributeCall {
        id,
        account: 2,
        manifest: B256::repeat_byte(1),
        packs: vec![B256::repeat_byte(2), B256::repeat_byte(3)],
        lengths: LENGTHS.to_vec(),
        units: 5,
    }
}

fn admission(submission: u64) -> D::admitCall {
    let D::contributeCall { id, account, manifest, packs, lengths, units } = contribution(2);
    D::admitCall { submission, id, account, manifest, packs, lengths, units }
}

/// What the contributor has, and what the contract holds.
fn holds(world: &mut World<'_>, owner: u128, contract: u128) {
    assert_eq!(world.balance(who(OWNER)), U256::from(owner));
    assert_eq!(world.balance(world.datanets), U256::from(contract));
}

pub(crate) fn scenario(chain: &mut dyn Chain) {
    let mut world = World::deploy(chain);
    let datanets = world.datanets;
    create(&mut world, 0);
    create(&mut world, REVIEWED);
    holds(&mut world, 0, 0);
    world.fails::<Open::ERC20InsufficientAllowance, _>(OWNER, datanets, &contribution(1));
    world.fund_data(OWNER, BYTES);
    world.send(OWNER, datanets, &contribution(1));
    let until = world.chain.head() + DEPOSIT_BLOCKS;
    holds(&mut world, 0, LOCKED);
    world.fund_data(OWNER, BYTES - 1);
    world.fails::<Open::ERC20InsufficientAllowance, _>(OWNER, datanets, &contribution(1));

    // It comes back to who paid it, whoever asks, when its time is over and once.
    let take = |contribution| D::takeBackCall { contribution };
    world.fails::<D::DepositLocked, _>(OWNER, datanets, &take(1));
    world.fails::<D::NoDeposit, _>(OWNER, datanets, &take(2));
    let deposit = world.read(datanets, &D::depositOfCall { contribution: 1 });
    assert_eq!((deposit.payer, deposit.amount), (who(OWNER), U256::from(LOCKED)));
    assert_eq!(deposit.until, until);
    world.chain.advance_to(deposit.until);
    world.send(OTHER, datanets, &take(1));
    holds(&mut world, LOCKED + (BYTES - 1) * DEPOSIT_PER_BYTE, 0);
    world.fails::<D::NoDeposit, _>(OWNER, datanets, &take(1));
    review(&mut world);
}

/// Where an owner has to admit it: nobody stores it before, so it comes back at any time, and then it is
/// not admitted; from the admission on it is locked as long as any.
fn review(world: &mut World<'_>) {
    let datanets = world.datanets;
    let has = LOCKED + (BYTES - 1) * DEPOSIT_PER_BYTE;
    let approve = Open::approveCall { spender: datanets, value: U256::MAX };
    world.send(OWNER, world.open, &approve);
    let withdraw = |submission| D::withdrawSubmissionCall { submission };
    world.send(OWNER, datanets, &contribution(2));
    holds(world, has - LOCKED, LOCKED);
    world.fails::<D::NoDeposit, _>(OTHER, datanets, &withdraw(1));
    world.send(OWNER, datanets, &withdraw(1));
    holds(world, has, 0);
    world.fails::<D::NotSubmitted, _>(1, datanets, &admission(1));
    world.fails::<D::NoDeposit, _>(OWNER, datanets, &withdraw(1));

    world.send(OWNER, datanets, &contribution(2));
    let head = world.chain.head();
    world.chain.advance_to(head + DEPOSIT_BLOCKS);
    world.send(1, datanets, &admission(2));
    world.fails::<D::NoDeposit, _>(OWNER, datanets, &withdraw(2));
    world.fails::<D::DepositLocked, _>(OWNER, datanets, &D::takeBackCall { contribution: 2 });
    holds(world, has - LOCKED, LOCKED);
}
