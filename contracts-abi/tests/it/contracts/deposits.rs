//! A consumer's deposit, and how it gets back what is left of it.

use alloy::primitives::U256;

use super::chain::Chain;
use super::world::{OPEN, World, abi, who};
use abi::escrow::UsageEscrow as E;

/// What is left of a deposit goes back in the blocks of its request alone, and more of it ends that.
pub(crate) fn scenario(chain: &mut dyn Chain) {
    let world = &mut World::deploy(chain);
    let (escrow, payee) = (world.escrow, 3);
    let (request, withdraw) = (E::requestWithdrawalCall { payee }, E::withdrawCall { payee });
    let deposit = E::depositCall { payee, amount: OPEN };
    let approve = abi::open::Open::approveCall { spender: escrow, value: U256::MAX };
    world.send(5, world.open, &approve);
    world.fails::<E::EmptyDeposit, _>(5, escrow, &request);
    world.send(5, escrow, &deposit);
    world.fails::<E::NotWithdrawable, _>(5, escrow, &withdraw);
    let ask = |world: &mut World<'_>| {
        world.send(5, escrow, &request);
        let payer = who(5);
        world.read(escrow, &E::depositsCall { payer, payee }).unlockBlock
    };
    let delay = world.read(escrow, &E::WITHDRAWAL_DELAYCall {});
    let unlock = ask(world);
    assert_eq!(unlock, world.chain.head() + delay);
    // The next call is in the block after the head.
    world.chain.advance_to(unlock - 2);
    world.fails::<E::NotWithdrawable, _>(5, escrow, &withdraw);
    world.chain.advance_to(unlock + delay);
    world.fails::<E::NotWithdrawable, _>(5, escrow, &withdraw);
    let unlock = ask(world);
    world.send(5, escrow, &deposit);
    world.chain.advance_to(unlock);
    world.fails::<E::NotWithdrawable, _>(5, escrow, &withdraw);
    let unlock = ask(world);
    world.chain.advance_to(unlock + delay - 1);
    let before = world.balance(who(5));
    world.send(5, escrow, &withdraw);
    assert_eq!(world.balance(who(5)) - before, U256::from(2 * OPEN));
    world.fails::<E::NotWithdrawable, _>(5, escrow, &withdraw);
}
