//! What a hot key can take from its cold owner.

use alloy::primitives::{Address, keccak256};

use super::chain::Chain;
use super::world::{EPOCH_BLOCKS, FAULT, IN_ALL, OPEN, PER_PERIOD, Registry, World, who};

/// A stranger with the hot key of account 1, whose owner is another.
const THIEF: usize = 6;

fn lock(amount: u128, by: Address) -> Registry::lockCall {
    Registry::lockCall { account: 1, amount, by }
}

pub(crate) fn scenario(chain: &mut dyn Chain) {
    let mut world = World::deploy(chain);
    let (registry, owner, thief) = (world.registry, who(1), who(THIEF));
    // The deployer stands in for the Coordinator, so that bonds can be won and lost at will.
    let role = Registry::grantRoleCall { role: keccak256("SLASHER_ROLE"), account: who(0) };
    world.send(0, registry, &role);
    let rotate = Registry::rotateOperatorCall { account: 1, operator: thief };
    world.send(1, registry, &rotate);

    let stake = world.read(registry, &Registry::stakeOfCall { account: 1 }).stake;
    let lost = rob(&mut world, stake);
    assert_eq!(lost, IN_ALL, "a thief takes what the owner let it, and no more");

    // The owner is not bound by it.
    world.send(0, registry, &lock(2 * IN_ALL, owner));
    world.send(0, registry, &Registry::unlockCall { account: 1, amount: 2 * IN_ALL });
    world.fails::<Registry::BeyondAllowance, _>(0, registry, &lock(1, thief));

    let set = Registry::setAllowanceCall { account: 1, perPeriod: u128::MAX, inAll: u128::MAX };
    world.fails::<Registry::NotOwner, _>(THIEF, registry, &set);
    let less = Registry::setAllowanceCall { inAll: FAULT - 1, ..set.clone() };
    world.fails::<Registry::AllowanceTooLow, _>(1, registry, &less);
    let less = Registry::setAllowanceCall { perPeriod: FAULT - 1, ..set };
    world.fails::<Registry::AllowanceTooLow, _>(1, registry, &less);
    let most = FAULT + 7 * OPEN;
    let some = Registry::setAllowanceCall { account: 1, perPeriod: most, inAll: most };
    world.send(1, registry, &some);
    let next = (world.chain.head() / EPOCH_BLOCKS + 1) * EPOCH_BLOCKS;
    world.chain.advance_to(next);
    // What comes back was never lost: an honest node goes on for ever.
    for _ in 0..20 {
        world.send(0, registry, &lock(most, thief));
        world.fails::<Registry::BeyondAllowance, _>(0, registry, &lock(1, thief));
        world.send(0, registry, &Registry::unlockCall { account: 1, amount: most });
    }
    let allowance = world.read(registry, &Registry::allowanceOfCall { account: 1 });
    assert_eq!((allowance.perPeriod, allowance.inAll, allowance.used), (most, most, 0));
}

/// Locks and loses what the contract lets the thief, over more epochs than it takes; gives the sum.
fn rob(world: &mut World<'_>, stake: u128) -> u128 {
    let (registry, thief) = (world.registry, who(THIEF));
    let first = world.chain.head();
    for epoch in 1..=4 {
        let before = world.read(registry, &Registry::stakeOfCall { account: 1 }).stake;
        world.chain.advance_to((first / EPOCH_BLOCKS + epoch) * EPOCH_BLOCKS);
        for amount in [1_000 * OPEN, PER_PERIOD, 200 * OPEN, 100 * OPEN, OPEN, 1] {
            let data = alloy::sol_types::SolCall::abi_encode(&lock(amount, thief));
            if world.chain.call(who(0), registry, data.into()).is_ok() {
                world.send(0, registry, &lock(amount, thief));
                let seize = Registry::seizeCall { account: 1, amount, to: thief };
                world.send(0, registry, &seize);
            }
        }
        let after = world.read(registry, &Registry::stakeOfCall { account: 1 }).stake;
        assert!(before - after <= PER_PERIOD, "no more in an epoch: {}", before - after);
    }
    stake - world.read(registry, &Registry::stakeOfCall { account: 1 }).stake
}
